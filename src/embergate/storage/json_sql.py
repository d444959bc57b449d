"""What is inside JSON columns, in each database's SQL.

Documents have snake_case names; moments in them are `json_time` texts and durations whole microseconds, so that both
compare as they should. Everything returned here is NULL, not an error, where the document holds something else.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Numeric,
    String,
    case,
    cast,
    func,
    literal,
    null,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from embergate.aip.fields import Kind
from embergate.storage.rows import MICROSECOND

Path = tuple[str, ...]
JsonValue = str | int | float | bool

NUMBERS: Final = {Kind.INTEGER, Kind.NUMBER, Kind.DURATION}


def json_time(moment: datetime) -> str:
    """Return the text of a moment in a document; texts sort as their moments do."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def json_value(value: str | float | bool | datetime | timedelta) -> JsonValue:
    """Return a value as documents have it."""
    if isinstance(value, datetime):
        return json_time(value)
    if isinstance(value, timedelta):
        return value // MICROSECOND
    return value


class JsonSql(Protocol):
    """How one database looks into documents. A path leads from the document's root to an object, list or value."""

    def value(self, column: ColumnElement[Any], path: Path, kind: Kind) -> ColumnElement[Any]:
        """Return the value at a path, NULL if it is not of this kind."""
        ...

    def entry(self, column: ColumnElement[Any], path: Path, key: str, kind: Kind) -> ColumnElement[Any]:
        """Return the value of a map's entry, NULL if there is none of this kind."""
        ...

    def has_key(self, column: ColumnElement[Any], path: Path, key: str) -> ColumnElement[bool]:
        """Return whether a map has an entry of this key."""
        ...

    def has_element(self, column: ColumnElement[Any], path: Path, names: Path, value: JsonValue) -> ColumnElement[bool]:
        """Return whether a list has an element that is `value`, or an object with it at `names`."""
        ...

    def has_members(self, column: ColumnElement[Any], path: Path) -> ColumnElement[bool]:
        """Return whether a list or map is not empty."""
        ...

    def is_object(self, column: ColumnElement[Any], path: Path) -> ColumnElement[bool]:
        """Return whether there is a message, be it empty."""
        ...


class SqliteJson:
    """SQLite's JSON1 functions."""

    TYPES: Final = {
        Kind.STRING: ("text",),
        Kind.ENUM: ("text",),
        Kind.TIMESTAMP: ("text",),
        Kind.BOOL: ("true", "false"),
    }
    NUMBER_TYPES: Final = ("integer", "real")

    def value(self, column: ColumnElement[Any], path: Path, kind: Kind) -> ColumnElement[Any]:
        """See `JsonSql`."""
        found = self._path(path)
        return self._typed(func.json_type(column, found), func.json_extract(column, found), kind)

    def entry(self, column: ColumnElement[Any], path: Path, key: str, kind: Kind) -> ColumnElement[Any]:
        """See `JsonSql`."""
        # Not by a path: what a key may hold, a path of this SQLite cannot always spell.
        each = self._each(column, path)
        value = self._typed(each.c.type, each.c.value, kind)
        return select(value).select_from(each).where(each.c.key == literal(key, String())).limit(1).scalar_subquery()

    def has_key(self, column: ColumnElement[Any], path: Path, key: str) -> ColumnElement[bool]:
        """See `JsonSql`."""
        each = self._each(column, path)
        return select(literal(1)).select_from(each).where(each.c.key == literal(key, String())).exists()

    def has_element(self, column: ColumnElement[Any], path: Path, names: Path, value: JsonValue) -> ColumnElement[bool]:
        """See `JsonSql`."""
        each = self._each(column, path)
        levels = [each]
        conditions: list[ColumnElement[bool]] = []
        for name in names:
            # A text is no JSON: `json_each` of it would be an error.
            each = self._each(case((each.c.type == "object", each.c.value)), ())
            levels.append(each)
            conditions.append(each.c.key == literal(name, String()))
        found = self._typed(each.c.type, each.c.value, _kind_of(value))
        return select(literal(1)).select_from(*levels).where(*conditions, found == _literal(value)).exists()

    def has_members(self, column: ColumnElement[Any], path: Path) -> ColumnElement[bool]:
        """See `JsonSql`."""
        is_container = func.json_type(column, self._path(path)).in_(("object", "array"))
        return is_container & select(literal(1)).select_from(self._each(column, path)).exists()

    def is_object(self, column: ColumnElement[Any], path: Path) -> ColumnElement[bool]:
        """See `JsonSql`."""
        if not path:
            return func.json_type(column) == "object"
        each = self._each(column, path[:-1])
        return select(literal(1)).where(each.c.key == literal(path[-1], String()), each.c.type == "object").exists()

    def _each(self, column: ColumnElement[Any], path: Path) -> Any:
        return func.json_each(column, self._path(path)).table_valued("key", "value", "type", joins_implicitly=True)

    def _path(self, path: Path) -> str:
        return "$" + "".join(f'."{name}"' for name in path)

    def _typed(self, kind_in_json: ColumnElement[Any], value: ColumnElement[Any], kind: Kind) -> ColumnElement[Any]:
        # JSON's true is 1 here: without its type it would be equal to the number.
        types = self.NUMBER_TYPES if kind in NUMBERS else self.TYPES[kind]
        return case((kind_in_json.in_(types), value), else_=null())


