"""Filters as SQL against the evaluator that judges plain dicts: the same filter takes the same rows, in both databases."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, String, delete
from sqlalchemy.orm import Mapped, mapped_column

from embergate.aip.fields import FieldType, Kind
from embergate.aip.filtering import compile_filter
from embergate.aip.filtering.checked import (
    And,
    Compare,
    Contains,
    FieldPath,
    HasElement,
    HasKey,
    Like,
    Node,
    Not,
    Operator,
    Or,
    Present,
    Search,
)
from embergate.aip.ordering import OrderKey
from embergate.storage.collection import Collection, PageQuery
from embergate.storage.database import Database
from embergate.storage.rows import Json
from tests.integration.storage.sample import SampleBase
from tests.unit.aip.evaluate import matches
from tests.unit.aip.messages import ALIASES, FIELDS
from tests.unit.aip.test_filter_meaning import EMPTY, JOB, MEANINGS


class MessageRow(SampleBase):
    __tablename__ = "sample_messages"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    display_name: Mapped[str | None]
    model: Mapped[str | None]
    email: Mapped[str | None]
    state: Mapped[str | None] = mapped_column(String(40))
    cluster_state: Mapped[str | None]
    supports_serverless: Mapped[bool | None]
    a: Mapped[int | None]
    b: Mapped[int | None]
    c: Mapped[int | None]
    p99_1: Mapped[int | None]
    example_count: Mapped[int | None] = mapped_column(BigInteger)
    temperature: Mapped[float | None]
    create_time: Mapped[datetime | None]
    timeout: Mapped[timedelta | None]
    status_code: Mapped[str | None]
    status_message: Mapped[str | None]
    job_progress: Mapped[Any] = mapped_column(Json, nullable=True)
    total_cost: Mapped[Any] = mapped_column(Json, nullable=True)
    annotations: Mapped[Any] = mapped_column(Json, nullable=True)
    load_targets: Mapped[Any] = mapped_column(Json, nullable=True)
    schedules: Mapped[Any] = mapped_column(Json, nullable=True)
    deployments: Mapped[Any] = mapped_column(Json, nullable=True)
    sizes: Mapped[Any] = mapped_column(Json, nullable=True)
    replicas: Mapped[Any] = mapped_column(Json, nullable=True)
    matrix: Mapped[Any] = mapped_column(Json, nullable=True)
    details: Mapped[Any] = mapped_column("metadata", Json, nullable=True)  # the class has a `metadata` of its own


MESSAGES: Final = Collection(
    MessageRow,
    {name: getattr(MessageRow, name) for name in FIELDS if name not in {"status", "metadata"}}
    | {
        "id": MessageRow.id,
        "status.code": MessageRow.status_code,
        "status.message": MessageRow.status_message,
        "metadata": MessageRow.details,
    },
)


def row_of(number: int, message: Mapping[str, Any]) -> MessageRow:
    status = message.get("status") or {}
    columns = {name: value for name, value in message.items() if name not in {"status", "metadata"}}
    return MessageRow(
        id=number,
        status_code=status.get("code"),
        status_message=status.get("message"),
        details=message.get("metadata"),
        **columns,
    )


async def replace(database: Database, messages: list[Mapping[str, Any]]) -> None:
    async with database.writing() as db:
        await db.execute(delete(MessageRow))
        db.add_all([row_of(number, message) for number, message in enumerate(messages)])


async def passing(database: Database, node: Node | None) -> list[int]:
    async with database.reading() as db:
        page = await MESSAGES.page(db, PageQuery(node, (OrderKey(("id",)),), None, 100))
    return [row.id for row in page.rows]


async def test_filters_mean_in_sql_what_they_mean(jobs: Database) -> None:
    await replace(jobs, [JOB, EMPTY])
    for text, (job_passes, empty_passes) in MEANINGS.items():
        node = compile_filter(text, FIELDS, aliases=ALIASES)
        found = await passing(jobs, node)
        assert (0 in found, 1 in found) == (job_passes, empty_passes), text


NOON: Final = datetime(2026, 8, 1, 12, tzinfo=UTC)
# Few values, so that filters hit; letters on which two ways to lower-case agree.
TEXTS: Final = ["", "a", "B", "aB", "b*", "ä", "Äb", "%_", "[a]", "\\", "'", "😀", "\uffff"]
KEYS: Final = ["a", "", "k.1", 'k"', "ä"]
SCALARS: Final[dict[Kind, st.SearchStrategy[Any]]] = {
    Kind.STRING: st.sampled_from(TEXTS),
    Kind.BOOL: st.booleans(),
    Kind.INTEGER: st.sampled_from([0, 1, -2, 2**31 - 1]),
    Kind.NUMBER: st.sampled_from([0.0, 0.5, -1.5, 1e30]),
    Kind.TIMESTAMP: st.sampled_from([NOON, NOON - timedelta(microseconds=1), NOON + timedelta(days=400)]),
    Kind.DURATION: st.sampled_from([timedelta(0), timedelta(seconds=1.5), timedelta(seconds=-1)]),
}


def scalars(field: FieldType) -> st.SearchStrategy[Any]:
    return st.sampled_from(field.enum_names) if field.kind is Kind.ENUM else SCALARS[field.kind]


def values(field: FieldType) -> st.SearchStrategy[Any]:
    """Return values of a field that is set."""
    element = field.element
    match field.kind:
        case Kind.MESSAGE:
            return st.fixed_dictionaries({}, optional={name: st.none() | values(f) for name, f in field.fields.items()})
        case Kind.LIST:
            assert element is not None
            return st.lists(values(element), max_size=3)
        case Kind.MAP:
            assert element is not None
            return st.dictionaries(st.sampled_from(KEYS), values(element), max_size=3)
        case Kind.STRUCT:
            return st.just({"free": 1}) | st.just({})
    return scalars(field)


# A status that is spread over columns is set if one of them is.
STATUS: Final = values(FIELDS["status"]).filter(lambda status: any(value is not None for value in status.values()))
ROWS: Final[st.SearchStrategy[Mapping[str, Any]]] = st.fixed_dictionaries(
    {}, optional={name: st.none() | (STATUS if name == "status" else values(field)) for name, field in FIELDS.items()}
)


def fields_of(fields: Mapping[str, FieldType], outer: tuple[str, ...] = ()) -> list[FieldPath]:
    found = []
    for name, field in fields.items():
        found.append(FieldPath((*outer, name), field))
        found += fields_of(field.fields, (*outer, name))
        if field.kind is Kind.MAP and field.element is not None:
            found += [FieldPath((*outer, name), field.element, key) for key in KEYS]
    return found


ALL_FIELDS: Final = fields_of(FIELDS)
STRING_FIELDS: Final = tuple(field for field in ALL_FIELDS if field.type.kind is Kind.STRING and field.key is None)


def elements(field: FieldType, names: tuple[str, ...] = ()) -> st.SearchStrategy[tuple[tuple[str, ...], Any]]:
    """Return fields of a list's elements and values for them."""
    if field.kind is Kind.MESSAGE:
        return st.one_of(*(elements(inner, (*names, name)) for name, inner in field.fields.items()))
    if field.kind is Kind.MAP and field.element is not None:
        return st.one_of(*(elements(field.element, (*names, key)) for key in KEYS))
    if field.kind is Kind.LIST:
        return st.nothing()
    return st.tuples(st.just(names), scalars(field))


