"""URLs, SQLite's file, and how connections are set."""

import os
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.task import Clock

from pushyd.store.engine import parse_url, prepare_file, reader_engine, writer_engine
from pushyd.store.interface import StoreUnavailable
from pushyd.store.sql import SqlStore
from tests import postgres
from tests.pushyd.store.backend import StoreCase


@pytest.mark.parametrize("text", ["sqlite:////var/lib/pushyd.sqlite", "sqlite:///relative.sqlite"])
def test_sqlite(text: str) -> None:
    assert str(parse_url(text)) == text


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_postgresql(scheme: str) -> None:
    url = parse_url(f"{scheme}://u:p%40ss@host:5433/db?sslmode=require")
    assert url.drivername == "postgresql+psycopg"
    assert (url.username, url.password, url.host, url.port, url.database) == ("u", "p@ss", "host", 5433, "db")
    assert "p%40ss" not in repr(url)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter2",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite://hunter2/x",
        "sqlite:////x?mode=hunter2",
        "mysql://u:hunter2@h/db",
        "postgresql+asyncpg://u:hunter2@h/db",
        "postgresql://u:hunter2@h",
        "postgresql://u:hunter2@h:port/db",
        "postgresql://u:pass@hunter2@h/db",
    ],
)
def test_a_url_of_another_kind(text: str) -> None:
    with pytest.raises(ValueError, match="database_url: expected") as caught:
        parse_url(text)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ValueError, match="database_url: expected"):
        SqlStore(url=text, reactor=Clock())  # type: ignore[arg-type]  # it comes to nothing before it needs one


def test_the_file_is_its_owners(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        url = parse_url(f"sqlite:///{tmp_path}/pushyd.sqlite")
        prepare_file(url)
        prepare_file(url)
        engine = writer_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE t (x)")
            modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
        engine.dispose()
    finally:
        os.umask(old)
    assert modes == {"pushyd.sqlite": 0o600, "pushyd.sqlite-wal": 0o600, "pushyd.sqlite-shm": 0o600}


def test_the_directory_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"missing/pushyd.sqlite: .* No such file or directory"):
        prepare_file(parse_url(f"sqlite:///{tmp_path}/missing/pushyd.sqlite"))


def test_sqlite_keeps_what_was_committed(sqlite_database: str) -> None:
    for make in (writer_engine, reader_engine):
        engine = make(parse_url(sqlite_database), lock_timeout=1.5)
        with engine.connect() as connection:
            pragmas = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in pragmas]
        engine.dispose()
        assert found == ["wal", 2, 1, 1500]


def test_what_the_url_says_goes_first(postgres_url: str) -> None:
    engine = writer_engine(parse_url(f"{postgres_url}&application_name=mine"))
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW application_name").scalar_one() == "mine"
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == "30s"
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "2s"
    engine.dispose()


class OpenTests(StoreCase):
    """What is said of a database that cannot be used."""

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path, postgres_server: postgres.Server) -> None:
        self.tmp_path = tmp_path
        self.server = postgres_server

    async def _set_up(self) -> None:
        """No store yet."""

    async def test_a_password_is_not_repeated(self) -> None:
        with_password = self.server.url("nowhere").replace("pushy@", "pushy:hunter2@")
        for url in ("postgresql://u:hunter2@127.0.0.1:1/db", with_password):
            self.url = url
            with self.assertRaises(StoreUnavailable) as caught:
                await self.open_store()
            self.assertIn("u", str(caught.exception))
            self.assertNotIn("hunter2", str(caught.exception))

    async def test_a_file_that_is_no_database(self) -> None:
        path = self.tmp_path / "pushyd.sqlite"
        path.write_text("this is a text, and long enough to be looked at as more than an empty file" * 20)
        self.url = f"sqlite:///{path}"
        with self.assertRaisesRegex(StoreUnavailable, f"{path}: .*not a database"):
            await self.open_store()

    async def test_a_missing_directory(self) -> None:
        self.url = f"sqlite:///{self.tmp_path}/missing/pushyd.sqlite"
        with self.assertRaisesRegex(StoreUnavailable, "No such file or directory"):
            await self.open_store()

    async def test_a_new_file(self) -> None:
        self.url = f"sqlite:///{self.tmp_path}/pushyd.sqlite"
        store = await self.open_store()
        self.assertEqual(await store.unfinished_jobs(), [])

    async def test_before_it_is_open(self) -> None:
        store = SqlStore(url=f"sqlite:///{self.tmp_path}/pushyd.sqlite", reactor=reactor)
        with self.assertRaises(StoreUnavailable):
            await store.unfinished_jobs()
        await store.close()
        self.assertEqual(list(self.tmp_path.iterdir()), [])
