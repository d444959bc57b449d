"""How connections are made: one to write to SQLite with, a pool of each kind otherwise."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from sqlalchemy import URL, Connection, NullPool, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from embergate.clock import monotonic_s
from embergate.errors import ConfigurationError, UnavailableError
from embergate.storage import failures, text
from embergate.storage.direct import DirectWriter
from embergate.storage.sqlite_driver import DRIVER

DialectName = Literal["sqlite", "postgresql"]

LOCK_TIMEOUT_S: Final = 5.0
# Another process may be in the middle of a long migration.
MIGRATION_LOCK_TIMEOUT_S: Final = 600.0
POOL_TIMEOUT_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 10.0
COMMAND_TIMEOUT_S: Final = 600.0
POSTGRESQL_PARAMETERS: Final = {"host", "port", "ssl", "prepared_statement_cache_size"}
# Where a connection's statement has to end by, in the connection's own notes.
DEADLINE: Final = "embergate_deadline_s"
# In SQLite's own instructions: about a millisecond.
STEPS_BETWEEN_LOOKS: Final = 20_000
EXAMPLES: Final = "sqlite:///file.db or postgresql://user:password@host/name"


@dataclass(frozen=True, slots=True)
class Engines:
    """Where the units of work of a database get their connections; migrations get one that is closed after it.

    `direct` is for work that SQLite's writer does without the pool.
    """

    dialect: DialectName
    reading: AsyncEngine
    writing: AsyncEngine
    migrating: AsyncEngine
    direct: DirectWriter | None = None


def open_engines(url: str, *, pool_size: int, statement_timeout_s: float | None) -> Engines:
    """Return the engines for a URL; nothing is connected yet.

    A statement that reads for longer than `statement_timeout_s` is broken off; None lets it take its time.

    Raises: ConfigurationError if the URL is none we know, or its driver is not installed; it does not show the URL.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigurationError(f"the database URL is not valid; write {EXAMPLES}") from None
    if parsed.drivername in {"sqlite", "sqlite+aiosqlite"}:
        return _sqlite(parsed, pool_size, statement_timeout_s)
    if parsed.drivername in {"postgresql", "postgres", "postgresql+asyncpg"}:
        return _postgresql(parsed, pool_size, statement_timeout_s)
    raise ConfigurationError(f"the database URL must be {EXAMPLES}")


def _dump_json(value: Any) -> str:
    # NaN is no JSON: PostgreSQL refuses it, and SQLite would store what its own functions cannot read.
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


_create = partial(
    create_async_engine,
    hide_parameters=True,  # parameters are people's data, and errors are logged
    json_serializer=_dump_json,
)


def _sqlite(url: URL, pool_size: int, statement_timeout_s: float | None) -> Engines:
    if not url.database or url.database.startswith(":") or url.query:
        raise ConfigurationError("the database URL must name a file and nothing else: sqlite:///file.db")
    url = url.set(drivername=DRIVER)
    pool: dict[str, Any] = {"max_overflow": 0, "pool_timeout": POOL_TIMEOUT_S}
    reading = _create(url, pool_size=pool_size, **pool)
    _prepare_sqlite(reading, "BEGIN", _sqlite_pragmas(LOCK_TIMEOUT_S, "query_only = ON"))
    if statement_timeout_s is not None:
        _bound_sqlite_statements(reading, statement_timeout_s)
    # SQLite has one writer at a time. Waiting for our one connection is first come, first served; waiting for the
    # file's lock is polling, in no order.
    writing = _create(url, pool_size=1, **pool)
    # FULL: the log reaches the disk before a commit returns. With NORMAL an acknowledged write survives a killed
    # process, but not a power cut, and a request that has been answered must have been billed.
    durable = ("journal_mode = WAL", "synchronous = FULL")
    # IMMEDIATE: a transaction that reads first and writes later would fail at once where another one has written
    # in between, however long it is told to wait.
    _prepare_sqlite(writing, "BEGIN IMMEDIATE", _sqlite_pragmas(LOCK_TIMEOUT_S, *durable, "foreign_keys = ON"))
    direct = DirectWriter(writing, timeout_s=POOL_TIMEOUT_S)
    migrating = _create(url, poolclass=NullPool)
    # A table that is rebuilt is dropped for a moment; the migration checks the references itself, at its end.
    pragmas = _sqlite_pragmas(MIGRATION_LOCK_TIMEOUT_S, *durable, "foreign_keys = OFF")
    _prepare_sqlite(migrating, "BEGIN IMMEDIATE", pragmas)
    _translate_failures(reading, failures.translate_in_reader)
    _translate_failures(writing, failures.translate_in_writer)
    _translate_failures(migrating, failures.translate_in_writer)
    return Engines("sqlite", reading, writing, migrating, direct)


