"""References to models: which are folders, catalogue names or Hub ids, and what is told of those that are none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from embergate.engine.loading.catalog import CatalogEntry, ModelKind, load_catalog
from embergate.engine.loading.loader import SourceOptions, find_model
from embergate.engine.loading.sources import identify, locate
from embergate.errors import ModelError
from tests.random_models import JUDGES, cases_of, write_model

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
NO_MODELS = {
    "a home that is not there": ("~nobody-here/x", "'~nobody-here/x' begins with the home of a user"),
    "nothing": ("", "neither a folder"),
    "a bare name": ("no-such-model", "'no-such-model' is neither a folder"),
    "a space": ("my org/my model", "neither a folder"),
    "two slashes": ("a/b/c", "neither a folder"),
    "a null byte": ("a\0b/c", "neither a folder"),
    "a lone surrogate": ("\ud800/x", "neither a folder"),
    "a deployment": ("org/name#x", "neither a folder"),
    "5000 characters": ("x" * 5000, "neither a folder"),
}


@pytest.mark.parametrize(("reference", "said"), NO_MODELS.values(), ids=NO_MODELS.keys())
def test_reference_that_can_be_no_model_is_named_with_the_mend(reference: str, said: str) -> None:
    with pytest.raises(ModelError) as caught:
        identify(reference)
    assert said in caught.value.message
    assert len(caught.value.message) < 500


def test_path_of_a_folder_wins_over_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert identify("org/name").folder == tmp_path / "org" / "name"
    assert identify("org/other").folder is None


@pytest.mark.parametrize("name", [MINILM, f"{MINILM}@1110a24", "fireworks/all-minilm-l6-v2"])
def test_folder_does_not_shadow_a_name_of_the_catalogue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert identify(name).folder is None
    assert identify(name).name == MINILM
    assert identify(f"./{name}").folder == tmp_path / name


def test_tilde_is_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my-model").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert identify("~/my-model").folder == tmp_path / "my-model"


def test_folder_is_called_as_it_is_whatever_leads_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path / "real")
    for reference in (".", "../real", "../link", str(tmp_path / "real")):
        assert identify(reference).name == "real"


@pytest.fixture
def minilm() -> CatalogEntry:
    entry = load_catalog().find(MINILM)
    assert entry is not None
    return entry


@pytest.mark.parametrize("form", [MINILM, *(load_catalog().find(MINILM).aliases)])  # type: ignore[union-attr]
def test_every_catalogue_name_means_the_same_model(form: str) -> None:
    assert identify(form).name == MINILM
    assert identify(f"{form}@1110a24").asked_revision == "1110a24"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hub's cache; its library reads HF_HUB_CACHE when it is imported, which is before."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", tmp_path)
    return tmp_path


@pytest.mark.usefixtures("hub_cache")
def test_model_that_is_not_in_the_cache_names_the_mend_when_offline() -> None:
    with pytest.raises(ModelError, match="models pull"):
        locate("BAAI/bge-m3", offline=True)


@pytest.mark.usefixtures("hub_cache")
@pytest.mark.parametrize("revision", ["a b", "\0", "../../x", "x" * 5000], ids=["space", "null", "path", "long"])
def test_revision_that_can_be_none_is_a_clear_error(revision: str) -> None:
    with pytest.raises(ModelError, match="BAAI/bge-m3"):
        locate(f"BAAI/bge-m3@{revision}", offline=True)


def write_snapshot(cache: Path, hub_id: str, commit: str, ref: str) -> Path:
    """Put an empty snapshot into a Hub cache, as the Hub's library does; `ref` is a branch that ends at the commit."""
    repository = cache / f"models--{hub_id.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / ref).write_text(commit)
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    return snapshot


@pytest.mark.parametrize("reference", ["org/name", "org/name@main", f"org/name@{COMMIT}"])
def test_revision_of_a_hub_model_is_its_commit(hub_cache: Path, reference: str) -> None:
    snapshot = write_snapshot(hub_cache, "org/name", COMMIT, "main")
    source = locate(reference, offline=True)
    assert (source.folder, source.revision) == (snapshot, COMMIT)


def test_kind_of_a_model_is_the_catalogues(hub_cache: Path) -> None:
    # Qwen3's own files do not say that it judges.
    judge, encoder = replace(JUDGES[0], chat_template=""), cases_of("xlm-roberta")[0]
    for reference, case in {"Qwen/Qwen3-Reranker-0.6B": judge, "BAAI/bge-m3": encoder}.items():
        write_model(case, write_snapshot(hub_cache, reference, COMMIT, "main"), 0)
        kind = find_model(f"{reference}@main", SourceOptions(offline=True)).spec.kind
        assert kind is (ModelKind.RERANKER if "Reranker" in reference else ModelKind.EMBEDDING_MODEL)
    write_model(encoder, write_snapshot(hub_cache, "BAAI/bge-reranker-base", COMMIT, "main"), 0)
    with pytest.raises(ModelError, match=r"is a reranker by the catalogue, and its config\.json is not one's"):
        find_model("BAAI/bge-reranker-base@main", SourceOptions(offline=True))


@pytest.mark.usefixtures("hub_cache")
def test_catalogues_revision_spelled_out_is_the_wheel_too(minilm: CatalogEntry) -> None:
    assert locate(f"{MINILM}@{minilm.revision}", offline=True) == locate(MINILM, offline=True)


def test_weights_that_are_not_the_catalogues_are_refused_by_digest(hub_cache: Path, minilm: CatalogEntry) -> None:
    snapshot = write_snapshot(hub_cache, MINILM, str(minilm.revision), "main")
    (snapshot / "model.safetensors").write_bytes(b"something else")
    with pytest.raises(ModelError, match=r"model\.safetensors has sha256 .*the catalogue expects"):
        locate(f"{MINILM}@main", offline=True)


def test_weights_that_are_missing_are_named(hub_cache: Path, minilm: CatalogEntry) -> None:
    write_snapshot(hub_cache, MINILM, str(minilm.revision), "main")
    with pytest.raises(ModelError, match=r"has no model\.safetensors"):
        locate(f"{MINILM}@main", offline=True)
