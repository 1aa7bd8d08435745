"""The database's URL, and connections that are set as the store's promises need them."""

import os
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from pushyd.store.interface import StoreUnavailable

READERS = 3
"""Reads at a time; more would only wait for the interpreter lock."""

LOCK_TIMEOUT = 2.0
"""Seconds to wait for another writer of the database, such as pushyd-ctl, before it counts as an outage."""

_EXPECTED = "database_url: expected sqlite:////PATH or postgresql://USER:PASSWORD@HOST:PORT/DATABASE"

# A server that is away is noticed within seconds, also where its packets just vanish. What the URL says goes first.
_POSTGRESQL = {
    "application_name": "pushyd",
    "connect_timeout": "3",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
    "options": "-c statement_timeout=30s -c idle_in_transaction_session_timeout=60s",
}


def parse_url(text: str) -> URL:
    """The URL of a database, with the driver that we use.

    :raise ValueError: it is none of ours; the text of the error repeats nothing of it, for it may hold a password
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # ValueError: of a port that is no number
        raise ValueError(_EXPECTED) from None
    if "@" in (url.host or ""):
        raise ValueError("database_url: expected '@' in a user name or password to be written as %40")
    if url.drivername == "sqlite":
        if not url.database or url.database == ":memory:" or url.host or url.query:
            raise ValueError(_EXPECTED)
        return url
    if url.drivername not in ("postgresql", "postgresql+psycopg") or not url.database:
        raise ValueError(_EXPECTED)
    return url.set(drivername="postgresql+psycopg")


def prepare_file(url: URL) -> None:
    """Make SQLite's file, for its owner only, where there is none; SQLite's other files take after it.

    :raise StoreUnavailable: it cannot be made, or its directory is missing
    """
    if url.database is None or not is_sqlite(url):
        return
    try:
        os.close(os.open(url.database, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreUnavailable(f"{url.database}: the database cannot be opened: {error.strerror}") from error


def is_sqlite(url: URL) -> bool:
    """Whether it is SQLite's."""
    return url.get_backend_name() == "sqlite"


def database_path(url: URL) -> Path:
    """SQLite's file."""
    return Path(url.database or "")


def free_bytes(connection: Connection) -> int | None:
    """What SQLite can still take: free pages in its file, and free space on its disk; None of another database."""
    url = connection.engine.url
    if not is_sqlite(url):
        return None
    disk = os.statvfs(database_path(url).parent)
    pages = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
    page_size = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
    return int(disk.f_bavail * disk.f_frsize + pages * page_size)


def writer_engine(url: URL, *, lock_timeout: float = LOCK_TIMEOUT) -> Engine:
    """One connection, whose transactions hold the right to write from their beginning.

    :param lock_timeout: seconds to wait for that right
    """
    if not is_sqlite(url):
        engine = _postgresql(url, pool_size=1)
        milliseconds = int(lock_timeout * 1000)

        @event.listens_for(engine, "begin")
        def _limit_locks(connection: Connection) -> None:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {milliseconds}")

        return engine
    engine = _sqlite(url, pool_size=1, lock_timeout=lock_timeout)

    # The driver's own BEGIN comes late and takes the lock later still, where waiting for it no longer helps.
    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def reader_engine(url: URL, *, lock_timeout: float = LOCK_TIMEOUT) -> Engine:
    """:data:`READERS` connections without transactions: every read is one statement, or needs no snapshot."""
    if is_sqlite(url):
        return _sqlite(url, pool_size=READERS, lock_timeout=lock_timeout)
    return _postgresql(url, pool_size=READERS, isolation_level="AUTOCOMMIT")


def _sqlite(url: URL, *, pool_size: int, lock_timeout: float) -> Engine:
    engine = create_engine(
        url, pool_size=pool_size, max_overflow=0, hide_parameters=True, connect_args={"timeout": lock_timeout}
    )

    @event.listens_for(engine, "connect")
    def _set(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # no transaction but the one that we begin
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    return engine


def _postgresql(url: URL, *, pool_size: int, **options: Any) -> Engine:
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={name: value for name, value in _POSTGRESQL.items() if name not in url.query},
        **options,
    )
