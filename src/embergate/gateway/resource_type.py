"""`ResourceType`: one kind of resource: its message, rows and name. A room declares it; the AIP behaviour is here, once."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Final, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement, SQLColumnExpression, literal

from embergate.aip.fieldmask import prune, read_tree
from embergate.aip.fields import FieldType, Kind, lower_camel
from embergate.aip.filtering.checker import compile_filter
from embergate.aip.message import Message, write_message
from embergate.aip.message_fields import fields_of
from embergate.aip.names import ResourcePattern, check_id
from embergate.aip.ordering import OrderKey, parse_order
from embergate.aip.paging import page_size_of, request_digest
from embergate.aip.status import Code
from embergate.errors import ForbiddenError
from embergate.gateway.call import Call
from embergate.storage.collection import Collection, PageQuery
from embergate.storage.rows import Base
from embergate.web.errors import JSONResponse

DEFAULT_PAGE_SIZE: Final = 50
MAX_PAGE_SIZE: Final = 200
UNSORTABLE: Final = frozenset({Kind.MESSAGE, Kind.LIST, Kind.MAP, Kind.STRUCT})

ROW_ID: Final = "id"
NAME: Final = ("name",)
# The columns of the status of a resource that keeps none: it is always fine.
OK_STATUS: Final = {"status.code": literal(Code.OK.value), "status.message": literal("")}

R = TypeVar("R", bound=Base)
M = TypeVar("M", bound=Message)
# Conditions that depend on when a list was first asked for.
Window = Callable[[datetime], Sequence[ColumnElement[bool]]]


class QueryParameters(BaseModel):
    """A call's query, in lowerCamelCase or snake_case. A key that names no parameter is ignored, as grpc-gateway does."""

    model_config = ConfigDict(alias_generator=lower_camel, populate_by_name=True)


class ReadParameters(QueryParameters):
    """The query of every Get."""

    read_mask: str = Field("", description="Fields to answer with, separated by commas; empty or `*` for all.")


@dataclass(frozen=True, slots=True)
class Page(Generic[M]):
    """One page of a list."""

    items: list[M]
    next_page_token: str
    total_size: int


class ListParameters(ReadParameters):
    """The query of every List."""

    page_size: int = Field(0, ge=-(2**31), lt=2**31, description="At most this many; 50 by default, 200 at most.")
    page_token: str = Field("", description="`nextPageToken` of the page before.")
    filter: str = Field("", description='An AIP-160 filter, for instance `state=READY AND display_name:"lab"`.')
    order_by: str = Field("", description="Fields to order by, separated by commas, each perhaps followed by ` desc`.")

    def more_for_digest(self) -> Mapping[str, str]:
        """Return what else, of a list's own parameters, chooses rows: a page token is good for these alone."""
        return {}


class UnorderedListParameters(ListParameters):
    """The query of a List whose order is its own."""

    order_by: str = Field("", description="Not used: the order is always the same.")


class UpdateParameters(QueryParameters):
    """The query of every Update."""

    update_mask: str | None = Field(
        None, description="Fields to change; those that the body holds, where it is left out."
    )


ReadQuery = Annotated[ReadParameters, Query()]
ListQuery = Annotated[ListParameters, Query()]
UnorderedListQuery = Annotated[UnorderedListParameters, Query()]
UpdateQuery = Annotated[UpdateParameters, Query()]


@dataclass(frozen=True, slots=True)
class ListRules:
    """How a resource's list differs from the others'."""

    default_order: str = "name"
    # What makes an order total: the last key, appended where it is not named.
    last_key: str = "name"
    is_ordered_by_caller: bool = True
    default_page_size: int = DEFAULT_PAGE_SIZE
    aliases: Mapping[str, str] = field(default_factory=dict)
    searched: Sequence[str] = ()


