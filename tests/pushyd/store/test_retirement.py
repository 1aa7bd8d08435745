"""Jobs are deleted in steps, over both databases."""

from typing import Any

from sqlalchemy import func, select

from pushy_protocol.states import TERMINAL_JOB_STATUSES, JobStatus
from pushyd.store.engine import parse_url, reader_engine
from pushyd.store.interface import FeedText, JobQuery, JobStatusChange
from pushyd.store.output_interface import OutputCaptured
from pushyd.store.schema import feeds, job_nodes, jobs, output_chunks, output_jobs, output_streams
from tests.pushyd.store.backend import ORGANIZATION, Postgres, Sqlite, StoreCase, job_spec

TABLES = (jobs, job_nodes, feeds, output_streams, output_chunks, output_jobs)


class RetirementContract(StoreCase):
    __test__ = False

    async def make(self, *numbers: int, status: JobStatus = JobStatus.COMPLETE, **values: Any) -> None:
        """Jobs of three nodes each, with a feed and an output."""
        for number in numbers:
            job = job_spec(number, capture=True, **values)
            await self.store.create_job(job)
            self.store.record(JobStatusChange(job_id=job.id, status=status, at=1))
            self.store.record(FeedText(job_id=job.id, first=1, text=b"event"))
            self.store.record(OutputCaptured(job_id=job.id, node="a", stdout=b"x", stderr=b"y"))
        await self.store.recorded()

    async def left(self, organization: str = ORGANIZATION) -> list[int]:
        return [int(job.id, 16) for job in await self.store.jobs(organization, JobQuery(limit=1000))]

    def rows(self) -> list[int]:
        """How many rows each table has."""
        engine = reader_engine(parse_url(self.url))
        try:
            with engine.connect() as connection:
                return [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in TABLES]
        finally:
            engine.dispose()

    async def test_the_oldest_go_first(self) -> None:
        await self.make(1, 2, 3, 4)
        before = job_spec(4).created_at
        self.assertEqual(await self.store.retire_jobs(ORGANIZATION, limit=2, created_before=before), 2)
        self.assertEqual(await self.left(), [4, 3])
        self.assertEqual(await self.store.retire_jobs(ORGANIZATION, limit=2, created_before=before), 1)
        self.assertEqual(await self.store.retire_jobs(ORGANIZATION, limit=2, created_before=before), 0)
        self.assertEqual(await self.left(), [4])

    async def test_all_but_the_newest(self) -> None:
        await self.make(1, 2, 3, 4)
        place = await self.store.place(ORGANIZATION, 2)
        self.assertEqual(await self.store.retire_jobs(ORGANIZATION, limit=10, up_to=place), 2)
        self.assertEqual(await self.left(), [4, 3])

    async def test_there_is_no_place_beyond_the_first_job(self) -> None:
        await self.make(1, 2)
        self.assertIsNotNone(await self.store.place(ORGANIZATION, 1))
        self.assertIsNone(await self.store.place(ORGANIZATION, 2))
        self.assertIsNone(await self.store.place("nobody", 0))

    async def test_what_has_not_ended_stays(self) -> None:
        for number, status in enumerate(JobStatus, start=1):
            await self.make(number, status=status)
        await self.store.retire_jobs(ORGANIZATION, limit=100, created_before=9e9)
        live = [number for number, status in enumerate(JobStatus, 1) if status not in TERMINAL_JOB_STATUSES]
        self.assertEqual(sorted(await self.left()), live)
        self.assertEqual(len(await self.store.unfinished_jobs()), len(live))

    async def test_nobody_finds_what_is_retired(self) -> None:
        await self.make(1)
        await self.store.retire_jobs(ORGANIZATION, limit=10, created_before=9e9)
        self.assertIsNone(await self.store.job(ORGANIZATION, job_spec(1).id))
        self.assertIsNone(await self.store.output(ORGANIZATION, job_spec(1).id, "a", "stdout"))
        self.assertEqual(await self.store.jobs(ORGANIZATION, JobQuery(limit=10, node="a")), [])

    async def test_other_organizations_keep_theirs(self) -> None:
        await self.store.create_organization("other", "guid-2")
        await self.make(1, organization="other")
        await self.make(2)
        await self.store.retire_jobs(ORGANIZATION, limit=10, created_before=9e9)
        self.assertEqual((await self.left(), await self.left("other")), ([], [1]))

    async def test_a_purge_is_done_in_steps_and_leaves_nothing(self) -> None:
        await self.make(1, 2, 3)
        await self.store.retire_jobs(ORGANIZATION, limit=10, created_before=job_spec(3).created_at)
        steps = []
        while deleted := await self.store.purge(3):
            steps.append(deleted)
        self.assertEqual(self.rows(), [1, 3, 1, 2, 2, 1])
        self.assertEqual(sum(steps), 2 * (1 + 3 + 1 + 2 + 2 + 1))
        self.assertLessEqual(max(steps), 3)
        self.assertEqual(await self.left(), [3])

    async def test_what_is_said_of_a_retired_job_later_changes_nothing(self) -> None:
        await self.make(1)
        await self.store.retire_jobs(ORGANIZATION, limit=10, created_before=9e9)
        while await self.store.purge(100):
            self.store.record(FeedText(job_id=job_spec(1).id, first=9, text=b"late"))
        await self.store.recorded()
        await self.store.purge(100)
        self.assertEqual(self.rows(), [0] * 6)
        self.assertEqual(self.flushLoggedErrors(), [])


class SqliteRetirement(Sqlite, RetirementContract):
    __test__ = True


class PostgresRetirement(Postgres, RetirementContract):
    __test__ = True