def restrictions(field: FieldPath) -> st.SearchStrategy[Node]:
    kind, present = field.type.kind, st.just(Present(field))
    if kind is Kind.MAP:
        return present | st.builds(HasKey, st.just(field), st.sampled_from(KEYS))
    if kind is Kind.LIST and field.type.element is not None:
        return present | elements(field.type.element).map(lambda element: HasElement(field, element[1], element[0]))
    if kind in {Kind.MESSAGE, Kind.STRUCT}:
        return present
    operators = [Operator.EQ, Operator.NE] if kind in {Kind.BOOL, Kind.ENUM} else list(Operator)
    compared = st.builds(Compare, st.just(field), st.sampled_from(operators), scalars(field.type))
    if kind is not Kind.STRING:
        return present | compared
    texts = st.sampled_from(TEXTS)
    either = st.sampled_from([(True, False), (False, True), (True, True)])
    like = st.builds(
        lambda text, ends, negated: Like(field, text, ends[0], ends[1], negated=negated), texts, either, st.booleans()
    )
    return present | compared | like | st.builds(Contains, st.just(field), texts)


NODES: Final = st.recursive(
    st.sampled_from(ALL_FIELDS).flatmap(restrictions)
    | st.builds(Search, st.sampled_from(TEXTS), st.just(STRING_FIELDS)),
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(And, st.lists(inner, max_size=3).map(tuple))
        | st.builds(Or, st.lists(inner, max_size=3).map(tuple))
    ),
    max_leaves=6,
)


@given(messages=st.lists(ROWS, min_size=1, max_size=6), nodes=st.lists(NODES, min_size=1, max_size=8))
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
async def test_any_filter_takes_the_rows_that_the_evaluator_takes(
    jobs: Database, messages: list[Mapping[str, Any]], nodes: list[Node]
) -> None:
    await replace(jobs, messages)
    for node in nodes:
        expected = [number for number, message in enumerate(messages) if matches(node, message)]
        assert await passing(jobs, node) == expected
