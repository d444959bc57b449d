"""Names of a model's files, and of the model itself as requests for vectors give it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from embergate.aip.errors import InvalidArgumentError
from embergate.engine.loading.spec import Precision
from embergate.gateway.files.place import FIELD
from embergate.gateway.models.store import ModelFile

MAX_DEPTH: Final = 3
SEGMENT: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
PICKLES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz")
# What a model is loaded from; whatever else is uploaded is only kept.
READ: Final = (".json", ".safetensors", ".txt", ".model", ".jinja")
WEIGHTS: Final = ".safetensors"
ADDRESS: Final = re.compile(
    r"(?:fireworks/)?accounts/(?P<account>[a-z][a-z0-9-]{0,62})/(?:models|deployments)/(?P<model>[a-z][a-z0-9-]{0,62})"
    r"(?::(?P<precision>f32|bf16|int8))?(?:@(?P<snapshot>[^#]*))?(?:#(?P<deployment>.*))?"
)


@dataclass(frozen=True, slots=True)
class Address:
    """A model of an account as a request names it, in a precision or in the server's own (None).

    A snapshot is a fingerprint that it must have.
    """

    account_id: str
    model_id: str
    precision: Precision | None = None
    snapshot: str | None = None

    @classmethod
    def parse(cls, name: str) -> Address | None:
        """Read `accounts/A/models/M`, perhaps with `:int8`, `@fingerprint`, `#deployment`; None for another form."""
        match = ADDRESS.fullmatch(name)
        if match is None:
            return None
        account_id, model_id, deployment = match["account"], match["model"], match["deployment"]
        if deployment not in {None, model_id, f"accounts/{account_id}/deployments/{model_id}"}:
            return None
        precision = Precision(match["precision"]) if match["precision"] else None
        return cls(account_id, model_id, precision, match["snapshot"])


def check_filenames(names: Iterable[str]) -> None:
    """Raise InvalidArgumentError for names that could be something else than a model's files."""
    known = set(names)
    for name in known:
        _check_filename(name)
        parts = name.split("/")
        above = {"/".join(parts[:depth]) for depth in range(1, len(parts))} & known
        if above:
            raise InvalidArgumentError(f"{name} is in a folder that is a file too: {min(above)}", field=FIELD)


def is_uploadable(name: str) -> bool:
    """Tell whether a model may have a file of this name."""
    try:
        _check_filename(name)
    except InvalidArgumentError:
        return False
    return True


def _check_filename(name: str) -> None:
    segments = name.split("/")
    if any(segment.startswith(".") for segment in segments):
        raise InvalidArgumentError(
            f"{name[:80]!r}: no part of a file's name begins with a dot; leave such files out", field=FIELD
        )
    if len(segments) > MAX_DEPTH or not all(SEGMENT.fullmatch(segment) for segment in segments):
        raise InvalidArgumentError(
            f"{name[:80]!r} is not a file name: use 1 to 128 of A-Z, a-z, 0-9, '.', '_' and '-' between slashes, "
            f"{MAX_DEPTH - 1} folders at most",
            field=FIELD,
        )
    if name.lower().endswith(PICKLES):
        raise InvalidArgumentError(
            f"{name[:80]!r} may be a pickle, which can run code when it is read, and is refused. Upload safetensors only: load "
            "the model with transformers and call save_pretrained(), which writes model.safetensors",
            field=FIELD,
        )


def is_read(name: str) -> bool:
    """Tell whether a model may be loaded from a file of this name."""
    return name.endswith(READ)


def content_sha256(files: Mapping[str, ModelFile]) -> str:
    """Return one digest over the names and digests of the files that a model is loaded from."""
    digest = hashlib.sha256()
    for name in sorted(filter(is_read, files)):
        digest.update(f"{name}\0{files[name].sha256}\n".encode())
    return digest.hexdigest()


def weights_bytes(files: Mapping[str, ModelFile]) -> int:
    """Return what a model's weights have together, in bytes."""
    return sum(file.size for name, file in files.items() if name.endswith(WEIGHTS))
