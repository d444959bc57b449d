"""References to models: which are folders, catalogue names or Hub ids, and what is told of those that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from embergate.engine.loading.catalog import load_catalog
from embergate.engine.loading.sources import identify, locate
from embergate.errors import ModelError

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
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


@pytest.mark.parametrize("form", [MINILM, *(load_catalog().find(MINILM).aliases)])  # type: ignore[union-attr]
def test_every_catalogue_name_means_the_same_model(form: str) -> None:
    assert identify(form).name == MINILM
    assert identify(f"{form}@1110a24").asked_revision == "1110a24"


def test_model_that_is_not_in_the_cache_names_the_mend_when_offline(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="models pull"):
        locate("BAAI/bge-m3", cache_dir=tmp_path, offline=True)


@pytest.mark.parametrize("revision", ["a b", "\0", "../../x", "x" * 5000], ids=["space", "null", "path", "long"])
def test_revision_that_can_be_none_is_a_clear_error(tmp_path: Path, revision: str) -> None:
    with pytest.raises(ModelError, match="BAAI/bge-m3"):
        locate(f"BAAI/bge-m3@{revision}", cache_dir=tmp_path, offline=True)


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """MiniLM's folder in a Hub cache, at the catalogue's revision, still empty."""
    entry = load_catalog().find(MINILM)
    assert entry is not None
    folder = tmp_path / f"models--{entry.id.replace('/', '--')}" / "snapshots" / str(entry.revision)
    folder.mkdir(parents=True)
    return folder


def test_weights_that_are_not_the_catalogues_are_refused_by_digest(snapshot: Path, tmp_path: Path) -> None:
    (snapshot / "model.safetensors").write_bytes(b"something else")
    with pytest.raises(ModelError, match=r"model\.safetensors has sha256 .*the catalogue expects"):
        locate(f"{MINILM}@{snapshot.name}", cache_dir=tmp_path, offline=True)


def test_weights_that_are_missing_are_named(snapshot: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no model\.safetensors"):
        locate(f"{MINILM}@{snapshot.name}", cache_dir=tmp_path, offline=True)
