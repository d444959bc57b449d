"""Which of a driver's failures mean that the database cannot serve now, said without its URL.

Everything else passes as SQLAlchemy raises it: an `IntegrityError` is for the store that knows what is unique.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from sqlalchemy.engine import ExceptionContext

from embergate.errors import EmbergateError, InvalidRequestError, RequestTimeoutError, UnavailableError

UNREACHABLE: Final = "The database cannot be reached."
LOCKED: Final = "The database has been locked by others for too long; try again."
FULL: Final = "The disk of the database is full."
BUSY: Final = "Every connection to the database is in use; try again."
NOT_WRITABLE: Final = "The database cannot be written to."
DAMAGED: Final = "The database file is damaged, or is not a database."
BROKEN: Final = "The disk of the database fails."
SLOW: Final = "The database takes too long over this; ask for less, for instance by a filter on an indexed field."
NUL: Final = "Text may not hold the character NUL."

# The low byte of SQLite's codes is the kind, the rest its details.
KIND: Final = 0xFF
SQLITE: Final = {
    sqlite3.SQLITE_BUSY: LOCKED,
    sqlite3.SQLITE_LOCKED: LOCKED,
    sqlite3.SQLITE_PROTOCOL: LOCKED,
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_CANTOPEN: UNREACHABLE,
    sqlite3.SQLITE_IOERR: BROKEN,
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
}

# By SQLSTATE, or its first two characters: https://www.postgresql.org/docs/current/errcodes-appendix.html
POSTGRESQL: Final = {
    "08": UNREACHABLE,
    "28": UNREACHABLE,  # the password is wrong
    "3D": UNREACHABLE,  # no database of this name
    "53": UNREACHABLE,  # too many connections, no memory
    "53100": FULL,
    "57P": UNREACHABLE,  # it shuts down or starts
    "58": BROKEN,
    "55P03": LOCKED,
    "40001": LOCKED,
    "40P01": LOCKED,  # a deadlock: this transaction gave way, so that it may be tried again
}


QUERY_CANCELED: Final = "57014"  # by its statement_timeout


def translate_in_reader(context: ExceptionContext) -> EmbergateError | None:
    """Return the error to raise in place of a driver's, or None to let it pass. An SQLAlchemy `handle_error` listener."""
    error = context.original_exception
    if not isinstance(error, Exception):
        return None  # a cancellation: it breaks the connection, but is no failure of the database
    if isinstance(error, EmbergateError):
        return error  # from a type that refused a value
    code = getattr(error, "sqlite_errorcode", None)
    sqlstate = getattr(error, "sqlstate", None)
    if code == sqlite3.SQLITE_INTERRUPT or sqlstate == QUERY_CANCELED:
        return RequestTimeoutError(SLOW)
    if code is not None:
        return _of_sqlite_code(code)
    if sqlstate == "22021":
        return InvalidRequestError(NUL)
    if sqlstate is not None:
        return _unavailable(POSTGRESQL.get(sqlstate) or POSTGRESQL.get(sqlstate[:3]) or POSTGRESQL.get(sqlstate[:2]))
    return _unavailable(UNREACHABLE if context.is_disconnect or isinstance(error, OSError) else None)


def translate_in_writer(context: ExceptionContext) -> EmbergateError | None:
    """As `translate_in_reader`; and a file or server that only reads is unavailable, where in a reader it is our bug."""
    error = context.original_exception
    if isinstance(error, sqlite3.Error) and (unavailable := of_sqlite_writer(error)) is not None:
        return unavailable
    is_reader = context.connection is not None and context.connection.get_execution_options().get("postgresql_readonly")
    if getattr(error, "sqlstate", None) == "25006" and not is_reader:  # a standby
        return UnavailableError(NOT_WRITABLE)
    return translate_in_reader(context)


def of_sqlite_writer(error: sqlite3.Error) -> UnavailableError | None:
    """Return the error to raise in place of SQLite's own, of a connection that writes; None to let it pass."""
    code = getattr(error, "sqlite_errorcode", 0)  # the module's own errors have none
    if code & KIND == sqlite3.SQLITE_READONLY:
        return UnavailableError(NOT_WRITABLE)
    return _of_sqlite_code(code)


def _of_sqlite_code(code: int) -> UnavailableError | None:
    return _unavailable(SQLITE.get(code & KIND))


def _unavailable(message: str | None) -> UnavailableError | None:
    return UnavailableError(message) if message else None
