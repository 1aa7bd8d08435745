"""What drivers raise, in the store's own words; no other module tells their errors apart."""

import sqlite3

import psycopg
from psycopg import errors as postgresql
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pushyd.store.interface import AlreadyExists, NotFound, StoreUnavailable

DRIVER_ERRORS = (SQLAlchemyError, sqlite3.Error, OSError)
"""What comes from the database or the disk, not from a bug of ours."""

# What is about the disk, the file or its other users. The rest is about what was to be written.
_SQLITE_OUTAGES = {
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
}

# Classes of SQLSTATE: connection, transaction state (a read-only standby), authorization, no such database,
# rolled back by a conflict, resources (a full disk), locks, an administrator, the system, and internal errors.
_POSTGRESQL_OUTAGES = {"08", "25", "28", "3D", "40", "53", "55", "57", "58", "XX"}

_TAKEN = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, postgresql.UniqueViolation.sqlstate}
_MISSING = {sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY, postgresql.ForeignKeyViolation.sqlstate}


def is_outage(error: Exception) -> bool:
    """Whether the database cannot be written at all now, so that another try later may do."""
    if not isinstance(error, DBAPIError):
        return False
    match error.orig:
        case sqlite3.Error() as cause:
            return _sqlite_code(cause) & 0xFF in _SQLITE_OUTAGES  # the low byte is the kind, the rest details
        case psycopg.Error(sqlstate=str(sqlstate)):
            return sqlstate[:2] in _POSTGRESQL_OUTAGES
        case cause:
            # Without an SQLSTATE it is not the server that speaks: it was not reached, or went away.
            return error.connection_invalidated or isinstance(cause, psycopg.OperationalError)


def refusal(error: Exception) -> Exception:
    """What is told to whom a write or a read failed; an error that no driver raised is a bug, and stays as it is."""
    if not isinstance(error, DRIVER_ERRORS):
        return error
    code = _code(error.orig) if isinstance(error, DBAPIError) else None
    if code in _TAKEN:
        return AlreadyExists(words(error))
    if code in _MISSING:
        return NotFound(words(error))
    return StoreUnavailable(words(error))


def words(error: BaseException) -> str:
    """The driver's words in one line, without the statement and its parameters."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(str(cause).split())


def _sqlite_code(cause: sqlite3.Error) -> int:
    # Absent where the module complains and not SQLite.
    return getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_OK)


def _code(cause: BaseException | None) -> int | str | None:
    match cause:
        case sqlite3.Error():
            return _sqlite_code(cause)
        case psycopg.Error():
            return cause.sqlstate
        case _:
            return None