class ResourceType(Generic[R, M]):
    """Rows of one table as resources of one kind.

    A message's field is read from the row's attribute of the same name; `extra` gives those that are not there. What can be
    filtered and ordered by is what has a column; `columns` adds to it, or says otherwise.
    """

    def __init__(
        self,
        row: type[R],
        message: type[M],
        *,
        pattern: str = "",
        columns: Mapping[str, SQLColumnExpression[Any]] | None = None,
        extra: Callable[[R], Mapping[str, Any]] | None = None,
        rules: ListRules | None = None,
    ) -> None:
        """Declare the resource; the pattern's last part is the row's `id`, each other part its `<part>_id`."""
        self.pattern = ResourcePattern(pattern) if pattern else None
        self.row = row
        self.message = message
        self.rules = rules or ListRules()
        self._extra = extra
        own = {name: getattr(row, name) for name in message.model_fields if name in row.__table__.columns}
        named = {"name": self._name_column(pattern)} if pattern else {}
        self._columns: dict[str, SQLColumnExpression[Any]] = {**named, **own, **(columns or {})}
        self.filterable = _with_columns(fields_of(message), self._columns)
        self.sortable = {name: of for name, of in self.filterable.items() if of.kind not in UNSORTABLE}
        ordered = {ROW_ID: getattr(row, ROW_ID)} if pattern else {}
        endings = {"name": getattr(row, ROW_ID)} if pattern else {}
        self.collection = Collection(row, {**self._columns, **ordered}, endings=endings)

    def name_of(self, row: R) -> str:
        """Return the row's resource name."""
        assert self.pattern is not None, "this resource has no name. This is a bug."
        *parents, last = self.pattern.ids
        return self.pattern.format(
            **{part: getattr(row, f"{part}_id") for part in parents}, **{last: getattr(row, ROW_ID)}
        )

    def id_in(self, name: str, *, account_id: str, field: str) -> str:
        """Return the id of one of an account's resources, which is given by its name or by the id alone.

        Raises: InvalidArgumentError with `field` for what is neither; ForbiddenError for another account's.
        """
        assert self.pattern is not None, "this resource has no name. This is a bug."
        if "/" not in name:
            return check_id(name, field)
        ids = self.pattern.parse(name, field=field)
        if ids["account"] != account_id:
            raise ForbiddenError(f"{field}: it must be in the account {account_id}", param=field)
        return ids[self.pattern.ids[-1]]

    def _name_column(self, pattern: str) -> ColumnElement[str]:
        """Return the resource name in SQL, for filters."""
        assert self.pattern is not None, "a pattern was given. This is a bug."
        *parents, last = self.pattern.ids
        attributes = {part: f"{part}_id" for part in parents} | {last: "id"}
        pieces = [
            getattr(self.row, attributes[part[1:-1]]) if part.startswith("{") else literal(part)
            for part in re.split(r"(\{\w+\})", pattern)
            if part
        ]
        return functools.reduce(operator.add, pieces)

    def message_of(self, row: R) -> M:
        """Return the row as a message."""
        values = {name: getattr(row, name) for name in self.message.model_fields if hasattr(row, name)}
        if self.pattern is not None:
            values["name"] = self.name_of(row)
        return self.message(**{**values, **(self._extra(row) if self._extra else {})})

    async def page(
        self, call: Call, query: ListParameters, *where: ColumnElement[bool], window: Window | None = None
    ) -> Page[M]:
        """Return one page of the rows that `where` and the query's filter let through.

        `window` gives more conditions, of the moment when the first page was asked for: tokens carry it to the others.
        Raises: InvalidArgumentError naming the parameter that is wrong.
        """
        rules = self.rules
        checked = compile_filter(query.filter, self.filterable, aliases=rules.aliases, searched=rules.searched)
        asked_order = query.order_by if rules.is_ordered_by_caller else ""
        order = parse_order(
            asked_order, self.sortable, default=rules.default_order, aliases=rules.aliases, last=rules.last_key
        )
        # The parent, which is in the path, and every other parameter that chooses rows or their order.
        digest = request_digest(
            {
                "account": call.account_id,
                "parent": call.event.resource,
                "method": call.event.method,
                "filter": query.filter,
                "order": str(order),
                **query.more_for_digest(),
            }
        )
        tokens = call.deps.page_tokens
        position = list(tokens.decode(query.page_token, digest)) if query.page_token else None
        asked_at: list[datetime] = []
        if window is not None:
            moment = call.event.timestamp if position is None else position.pop(0)
            assert isinstance(moment, datetime), "it is the first value in this list's tokens. This is a bug."
            asked_at, where = [moment], (*where, *window(moment))
        page_size = page_size_of(query.page_size, default=self.rules.default_page_size, maximum=MAX_PAGE_SIZE)
        # Within one parent the ids are in the order of the names, and an index has them.
        keys = tuple(OrderKey((ROW_ID,), key.is_descending) if key.names == NAME else key for key in order)
        found = await self.collection.page(call.db, PageQuery(checked, keys, position, page_size), *where)
        next_token = ""
        if found.next_position is not None:
            next_token = tokens.encode([*asked_at, *found.next_position], digest)
        return Page([self.message_of(row) for row in found.rows], next_token, found.total_size)


async def all_of(page_at: Callable[[str], Awaitable[Page[M]]], *, limit: int | None = None) -> list[M]:
    """Return what is on every page, or the first `limit`; `page_at` takes the page's token."""
    page = await page_at("")
    found = page.items
    while page.next_page_token and (limit is None or len(found) < limit):
        page = await page_at(page.next_page_token)
        found += page.items
    return found[:limit]


def answer_page(plural: str, page: Page[M], message: type[M], read_mask: str) -> JSONResponse:
    """Return a page as a response; the read mask chooses among each resource's fields."""
    tree = read_tree(read_mask, message)
    items = [prune(write_message(item), tree) for item in page.items]
    return JSONResponse({plural: items, "nextPageToken": page.next_page_token, "totalSize": page.total_size})


def _with_columns(fields: Mapping[str, FieldType], columns: Mapping[str, Any]) -> dict[str, FieldType]:
    """Return the fields that have a column, and of messages without one the parts that have."""
    found = {}
    for name, of in fields.items():
        inside = {path.split(".", 1)[1] for path in columns if path.startswith(f"{name}.")}
        if inside:
            found[name] = FieldType(Kind.MESSAGE, fields={part: of.fields[part] for part in sorted(inside)})
        elif name in columns:
            found[name] = of
    return found
