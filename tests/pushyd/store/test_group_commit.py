"""Many writes in one transaction, what becomes of them when one is refused, in an outage, and when pushyd is killed."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import event
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import capturedLogs

from pushy_protocol.states import JobStatus, NodeStatus
from pushyd.domain.job import JobSpec
from pushyd.store.interface import (
    AlreadyExists,
    JobQuery,
    JobStatusChange,
    NodeStatusChange,
    Registration,
    StoreUnavailable,
)
from pushyd.store.output_interface import OutputCaptured
from pushyd.store.sql import SqlStore
from tests import postgres
from tests.pushyd.store.backend import ORGANIZATION, Postgres, Sqlite, StoreCase, job_spec

# What makes every change of one node fail, and what ends that.
POISON = {
    "sqlite": (
        """
        CREATE TRIGGER poison BEFORE UPDATE ON job_nodes WHEN new.node = 'poison'
        BEGIN SELECT RAISE(ABORT, 'this one never'); END
        """,
        "DROP TRIGGER poison",
    ),
    "postgresql": (
        """
        CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'this one never'; END $$ LANGUAGE plpgsql;
        CREATE TRIGGER poison BEFORE UPDATE ON job_nodes FOR EACH ROW WHEN (new.node = 'poison')
        EXECUTE FUNCTION refuse()
        """,
        "DROP FUNCTION refuse() CASCADE",
    ),
}


class GroupCommitContract(StoreCase):
    __test__ = False

    async def _set_up(self) -> None:
        self._events = self.enterContext(capturedLogs())
        await super()._set_up()

    def logged(self) -> list[str]:
        """What the writer has logged."""
        return [event["log_format"] for event in self._events if event["log_namespace"].endswith(".Writer")]

    def count_commits(self) -> list[object]:
        commits: list[object] = []
        event.listen(self.store._writing, "commit", commits.append)
        return commits

    async def status_of(self, store: SqlStore, node: str, job: JobSpec | None = None) -> NodeStatus:
        stored = await store.job(ORGANIZATION, (job or job_spec()).id)
        assert stored is not None
        return stored.nodes[node]

    async def test_many_writes_are_one_transaction(self) -> None:
        commits = self.count_commits()
        jobs = [job_spec(number) for number in range(50)]
        await gatherResults([Deferred.fromCoroutine(self.store.create_job(job)) for job in jobs])
        self.assertEqual(len(commits), 1)
        for job in jobs:
            for status in (NodeStatus.READY, NodeStatus.RUNNING):
                self.store.record(NodeStatusChange(job_id=job.id, node="a", status=status))
            self.store.record(JobStatusChange(job_id=job.id, status=JobStatus.RUNNING, at=3))
        await self.store.recorded()
        self.assertEqual(len(commits), 2)
        self.assertEqual(await self.status_of(self.store, "a", jobs[-1]), NodeStatus.RUNNING)

    async def test_one_that_is_refused_costs_nobody_else(self) -> None:
        commits = self.count_commits()
        await self.store.create_job(job_spec(1))
        self.store.record(NodeStatusChange(job_id=job_spec(1).id, node="a", status=NodeStatus.READY))
        first = Deferred.fromCoroutine(self.store.create_job(job_spec(2)))
        refused = Deferred.fromCoroutine(self.store.create_job(job_spec(1)))
        self.store.record(NodeStatusChange(job_id=job_spec(1).id, node="b", status=NodeStatus.READY))
        second = Deferred.fromCoroutine(self.store.create_client(ORGANIZATION, "c", "KEY"))
        with self.assertRaises(AlreadyExists):
            await refused
        await first
        await second
        self.assertEqual(len(commits), 2)
        for node in "ab":
            self.assertEqual(await self.status_of(self.store, node, job_spec(1)), NodeStatus.READY)
        self.assertIsNotNone(await self.store.job(ORGANIZATION, job_spec(2).id))

    async def test_a_bug_of_one_write_costs_nobody_else(self) -> None:
        other = Deferred.fromCoroutine(self.store.create_job(job_spec(2)))
        with self.assertRaises(TypeError):
            await self.store.create_job(job_spec(1, env=7))
        await other
        self.assertIsNone(await self.store.job(ORGANIZATION, job_spec(1).id))

    async def test_poison_is_dropped_and_the_rest_is_written(self) -> None:
        poison, antidote = POISON[self.store._url.get_backend_name()]
        self.execute(poison)
        self.addCleanup(self.execute, antidote)
        job = job_spec(nodes=("a", "poison", "b"))
        await self.store.create_job(job)
        for node in job.nodes:
            self.store.record(NodeStatusChange(job_id=job.id, node=node, status=NodeStatus.READY))
        self.store.record(OutputCaptured(job_id=job.id, node="poison", stdout=b"x", stderr=None))
        created = Deferred.fromCoroutine(self.store.create_job(job_spec(2)))
        await self.store.recorded()
        await created
        self.assertEqual(
            [await self.status_of(self.store, node, job) for node in job.nodes],
            [NodeStatus.READY, NodeStatus.NEW, NodeStatus.READY],
        )
        self.assertEqual(await self.store.output(ORGANIZATION, job.id, "poison", "stdout"), b"x")
        self.assertEqual(self.logged(), ["A change cannot be written, and is dropped: {change}: {error}"])

    async def test_an_outage(self) -> None:
        await self.store.create_job(job_spec())
        self.begin_outage()
        self.store.record(NodeStatusChange(job_id=job_spec().id, node="a", status=NodeStatus.READY))
        with self.assertRaises(StoreUnavailable):
            await self.store.create_job(job_spec(2))
        with self.assertRaises(StoreUnavailable):
            await self.store.save_registration(
                Registration(
                    organization=ORGANIZATION, node="a", curve_key="k", session_salt=b"s", protocol_version="2.0"
                )
            )
        self.store.record(NodeStatusChange(job_id=job_spec().id, node="a", status=NodeStatus.RUNNING))
        self.store.record(NodeStatusChange(job_id=job_spec().id, node="b", status=NodeStatus.READY))
        recorded = Deferred.fromCoroutine(self.store.recorded())
        self.assertFalse(recorded.called)
        self.end_outage()
        await recorded
        self.assertEqual(await self.status_of(self.store, "a"), NodeStatus.RUNNING)
        self.assertEqual(await self.status_of(self.store, "b"), NodeStatus.READY)
        self.assertIsNone(await self.store.job(ORGANIZATION, job_spec(2).id))
        self.assertEqual(
            self.logged(),
            [
                "The store cannot be written; what jobs do is held, and written when it can be: {error}",
                "The store can be written again",
            ],
        )

    async def test_closed(self) -> None:
        await self.store.close()
        await self.store.close()
        with self.assertRaises(StoreUnavailable):
            await self.store.create_job(job_spec())
        with self.assertRaises(StoreUnavailable):
            await self.store.jobs(ORGANIZATION, JobQuery(limit=1))

    async def test_a_job_outlives_sigkill_once_it_was_created(self) -> None:
        self.assertEqual(create_and_be_killed(self.url, job_spec().id), ("created\n", -signal.SIGKILL))
        again = await self.open_store()
        stored = await again.job(ORGANIZATION, job_spec().id)
        assert stored is not None
        self.assertEqual(stored.spec.nodes, ("a", "b"))

    def execute(self, statements: str) -> None:
        raise NotImplementedError

    def begin_outage(self) -> None:
        raise NotImplementedError

    def end_outage(self) -> None:
        raise NotImplementedError


CREATE_AND_WAIT = """
import sys
from twisted.internet import defer, reactor
from pushyd.store.sql import SqlStore
from tests.pushyd.store.backend import job_spec

