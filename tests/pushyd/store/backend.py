"""The two databases, as mixins: a contract is a class without a database, and is run once with each."""

from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from pushyd.domain.job import JobSpec
from pushyd.store.sql import SqlStore

ORGANIZATION = "acme"


class Sqlite:
    """A new file in SQLite."""

    url: str

    @pytest.fixture(autouse=True)
    def _database(self, sqlite_database: str) -> None:
        self.url = sqlite_database


class Postgres:
    """A new database in PostgreSQL."""

    url: str

    @pytest.fixture(autouse=True)
    def _database(self, postgres_database: str) -> None:
        self.url = postgres_database


class StoreCase(TestCase):
    """Tests of an open store on the real reactor, for its threads are real."""

    timeout = 30
    url: str
    store: SqlStore

    def setUp(self) -> Deferred[None]:  # type: ignore[override]  # trial waits for it
        return Deferred.fromCoroutine(self._set_up())

    async def _set_up(self) -> None:
        self.store = await self.open_store()
        await self.store.create_organization(ORGANIZATION, "guid-1")

    async def open_store(self, **options: Any) -> SqlStore:
        """One more store on the same database, closed at the end."""
        store = SqlStore(url=self.url, reactor=reactor, **options)
        self.addCleanup(lambda: Deferred.fromCoroutine(store.close()))
        await store.open()
        return store


def job_spec(number: int = 1, **values: Any) -> JobSpec:
    """A job, with what a test does not care about filled in."""
    defaults: dict[str, Any] = {
        "id": f"{number:032x}",
        "organization": ORGANIZATION,
        "command": "true",
        "nodes": ("a", "b", "c"),
        "quorum": 3.0,
        "run_timeout": 3600.0,
        "voting_timeout": 60.0,
        "created_at": 1_700_000_000.123456 + number,
        "created_by": "admin",
    }
    return JobSpec(**defaults | values)
