"""Lists of jobs, over both databases: what they have, and that none of them is found by looking at every job."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, event, func, select

from pushy_protocol.states import JobStatus
from pushyd.store.engine import parse_url, reader_engine, writer_engine
from pushyd.store.identity import create_organization
from pushyd.store.interface import JobQuery, JobStatusChange, UnknownJob
from pushyd.store.job_lists import digest, list_statements, read_jobs
from pushyd.store.jobs import create_job
from pushyd.store.schema import FEW_NODES, job_nodes
from tests.pushyd.store.backend import ORGANIZATION, Postgres, Sqlite, StoreCase, job_spec
from tests.pushyd.store.plans import explain

ALL = JobQuery(limit=100)
_INDEXED = select(func.count()).where(job_nodes.c.by_node)


class JobListContract(StoreCase):
    """What is made here: jobs 1 to 6, a second apart, by turns on two nodes, with two commands."""

    __test__ = False

    async def _set_up(self) -> None:
        await super()._set_up()
        for number in range(1, 7):
            nodes = ("both", "odd" if number % 2 else "even")
            command = "first" if number <= 3 else "second\0" * 2000
            await self.store.create_job(job_spec(number, nodes=nodes, command=command))
        for number in (2, 3, 6):
            self.store.record(JobStatusChange(job_id=job_spec(number).id, status=JobStatus.COMPLETE, at=1))
        await self.store.recorded()

    async def numbers(self, **wanted: Any) -> list[int]:
        return [int(job.id, 16) for job in await self.store.jobs(ORGANIZATION, evolve(ALL, **wanted))]

    async def test_all_newest_first(self) -> None:
        self.assertEqual(await self.numbers(), [6, 5, 4, 3, 2, 1])

    async def test_the_newest_of_them(self) -> None:
        self.assertEqual(await self.numbers(limit=2), [6, 5])

    async def test_what_came_before(self) -> None:
        self.assertEqual(await self.numbers(before=job_spec(4).id), [3, 2, 1])
        self.assertEqual(await self.numbers(before=job_spec(1).id), [])

    async def test_before_a_job_that_is_not_there(self) -> None:
        await self.store.create_organization("other", "guid-2")
        await self.store.create_job(job_spec(7, organization="other"))
        for unknown in (job_spec(7).id, job_spec(99).id, ""):
            with self.assertRaises(UnknownJob):
                await self.numbers(before=unknown)

    async def test_with_a_status(self) -> None:
        self.assertEqual(await self.numbers(status=JobStatus.COMPLETE), [6, 3, 2])
        self.assertEqual(await self.numbers(status=JobStatus.CRASHED), [])

    async def test_with_a_command(self) -> None:
        self.assertEqual(await self.numbers(command="first"), [3, 2, 1])
        self.assertEqual(await self.numbers(command="second\0" * 2000), [6, 5, 4])
        self.assertEqual(await self.numbers(command="fir"), [])

    async def test_with_a_node(self) -> None:
        self.assertEqual(await self.numbers(node="odd"), [5, 3, 1])
        self.assertEqual(await self.numbers(node="both"), [6, 5, 4, 3, 2, 1])
        self.assertEqual(await self.numbers(node="nobody"), [])

    async def test_with_a_node_of_jobs_of_many(self) -> None:
        many = tuple(f"node-{number}" for number in range(FEW_NODES - 1))
        for number, nodes in enumerate([(*many, "odd"), (*many, "odd", "even"), (*many, "even"), ("odd",)], start=7):
            await self.store.create_job(job_spec(number, nodes=nodes))
        self.assertEqual(await self.numbers(node="odd"), [10, 8, 7, 5, 3, 1])
        self.assertEqual(await self.numbers(node="even"), [9, 8, 6, 4, 2])
        self.assertEqual(await self.numbers(node="node-3"), [9, 8, 7])
        self.assertEqual(await self.numbers(node="odd", limit=3), [10, 8, 7])
        self.assertEqual(await self.numbers(node="odd", before=job_spec(8).id, limit=2), [7, 5])
        self.assertEqual(await self.numbers(node="odd", since=job_spec(8).created_at), [10, 8])
        self.assertEqual(await self.numbers(node="even", status=JobStatus.COMPLETE), [6, 2])
        # The two kinds are what they are meant to be.
        indexed = await self.store._read(lambda connection: connection.execute(_INDEXED).scalar())
        self.assertEqual(indexed, 12 + 2 * FEW_NODES + 1)

    async def test_since(self) -> None:
        self.assertEqual(await self.numbers(since=job_spec(4).created_at), [6, 5, 4])
        self.assertEqual(await self.numbers(since=job_spec(6).created_at + 0.5), [])
        self.assertEqual(await self.numbers(since=0.0), [6, 5, 4, 3, 2, 1])

    async def test_since_after_the_clock_was_set_back(self) -> None:
        """A list is in the order of making, and has what says that it was made in time."""
        base = job_spec(6).created_at
        for number, created_at in ((7, base + 5000), (8, base + 4500), (9, base + 5100)):
            await self.store.create_job(job_spec(number, created_at=created_at))
        self.assertEqual(await self.numbers(since=base + 4600), [9, 7])

    async def test_everything_at_once(self) -> None:
        wanted: dict[str, Any] = {
            "command": "first",
            "status": JobStatus.COMPLETE,
            "node": "odd",
            "since": job_spec(2).created_at,
            "before": job_spec(5).id,
        }
        self.assertEqual(await self.numbers(**wanted), [3])
        for name, other in {"command": "x", "status": JobStatus.NEW, "node": "even", "since": 2e9}.items():
            self.assertNotEqual(await self.numbers(**{**wanted, name: other}), [3])

    async def test_another_organization_sees_none(self) -> None:
        await self.store.create_organization("other", "guid-2")
        self.assertEqual(await self.store.jobs("other", evolve(ALL, node="both")), [])


class SqliteJobLists(Sqlite, JobListContract):
    __test__ = True


class PostgresJobLists(Postgres, JobListContract):
    __test__ = True


def test_what_is_made_between_two_walks_is_in_neither(sqlite_template: Path, tmp_path: Path) -> None:
    """Else a page could have a job of many nodes and leave out an older one of few, and the next page does so too."""
    url = parse_url(f"sqlite:///{shutil.copy(sqlite_template, tmp_path)}")
    writing, reading = writer_engine(url), reader_engine(url)
    many = tuple(f"node-{number}" for number in range(FEW_NODES + 1))
    with writing.begin() as connection:
        create_organization(connection, ORGANIZATION, ORGANIZATION, "")
        create_job(connection, job_spec(1, nodes=many))

    later = iter([True])

    def make_two(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        # After the first walk, which has found nothing.
        if "by_node" in statement and next(later, False):
            with writing.begin() as connection:
                create_job(connection, job_spec(2, nodes=many[:1]))
                create_job(connection, job_spec(3, nodes=many))

    event.listen(reading, "after_cursor_execute", make_two)
    for expected in ([1], [3, 2, 1]):
        with reading.connect() as connection:
            found = read_jobs(connection, ORGANIZATION, evolve(ALL, node=many[0]))
        assert [int(job.id, 16) for job in found] == expected
    writing.dispose()
    reading.dispose()


@given(st.text(st.characters(exclude_categories=())))
def test_a_digest_fits_into_a_column(command: str) -> None:
    assert -(2**63) <= digest(command) < 2**63


WITH_STATUS = JobQuery(limit=50, status=JobStatus.TIMED_OUT)
WITH_COMMAND = JobQuery(limit=50, command="c1")
LISTS: dict[str, tuple[JobQuery, str]] = {
    "all": (JobQuery(limit=50), "jobs_newest"),
    "status": (WITH_STATUS, "jobs_by_status"),
    "command": (WITH_COMMAND, "jobs_by_command"),
    "command and status": (evolve(WITH_COMMAND, status=JobStatus.TIMED_OUT), "jobs_by_command_and_status"),
    "node": (JobQuery(limit=50, node="n7"), "job_nodes_by_node"),
    # A planner that counts has the choice between two walks.
    "node and status": (evolve(WITH_STATUS, node="n7"), "job_nodes_by_node|jobs_by_status"),
    "node and command": (evolve(WITH_COMMAND, node="n7"), "job_nodes_by_node|jobs_by_command"),
}


@pytest.mark.parametrize("since", [None, 1_700_000_300.0])
@pytest.mark.parametrize("before", [None, 300])
@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_a_list_is_a_walk_along_one_index(
    many_jobs: dict[str, Engine], dialect: str, name: str, before: int | None, since: float | None
) -> None:
    query, index = LISTS[name]
    statements = list_statements(ORGANIZATION if name == "all" else "other", evolve(query, since=since), before)
    indexes = [index] if query.node is None else [index, "jobs_of_many_nodes"]
    for statement, walked in zip(statements, indexes, strict=True):
        with many_jobs[dialect].begin() as connection:
            plan = explain(connection, statement, {})
        assert re.search(rf"\b({walked})\b", plan), plan
        assert not re.search("TEMP B-TREE|Sort", plan), plan
        for table in ("jobs", "job_nodes"):
            assert not re.search(rf"(SCAN|Seq Scan on) {table}\b", plan), plan
        if since is not None:
            assert "jobs_by_time" in plan, plan