async def main():
    store = SqlStore(url=sys.argv[1], reactor=reactor)
    await store.open()
    await store.create_job(job_spec(id=sys.argv[2], nodes=("a", "b")))
    print("created", flush=True)

reactor.callWhenRunning(lambda: defer.Deferred.fromCoroutine(main()))
reactor.run()
"""


def create_and_be_killed(url: str, job_id: str) -> tuple[str, int]:
    """What a process said that was killed as soon as it had said something, and how it ended."""
    arguments = [sys.executable, "-c", CREATE_AND_WAIT, url, job_id]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        process.kill()
    return said, process.returncode


class SqliteGroupCommit(Sqlite, GroupCommitContract):
    __test__ = True

    async def open_store(self, **options: object) -> SqlStore:
        return await super().open_store(**{"lock_timeout": 0.05} | options)

    def execute(self, statements: str) -> None:
        connection = sqlite3.connect(self.url.removeprefix("sqlite:///"))
        connection.executescript(statements)
        connection.close()

    def begin_outage(self) -> None:
        # Another program has the right to write, and keeps it.
        self.other = sqlite3.connect(self.url.removeprefix("sqlite:///"), isolation_level=None)
        self.addCleanup(self.other.close)
        self.other.execute("BEGIN IMMEDIATE")

    def end_outage(self) -> None:
        self.other.execute("ROLLBACK")

    async def test_a_full_disk(self) -> None:
        with self.store._writing.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        with self.assertRaisesRegex(StoreUnavailable, "full"):
            await self.store.create_job(job_spec(command="x" * 100_000))
        with self.store._writing.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        await self.store.create_job(job_spec(command="x" * 100_000))


class PostgresGroupCommit(Postgres, GroupCommitContract):
    __test__ = True

    def execute(self, statements: str) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(statements.encode())

    def begin_outage(self) -> None:
        # Another program has locked what is to be written, beyond the time that we wait for it.
        self.other = psycopg.connect(self.url)
        self.addCleanup(self.other.close)
        self.other.execute("LOCK TABLE jobs, job_nodes, registrations IN EXCLUSIVE MODE")

    def end_outage(self) -> None:
        self.other.rollback()

    async def open_store(self, **options: object) -> SqlStore:
        return await super().open_store(**{"lock_timeout": 0.05} | options)


class PostgresGoesAway(StoreCase):
    """The outage that only a server can have."""

    server: postgres.Server

    @pytest.fixture(autouse=True)
    def _database(self) -> Iterator[None]:
        with postgres.server() as self.server:
            self.url = self.server.create_database()
            yield

    async def test_it_goes_away_and_comes_back(self) -> None:
        await self.store.create_job(job_spec())
        self.server.stop()
        self.store.record(NodeStatusChange(job_id=job_spec().id, node="a", status=NodeStatus.READY))
        with self.assertRaises(StoreUnavailable):
            await self.store.create_job(job_spec(2))
        with self.assertRaises(StoreUnavailable):
            await self.store.job(ORGANIZATION, job_spec().id)
        store = SqlStore(url=self.url, reactor=reactor)
        with self.assertRaises(StoreUnavailable):
            await store.open()
        self.server.start()
        await self.store.recorded()
        stored = await self.store.job(ORGANIZATION, job_spec().id)
        assert stored is not None
        self.assertEqual(stored.nodes["a"], NodeStatus.READY)
        await self.store.create_job(job_spec(2))
