"""Typed reads from a model's JSON files: a wrong value is an error that names the file, the key and what it must be."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from embergate.errors import ModelError

MAX_JSON_BYTES: Final = 4 << 20
# No published configuration has a tenth of that.
MAX_KEYS: Final = 1000
MAX_INTEGER: Final = 2**31 - 1
# Well above every published network: a larger size is a mistake or an attack, and would be allocated before it is missed.
MAX_SIZES: Final[Mapping[str, int]] = {
    **dict.fromkeys(("vocab_size",), 1 << 24),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), 1 << 20),
    **dict.fromkeys(("hidden_size", "dim", "n_embd", "d_model"), 1 << 16),
    **dict.fromkeys(("intermediate_size", "hidden_dim", "n_inner", "in_features", "out_features"), 1 << 20),
    **dict.fromkeys(("num_attention_heads", "num_key_value_heads", "n_heads", "n_head", "head_dim"), 1 << 12),
    **dict.fromkeys(("num_hidden_layers", "n_layers", "n_layer"), 1000),
    **dict.fromkeys(("type_vocab_size", "relative_attention_num_buckets"), 1 << 16),
}
# A default that there is not.
REQUIRED: Final = object()


def read_json(path: Path, *, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Return the parsed content of a model's JSON file.

    Raises: ModelError if it is missing, cannot be read, is larger than `max_bytes`, not JSON, or nested beyond any use.
    """
    if not path.is_file():
        raise ModelError(f"{path.parent.name} has no {path.name}; fetch the model's files again")
    if path.stat().st_size > max_bytes:
        raise ModelError(f"{path.name} is larger than {max_bytes} bytes, which no model's is; fetch it again")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path.name} cannot be read: {error.strerror}") from error
    return parse_json(content, path.name, max_bytes=max_bytes)


def parse_json(content: bytes, source: str, *, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Return what the content of a model's JSON file says. Raises: ModelError naming `source`; see `read_json`."""
    if len(content) > max_bytes:
        raise ModelError(f"{source} is larger than {max_bytes} bytes, which no model's is; fetch it again")
    try:
        values = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ModelError(f"{source} is not JSON: {error}") from error
    try:
        # NOTE: orjson reads deeper than it writes, and the fingerprint is over the configuration as it is written.
        orjson.dumps(values)
    except orjson.JSONEncodeError as error:
        raise ModelError(f"{source} is nested too deeply; fetch it again") from error
    return values


class ConfigReader:
    """A JSON object whose values are read by type. A key may have synonyms: the first present one counts."""

    def __init__(self, values: Mapping[str, Any], *, source: str) -> None:
        """Wrap `values`; `source` is the file name that errors cite."""
        self.values = values
        self.source = source

    @classmethod
    def from_file(cls, path: Path) -> ConfigReader:
        """Read `path`, which must hold a JSON object."""
        return cls.from_values(read_json(path), source=path.name)

    @classmethod
    def from_values(cls, values: Any, *, source: str) -> ConfigReader:
        """Wrap what a file holds. Raises: ModelError if it is no JSON object, or one of more keys than any model has."""
        if not isinstance(values, dict):
            raise ModelError(f"{source} must hold a JSON object")
        if len(values) > MAX_KEYS:
            raise ModelError(
                f"{source} has {len(values)} keys, more than {MAX_KEYS}, which no model has; fetch it again"
            )
        return cls(values, source=source)

    def error(self, key: str, expected: str) -> ModelError:
        """Return the error for `key`: what it holds and what it must hold."""
        shown = repr(self.values[key])[:80] if key in self.values else "nothing"
        return ModelError(f"{self.source}: {key} is {shown}, expected {expected}")

    def _find(self, keys: Sequence[str], default: Any) -> tuple[str, Any]:
        for key in keys:
            if self.values.get(key) is not None:
                return key, self.values[key]
        if default is REQUIRED:
            raise ModelError(f"{self.source}: {' or '.join(keys)} is missing")
        return keys[0], default

    def integer(self, *keys: str, default: Any = REQUIRED, minimum: int = 1) -> int:
        """Return an integer from `minimum` to what `MAX_SIZES` has for the key."""
        key, value = self._find(keys, default)
        maximum = MAX_SIZES.get(key, MAX_INTEGER)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) is not int or not minimum <= value <= maximum:
            raise self.error(key, f"an integer from {minimum} to {maximum}")
        return value

    def number(
        self, *keys: str, default: Any = REQUIRED, minimum: float = 0.0, maximum: float = sys.float_info.max
    ) -> float:
        """Return a finite number within bounds."""
        key, value = self._find(keys, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not minimum <= value <= maximum:
            limit = f" and at most {maximum}" if maximum < sys.float_info.max else ""
            raise self.error(key, f"a number of at least {minimum}{limit}")
        return float(value)

    def boolean(self, *keys: str, default: Any = REQUIRED) -> bool:
        """Return true or false."""
        key, value = self._find(keys, default)
        if not isinstance(value, bool):
            raise self.error(key, "true or false")
        return value

    def string(self, *keys: str, default: Any = REQUIRED, choices: Sequence[str] | None = None) -> str:
        """Return a string, one of `choices` where they are given."""
        key, value = self._find(keys, default)
        if not isinstance(value, str) or (choices is not None and value not in choices):
            raise self.error(key, "one of " + ", ".join(choices) if choices is not None else "a string")
        return value

    def object(self, *keys: str) -> ConfigReader:
        """Return the JSON object at a key, empty where it is absent or null."""
        key, value = self._find(keys, {})
        if not isinstance(value, dict):
            raise self.error(key, "a JSON object")
        return ConfigReader(value, source=f"{self.source}: {key}")

    def strings(self, key: str) -> tuple[str, ...]:
        """Return a list of strings, empty where it is absent or null."""
        value = self.values.get(key) or []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(key, "a list of strings")
        return tuple(value)

    def head_size(self, hidden_size: int, num_heads: int, *keys: str) -> int:
        """Return hidden_size / num_heads, which must divide."""
        if hidden_size % num_heads:
            raise ModelError(
                f"{self.source}: {hidden_size} hidden units do not divide into {num_heads} attention heads "
                f"({', '.join(keys)})"
            )
        return hidden_size // num_heads
