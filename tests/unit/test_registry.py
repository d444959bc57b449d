"""Names of served models: every form that clients use, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from embergate.clock import now
from embergate.engine.loaded_model import LoadedModel
from embergate.engine.registry import Registry, ServedModel, resource_of
from embergate.errors import ConfigurationError, ModelNotFoundError
from tests.loaded import fake_model

HUB_ID = "BAAI/bge-small-en-v1.5"
RESOURCE = "accounts/fireworks/models/bge-small-en-v1p5"
DEPLOYMENT = "accounts/fireworks/deployments/bge-small-en-v1p5"
ROUTER = "accounts/fireworks/routers/bge-small-en-v1p5"
REVISION = "5c38ec7c405ec4b44b94cc5a9bb96e735b38267a"
OWN = "accounts/acme/models/my-model"

ADDRESSES = [HUB_ID, "fireworks/bge-small-en-v1p5", RESOURCE, f"fireworks/{RESOURCE}"]
FORMS = [
    *ADDRESSES,
    DEPLOYMENT,
    ROUTER,
    *(f"{address}@{REVISION}" for address in ADDRESSES),
    *(f"{address}@{REVISION[:7]}" for address in ADDRESSES),
    *(f"{address}#{DEPLOYMENT}" for address in ADDRESSES),
    *(f"{address}#bge-small-en-v1p5" for address in ADDRESSES),
    f"{RESOURCE}#{ROUTER}",
    f"{HUB_ID}@{REVISION}#{DEPLOYMENT}",
]
NO_FORMS = [
    "",
    "bge-small-en-v1p5",
    "bge-small-en-v1.5",
    HUB_ID.upper(),
    HUB_ID.lower(),
    RESOURCE.replace("fireworks", "acme"),
    f"accounts/{RESOURCE}",
    f"fireworks/{DEPLOYMENT}",
    f"{RESOURCE}/",
    f" {RESOURCE}",
    f"{HUB_ID}@",
    f"{HUB_ID}@{REVISION[:6]}",
    f"{HUB_ID}@{REVISION[1:]}",
    f"{HUB_ID}@{REVISION.upper()}",
    f"{HUB_ID}@{REVISION}0",
    f"{HUB_ID}@main",
    f"{HUB_ID}#",
    f"{HUB_ID}#{RESOURCE}",
    f"{HUB_ID}#other",
    f"{HUB_ID}#accounts/acme/deployments/bge-small-en-v1p5",
    f"#{DEPLOYMENT}",
    f"@{REVISION}",
    f"{HUB_ID}#{DEPLOYMENT}@{REVISION}",
    f"{HUB_ID}##{DEPLOYMENT}",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry") / "my-model"


@pytest.fixture(scope="module")
def published(folder: Path) -> LoadedModel:
    """A model of the catalogue, from the Hub at a revision."""
    return fake_model(folder, name=HUB_ID, revision=REVISION)


@pytest.fixture(scope="module")
def own(folder: Path) -> LoadedModel:
    """A model from a folder."""
    return fake_model(folder)


def serve(model: LoadedModel, account: str = "acme") -> ServedModel:
    return ServedModel(*resource_of(model.spec.name, account), model, now())


@pytest.fixture
def registry(published: LoadedModel, own: LoadedModel) -> Registry:
    registry = Registry()
    registry.add(serve(own))
    registry.add(serve(published))
    return registry


@pytest.mark.parametrize("form", FORMS)
def test_form_finds_the_model(registry: Registry, form: str, published: LoadedModel) -> None:
    assert registry.get(form).model is published


@pytest.mark.parametrize("form", NO_FORMS)
def test_any_other_form_finds_nothing_and_does_not_say_why(registry: Registry, form: str) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        registry.get(form)
    assert caught.value.message == "Model not found, inaccessible, and/or not deployed"
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    "form",
    ["my-model", OWN, f"fireworks/{OWN}", "accounts/acme/deployments/my-model", "accounts/acme/routers/my-model"],
)
def test_model_from_a_folder_is_found_in_its_account(registry: Registry, form: str, own: LoadedModel) -> None:
    assert registry.get(form).model is own


@pytest.mark.parametrize(
    "form", ["fireworks/my-model", "accounts/fireworks/models/my-model", "my-model@", "my-model@0"]
)
def test_model_from_a_folder_has_no_names_of_the_catalogue(registry: Registry, form: str) -> None:
    with pytest.raises(ModelNotFoundError):
        registry.get(form)


def test_fingerprint_is_a_snapshot(registry: Registry, own: LoadedModel) -> None:
    assert registry.get(f"my-model@{own.fingerprint}").model is own
    with pytest.raises(ModelNotFoundError):
        registry.get(f"my-model@{own.fingerprint[:8]}")


def test_list_is_in_the_order_of_loading(registry: Registry) -> None:
    assert [served.id for served in registry.list()] == [OWN, RESOURCE]


def test_name_that_is_taken_is_refused_and_nothing_is_added(registry: Registry, own: LoadedModel) -> None:
    with pytest.raises(ConfigurationError, match="two served models answer to"):
        registry.add(serve(own))
    assert len(registry.list()) == 2


def test_closed_registry_serves_nothing(registry: Registry) -> None:
    registry.close()
    assert registry.list() == []
    with pytest.raises(ModelNotFoundError):
        registry.get(RESOURCE)


@pytest.mark.parametrize(
    ("name", "resource"),
    [
        (HUB_ID, ("fireworks", "bge-small-en-v1p5")),
        ("fireworks/bge-small-en-v1p5", ("fireworks", "bge-small-en-v1p5")),
        ("org/My_Model.v2", ("acme", "my-model-v2")),
        ("bge-small-en-v1.5", ("acme", "bge-small-en-v1-5")),
        ("日本", ("acme", "model")),
        ("", ("acme", "model")),
        ("--a--", ("acme", "a")),
        ("x" * 200, ("acme", "x" * 63)),
    ],
)
def test_resource_is_the_catalogues_or_made_of_the_name(name: str, resource: tuple[str, str]) -> None:
    assert resource_of(name, "acme") == resource