def _sqlite_pragmas(lock_timeout_s: float, *others: str) -> tuple[str, ...]:
    return (f"busy_timeout = {int(lock_timeout_s * 1000)}", *others)


def _prepare_sqlite(engine: AsyncEngine, begin: str, pragmas: tuple[str, ...]) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def connect(connection: Any, _record: object) -> None:
        # The driver would begin transactions by itself, and only before writes.
        connection.isolation_level = None
        connection.create_function(text.SQLITE_FUNCTION, 1, text.fold_case_in_sqlite, deterministic=True)
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


def _bound_sqlite_statements(engine: AsyncEngine, timeout_s: float) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def connect(connection: Any, record: Any) -> None:
        info = record.info

        def is_late() -> bool:
            deadline_s: float = info.get(DEADLINE, math.inf)
            return monotonic_s() > deadline_s

        connection.run_async(lambda driver: driver.set_progress_handler(is_late, STEPS_BETWEEN_LOOKS))

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def before_statement(connection: Connection, *_: object) -> None:
        connection.info[DEADLINE] = monotonic_s() + timeout_s


def _postgresql(url: URL, pool_size: int, statement_timeout_s: float | None) -> Engines:
    if importlib.util.find_spec("asyncpg") is None:
        raise ConfigurationError("a PostgreSQL database needs the extra: pip install 'embergate[postgres]'")
    query = dict(url.query)
    if "sslmode" in query:  # as libpq spells it
        query["ssl"] = query.pop("sslmode")
    unknown = sorted(query.keys() - POSTGRESQL_PARAMETERS)
    if unknown:
        known = ", ".join(sorted(POSTGRESQL_PARAMETERS | {"sslmode"}))
        raise ConfigurationError(f"the database URL has the parameter {unknown[0]}; known are {known}")
    url = url.set(drivername="postgresql+asyncpg", query=query)
    writing = _create(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        pool_pre_ping=True,  # a server that restarts would cost each connection one failed request
        connect_args={
            **_asyncpg_arguments(LOCK_TIMEOUT_S, statement_timeout_s),
            # Of a server that no longer answers, whose own timeouts are of no use.
            "command_timeout": COMMAND_TIMEOUT_S if statement_timeout_s is None else 2 * statement_timeout_s,
        },
    )
    migrating = _create(url, poolclass=NullPool, connect_args=_asyncpg_arguments(MIGRATION_LOCK_TIMEOUT_S))
    for engine in (writing, migrating):
        _translate_failures(engine, failures.translate_in_writer)
    # The same pool; a list's page and its count see the same rows.
    reading = writing.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return Engines("postgresql", reading, writing, migrating)


def _asyncpg_arguments(lock_timeout_s: float, statement_timeout_s: float | None = None) -> dict[str, Any]:
    server_settings = {
        "application_name": "embergate",
        "lock_timeout": str(int(lock_timeout_s * 1000)),
        "statement_timeout": str(int((statement_timeout_s or 0) * 1000)),
        "jit": "off",  # compiling costs more than any of our queries
    }
    return {"timeout": CONNECT_TIMEOUT_S, "server_settings": server_settings}


def _translate_failures(engine: AsyncEngine, translate: Callable[..., Any]) -> None:
    event.listen(engine.sync_engine, "handle_error", translate)

    # What the sockets raise while connecting reaches no other listener.
    @event.listens_for(engine.sync_engine, "do_connect")
    def do_connect(dialect: Any, _record: object, arguments: list[Any], options: dict[str, Any]) -> Any:
        try:
            return dialect.connect(*arguments, **options)
        except OSError as error:
            raise UnavailableError(failures.UNREACHABLE) from error
