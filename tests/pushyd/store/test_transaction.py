"""Batches on a plain connection: which errors are an outage, and one that begins in the middle."""

import sqlite3
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors as postgresql
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError
from twisted.internet.defer import Deferred

from pushyd.store import identity
from pushyd.store.engine import parse_url, writer_engine
from pushyd.store.errors import is_outage, refusal
from pushyd.store.interface import AlreadyExists, NotFound, StoreUnavailable
from pushyd.store.transaction import Write, write_batch


def sqlite_error(code: int) -> DBAPIError:
    cause = sqlite3.OperationalError("as SQLite\n says it")
    cause.sqlite_errorcode = code
    return OperationalError("SELECT secret", {}, cause)


@pytest.mark.parametrize(
    "code", [sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR_WRITE]
)
def test_outages_of_sqlite(code: int) -> None:
    assert is_outage(sqlite_error(code))


@pytest.mark.parametrize(
    "code", [sqlite3.SQLITE_CONSTRAINT_NOTNULL, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_ERROR]
)
def test_what_sqlite_says_of_the_data(code: int) -> None:
    assert not is_outage(sqlite_error(code))


@pytest.mark.parametrize(
    "cause",
    [
        postgresql.DiskFull("x"),
        postgresql.AdminShutdown("x"),
        postgresql.LockNotAvailable("x"),
        postgresql.ReadOnlySqlTransaction("x"),
        postgresql.InvalidPassword("x"),
        postgresql.InvalidCatalogName("x"),
        postgresql.SerializationFailure("x"),
        psycopg.OperationalError("connection refused"),
    ],
)
def test_outages_of_postgresql(cause: psycopg.Error) -> None:
    assert is_outage(OperationalError("SELECT secret", {}, cause))


@pytest.mark.parametrize(
    "cause",
    [
        postgresql.NotNullViolation("x"),
        postgresql.ProgramLimitExceeded("x"),
        postgresql.RaiseException("x"),
        psycopg.DataError("cannot contain NUL"),
    ],
)
def test_what_postgresql_says_of_the_data(cause: psycopg.Error) -> None:
    assert not is_outage(DBAPIError("SELECT secret", {}, cause))


def test_a_bug_is_no_outage_and_stays_what_it_is() -> None:
    bug = TypeError("x")
    assert not is_outage(bug)
    assert refusal(bug) is bug


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (sqlite_error(sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY), AlreadyExists("as SQLite says it")),
        (sqlite_error(sqlite3.SQLITE_CONSTRAINT_UNIQUE), AlreadyExists("as SQLite says it")),
        (sqlite_error(sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY), NotFound("as SQLite says it")),
        (sqlite_error(sqlite3.SQLITE_FULL), StoreUnavailable("as SQLite says it")),
        (ProgrammingError("", {}, sqlite3.ProgrammingError("closed")), StoreUnavailable("closed")),
        (IntegrityError("", {}, postgresql.UniqueViolation("taken")), AlreadyExists("taken")),
        (IntegrityError("", {}, postgresql.ForeignKeyViolation("missing")), NotFound("missing")),
        (IntegrityError("", {}, postgresql.NotNullViolation("null")), StoreUnavailable("null")),
        (OSError(28, "No space left on device"), StoreUnavailable("[Errno 28] No space left on device")),
    ],
)
def test_what_is_told(error: Exception, told: Exception) -> None:
    assert (type(refusal(error)), str(refusal(error))) == (type(told), str(told))


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = writer_engine(parse_url(database))
    yield engine
    engine.dispose()


def test_an_outage_in_the_second_attempt_undoes_all_of_it(engine: Engine) -> None:
    attempts = 0

    def good(connection: Connection) -> None:
        identity.create_organization(connection, "acme", "guid")

    def refused_then_out_of_order(_connection: Connection) -> None:
        nonlocal attempts
        attempts += 1
        raise ValueError if attempts == 1 else sqlite_error(sqlite3.SQLITE_FULL)

    with pytest.raises(StoreUnavailable, match="as SQLite says it"):
        write_batch(engine, [Write(good, Deferred()), Write(refused_then_out_of_order, Deferred())])
    assert attempts == 2
    with engine.connect() as connection:
        assert identity.read_organization(connection, "acme") is None


def test_an_empty_batch(engine: Engine) -> None:
    outcome = write_batch(engine, [])
    assert (outcome.refused, outcome.dropped) == ({}, [])