class PostgresqlJson:
    """PostgreSQL's JSONB operators; a GIN index serves `has_key` and `has_element`."""

    TYPES: Final = {Kind.STRING: "string", Kind.ENUM: "string", Kind.TIMESTAMP: "string", Kind.BOOL: "boolean"}

    def value(self, column: ColumnElement[Any], path: Path, kind: Kind) -> ColumnElement[Any]:
        """See `JsonSql`."""
        found = self._at(column, path)
        text = found.op("#>>", return_type=String())(cast([], ARRAY(String)))
        if kind in NUMBERS:
            value: ColumnElement[Any] = cast(text, Numeric())
        else:
            value = cast(text, Boolean()) if kind is Kind.BOOL else text
        # CASE keeps PostgreSQL from casting what is of another type.
        return case((func.jsonb_typeof(found) == self.TYPES.get(kind, "number"), value), else_=null())

    def entry(self, column: ColumnElement[Any], path: Path, key: str, kind: Kind) -> ColumnElement[Any]:
        """See `JsonSql`."""
        return self.value(column, (*path, key), kind)

    def has_key(self, column: ColumnElement[Any], path: Path, key: str) -> ColumnElement[bool]:
        """See `JsonSql`."""
        return self._at(column, path).op("?", is_comparison=True)(literal(key, String()))

    def has_element(self, column: ColumnElement[Any], path: Path, names: Path, value: JsonValue) -> ColumnElement[bool]:
        """See `JsonSql`."""
        element: Any = value
        for name in reversed(names):
            element = {name: element}
        return self._at(column, path).op("@>", is_comparison=True)(literal([element], JSONB()))

    def has_members(self, column: ColumnElement[Any], path: Path) -> ColumnElement[bool]:
        """See `JsonSql`."""
        found = self._at(column, path)
        empty = case(
            (func.jsonb_typeof(found) == "array", found == literal([], JSONB())),
            (func.jsonb_typeof(found) == "object", found == literal({}, JSONB())),
            else_=true(),
        )
        return ~empty

    def is_object(self, column: ColumnElement[Any], path: Path) -> ColumnElement[bool]:
        """See `JsonSql`."""
        return func.jsonb_typeof(self._at(column, path)) == "object"

    def _at(self, column: ColumnElement[Any], path: Path) -> ColumnElement[Any]:
        column = cast(column, JSONB()) if not isinstance(column.type, JSONB) else column
        return column.op("#>", return_type=JSONB())(cast(list(path), ARRAY(String))) if path else column


def _kind_of(value: JsonValue) -> Kind:
    if isinstance(value, bool):
        return Kind.BOOL
    return Kind.STRING if isinstance(value, str) else Kind.NUMBER


def _literal(value: JsonValue) -> ColumnElement[Any]:
    if isinstance(value, bool):
        return literal(value, Boolean())
    return literal(value, BigInteger()) if isinstance(value, int) else literal(value)


JSON_SQL: Final[dict[str, JsonSql]] = {"sqlite": SqliteJson(), "postgresql": PostgresqlJson()}
