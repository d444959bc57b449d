"""The catalogue: open models known by name, so that a name alone says where the files are and what they cost.

It must not know which architectures are built in, nor how files are fetched: an entry describes, it does not promise.
"""

from __future__ import annotations

import enum
import functools
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from embergate.errors import ConfigurationError

PACKAGED_CATALOG: Final = Path(__file__).with_name("catalog.toml")

# From the largest number of parameters in a class to its price; what is larger still has the top price.
_PRICES: Final = {150_000_000: 8_000_000, 350_000_000: 16_000_000, 3_999_999_999: 100_000_000, 16 * 10**9: 200_000_000}
_TOP_PRICE_NANOUSD: Final = 900_000_000

Reader = Callable[[object], Any]


class ModelKind(enum.StrEnum):
    """What a model gives: a vector for a text, or a score for a query and a document."""

    EMBEDDING_MODEL = "EMBEDDING_MODEL"
    RERANKER = "RERANKER"


@dataclass(frozen=True, slots=True)
class WheelSource:
    """A Python distribution that carries a model's files, for places that reach a package index but not the Hub."""

    distribution: str
    version: str
    package: str
    path: str


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One published model.

    Units: `max_tokens` counts special tokens; `dimensions` is the length of the final vector (for a reranker, of the
    state its score is read from). An empty `matryoshka_dimensions` on a resizable model means any length.
    """

    id: str
    slug: str
    kind: ModelKind
    architecture: str
    dimensions: int
    num_parameters: int
    max_tokens: int
    normalize_default: bool
    resizable: bool
    license: str
    price_nanousd_per_million_tokens: int
    revision: str | None = None
    matryoshka_dimensions: tuple[int, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict, hash=False)
    default_prompt_name: str | None = None
    wheel: WheelSource | None = None
    sha256: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def aliases(self) -> tuple[str, ...]:
        """Return the names made of the slug.

        The last is what litellm sends: it prefixes `fireworks/` to every reranker's name.
        """
        resource = f"accounts/fireworks/models/{self.slug}"
        return f"fireworks/{self.slug}", resource, f"fireworks/{resource}"


class Catalog:
    """Catalogue entries in file order, found by any of their names."""

    def __init__(self, entries: Iterable[CatalogEntry]) -> None:
        """Index `entries`.

        Raises: ConfigurationError if two of them share an id or a slug.
        """
        self._entries = tuple(entries)
        self._by_name: dict[str, CatalogEntry] = {}
        for entry in self._entries:
            for name in (entry.id, *entry.aliases):
                if (owner := self._by_name.setdefault(name, entry)) is not entry:
                    key = "id" if name == entry.id else "slug"
                    raise ConfigurationError(f"catalogue: {key} of {entry.id}: {owner.id} has the name {name} already")

    def __iter__(self) -> Iterator[CatalogEntry]:
        """Yield the entries in file order."""
        return iter(self._entries)

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._entries)

    def find(self, name: str) -> CatalogEntry | None:
        """Return the entry with this Hub id or alias; case counts, as it does on the Hub."""
        return self._by_name.get(name)


def price_class_nanousd(num_parameters: int) -> int:
    """Return the price of a million input tokens for a model of this size that has no price of its own."""
    return next((price for limit, price in _PRICES.items() if num_parameters <= limit), _TOP_PRICE_NANOUSD)


def load_catalog(path: Path | None = None) -> Catalog:
    """Return the catalogue in a TOML file, the packaged one (read once a process) by default.

    Raises: ConfigurationError naming the file, entry and key to mend.
    """
    return _packaged_catalog() if path is None else _read_catalog(path)


@functools.cache
def _packaged_catalog() -> Catalog:
    return _read_catalog(PACKAGED_CATALOG)


def _read_catalog(path: Path) -> Catalog:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path.name} is not TOML: {error}") from error
    if unknown := document.keys() - {"model"}:
        raise ConfigurationError(f"{path.name}: unknown key {min(unknown)}; every entry is a [[model]] table")
    tables = document.get("model", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigurationError(f"{path.name}: model must be a list of [[model]] tables")
    return Catalog(_read_entry(table, f"{path.name}: model {number}") for number, table in enumerate(tables, start=1))


class _UnexpectedValueError(Exception):
    """A value is not what its key needs."""

    def __init__(self, value: object, expected: str, path: str = "") -> None:
        self.value, self.expected, self.path = value, expected, path


def _value(kind: type, expected: str, accepts: Callable[[Any], object] = lambda _: True) -> Reader:
    """Return a reader of values of exactly `kind` (true is no integer) that `accepts` holds for."""

    def read(value: object) -> object:
        if type(value) is not kind or not accepts(value):
            raise _UnexpectedValueError(value, expected)
        return value

    return read


def _table_of(read_value: Reader, expected: str) -> Reader:
    """Return a reader of a non-empty table with free keys."""

    def read(value: object) -> dict[str, Any]:
        if not isinstance(value, dict) or not value:
            raise _UnexpectedValueError(value, expected)
        return {key: _read_key(read_value, key, item) for key, item in value.items()}

    return read


def _read_key(read: Reader, key: str, value: object) -> Any:
    try:
        return read(value)
    except _UnexpectedValueError as error:
        raise _UnexpectedValueError(error.value, error.expected, f"{key}.{error.path}".rstrip(".")) from None


def _read_ascending(value: object) -> tuple[int, ...]:
    is_integers = isinstance(value, list) and value and all(type(item) is int and item > 0 for item in value)
    if not isinstance(value, list) or not is_integers or value != sorted(set(value)):
        raise _UnexpectedValueError(value, "a list of ascending positive integers")
    return tuple(value)


def _read_wheel(value: object) -> WheelSource:
    names = [item.name for item in fields(WheelSource)]
    if not isinstance(value, dict) or value.keys() != set(names):
        raise _UnexpectedValueError(value, f"a table with exactly {', '.join(names)}")
    return WheelSource(**{name: _read_key(_TEXT, name, value[name]) for name in names})


_TEXT: Final = _value(str, "a non-empty string", len)
_POSITIVE: Final = _value(int, "a positive integer", lambda value: value > 0)
_SHA256: Final = _value(str, "64 hexadecimal digits", re.compile("[0-9a-f]{64}").fullmatch)
_BOOLEAN: Final = _value(bool, "true or false")
_READERS: Final[Mapping[str, Reader]] = {
    "id": _value(str, "a Hub id: owner/name", re.compile(r"(?a)[A-Za-z0-9][\w.-]*/[\w.-]+").fullmatch),
    "slug": _value(str, "up to 63 of a-z, 0-9 and -", re.compile("[a-z]([a-z0-9-]{0,61}[a-z0-9])?").fullmatch),
    "kind": _value(str, " or ".join(ModelKind), set(ModelKind).__contains__),
    "architecture": _TEXT,
    "dimensions": _POSITIVE,
    "num_parameters": _POSITIVE,
    "max_tokens": _POSITIVE,
    "normalize_default": _BOOLEAN,
    "resizable": _BOOLEAN,
    "license": _TEXT,
    "price_nanousd_per_million_tokens": _POSITIVE,
    "revision": _value(str, "a commit: 40 hexadecimal digits", re.compile("[0-9a-f]{40}").fullmatch),
    "matryoshka_dimensions": _read_ascending,
    "prompts": _table_of(_TEXT, "a table of prompt names and prefixes"),
    "default_prompt_name": _TEXT,
    "wheel": _read_wheel,
    "sha256": _table_of(_SHA256, "a table of file names and digests"),
}
_OPTIONAL: Final = {
    item.name for item in fields(CatalogEntry) if item.default is not MISSING or item.default_factory is not MISSING
} | {"price_nanousd_per_million_tokens"}


def _read_entry(table: Mapping[str, object], place: str) -> CatalogEntry:
    where = f"{place} ({table['id']})" if isinstance(table.get("id"), str) else place
    if unknown := table.keys() - _READERS.keys():
        raise ConfigurationError(f"{where}: unknown key {min(unknown)}")
    if missing := _READERS.keys() - _OPTIONAL - table.keys():
        raise ConfigurationError(f"{where}: {min(missing)} is missing")
    try:
        values = {key: _read_key(_READERS[key], key, value) for key, value in table.items()}
    except _UnexpectedValueError as error:
        shown = repr(error.value)[:80]
        raise ConfigurationError(f"{where}: {error.path} is {shown}, expected {error.expected}") from None
    values.setdefault("price_nanousd_per_million_tokens", price_class_nanousd(values["num_parameters"]))
    entry = CatalogEntry(**values | {"kind": ModelKind(values["kind"])})
    _check_consistency(entry, where)
    return entry


def _check_consistency(entry: CatalogEntry, where: str) -> None:
    """Refuse an entry whose keys contradict each other: the server would advertise lengths it cannot give."""
    if entry.matryoshka_dimensions and not entry.resizable:
        raise ConfigurationError(f"{where}: matryoshka_dimensions need resizable = true")
    if entry.matryoshka_dimensions and entry.matryoshka_dimensions[-1] != entry.dimensions:
        raise ConfigurationError(f"{where}: matryoshka_dimensions must end with dimensions, {entry.dimensions}")
    if entry.default_prompt_name is not None and entry.default_prompt_name not in entry.prompts:
        raise ConfigurationError(f"{where}: default_prompt_name {entry.default_prompt_name} is not one of prompts")
