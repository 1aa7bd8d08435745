"""The contract of a JobStore, over both databases."""

from pushy_protocol.states import JobStatus, NodeStatus
from pushyd.store.interface import (
    AlreadyExists,
    JobQuery,
    JobStatusChange,
    JobSummary,
    NodeDetail,
    NodeStatusChange,
    NotFound,
    StoredJob,
)
from pushyd.store.output_interface import OutputCaptured
from tests.pushyd.store.backend import ORGANIZATION, Postgres, Sqlite, StoreCase, job_spec


class JobContract(StoreCase):
    __test__ = False

    async def test_a_new_job_is_new_and_so_are_its_nodes(self) -> None:
        spec = job_spec(
            nodes=("z", "a", "m"), user="www", dir="/srv", env={"B": "2", "A": "1"}, file="raw:x", capture=True
        )
        await self.store.create_job(spec)
        expected = StoredJob(
            spec=spec,
            status=JobStatus.NEW,
            updated_at=spec.created_at,
            nodes=dict.fromkeys(spec.nodes, NodeStatus.NEW),
        )
        self.assertEqual(await self.store.job(ORGANIZATION, spec.id), expected)

    async def test_what_was_not_given_stays_so(self) -> None:
        spec = job_spec()
        await self.store.create_job(spec)
        stored = await self.store.job(ORGANIZATION, spec.id)
        assert stored is not None
        self.assertEqual(stored.spec, spec)
        self.assertIsNone(stored.spec.env)

    async def test_an_empty_value_is_not_none(self) -> None:
        spec = job_spec(user="", dir="", env={}, file="")
        await self.store.create_job(spec)
        stored = await self.store.job(ORGANIZATION, spec.id)
        assert stored is not None
        self.assertEqual(stored.spec, spec)

    async def test_an_unknown_job(self) -> None:
        self.assertIsNone(await self.store.job(ORGANIZATION, "0" * 32))

    async def test_a_job_is_seen_by_its_organization_only(self) -> None:
        await self.store.create_organization("other", "guid-2")
        await self.store.create_job(job_spec())
        self.store.record(OutputCaptured(job_id=job_spec().id, node="a", stdout=b"x", stderr=None))
        await self.store.recorded()
        self.assertIsNone(await self.store.job("other", job_spec().id))
        self.assertEqual(await self.store.jobs("other", JobQuery(limit=10)), [])
        self.assertIsNone(await self.store.output("other", job_spec().id, "a", "stdout"))

    async def test_an_id_that_is_taken(self) -> None:
        await self.store.create_job(job_spec(command="first"))
        with self.assertRaises(AlreadyExists):
            await self.store.create_job(job_spec(command="second", nodes=("x",)))
        stored = await self.store.job(ORGANIZATION, job_spec().id)
        assert stored is not None
        self.assertEqual((stored.spec.command, list(stored.nodes)), ("first", ["a", "b", "c"]))

    async def test_an_unknown_organization(self) -> None:
        with self.assertRaises(NotFound):
            await self.store.create_job(job_spec(organization="nobody"))

    async def test_changes(self) -> None:
        job = job_spec()
        await self.store.create_job(job)
        refused = NodeDetail(reason="busy", finished_at=7.125)
        self.store.record(JobStatusChange(job_id=job.id, status=JobStatus.VOTING, at=5.5))
        self.store.record(NodeStatusChange(job_id=job.id, node="a", status=NodeStatus.READY))
        self.store.record(NodeStatusChange(job_id=job.id, node="b", status=NodeStatus.NACKED, detail=refused))
        await self.store.recorded()
        stored = await self.store.job(ORGANIZATION, job.id)
        assert stored is not None
        self.assertEqual((stored.status, stored.updated_at), (JobStatus.VOTING, 5.5))
        self.assertEqual(stored.nodes, {"a": NodeStatus.READY, "b": NodeStatus.NACKED, "c": NodeStatus.NEW})
        self.assertEqual(stored.details, {"b": refused})
        self.assertEqual(stored.reasons, {"b": "busy"})

    async def test_the_last_change_counts_within_a_batch_and_across_batches(self) -> None:
        job = job_spec()
        await self.store.create_job(job)
        for batch in ((NodeStatus.READY, NodeStatus.RUNNING), (NodeStatus.CRASHED, NodeStatus.SUCCEEDED)):
            for status in batch:
                self.store.record(NodeStatusChange(job_id=job.id, node="a", status=status))
            await self.store.recorded()
            stored = await self.store.job(ORGANIZATION, job.id)
            assert stored is not None
            self.assertEqual(stored.nodes["a"], batch[-1])

    async def test_changes_of_what_is_not_there_do_nothing(self) -> None:
        await self.store.create_job(job_spec())
        self.store.record(NodeStatusChange(job_id="f" * 32, node="a", status=NodeStatus.READY))
        self.store.record(NodeStatusChange(job_id=job_spec().id, node="nobody", status=NodeStatus.READY))
        self.store.record(JobStatusChange(job_id="f" * 32, status=JobStatus.VOTING, at=1))
        self.store.record(OutputCaptured(job_id="f" * 32, node="a", stdout=b"x", stderr=b"y"))
        await self.store.recorded()
        stored = await self.store.job(ORGANIZATION, job_spec().id)
        assert stored is not None
        self.assertEqual(set(stored.nodes.values()), {NodeStatus.NEW})
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_recorded_with_nothing_recorded(self) -> None:
        await self.store.recorded()

    async def test_output_is_what_was_captured(self) -> None:
        job = job_spec()
        await self.store.create_job(job)
        every_byte = bytes(range(256)) * 300
        self.store.record(OutputCaptured(job_id=job.id, node="a", stdout=every_byte, stderr=b""))
        self.store.record(OutputCaptured(job_id=job.id, node="b", stdout=None, stderr=b"oops"))
        await self.store.recorded()
        read = {
            (node, channel): await self.store.output(ORGANIZATION, job.id, node, channel)
            for node in "abc"
            for channel in ("stdout", "stderr")
        }
        self.assertEqual(
            read,
            {
                ("a", "stdout"): every_byte,
                ("a", "stderr"): b"",
                ("b", "stdout"): None,
                ("b", "stderr"): b"oops",
                ("c", "stdout"): None,
                ("c", "stderr"): None,
            },
        )

    async def test_a_repeated_output_changes_nothing(self) -> None:
        job = job_spec()
        await self.store.create_job(job)
        for content in (b"first", b"again", b"and again"):
            self.store.record(OutputCaptured(job_id=job.id, node="a", stdout=content, stderr=None))
            if content != b"first":  # the first two go in one batch
                await self.store.recorded()
        self.assertEqual(await self.store.output(ORGANIZATION, job.id, "a", "stdout"), b"first")

    async def test_more_output_than_goes_at_once(self) -> None:
        nodes = tuple(f"n{number}" for number in range(5))
        await self.store.create_job(job_spec(nodes=nodes))
        contents = {node: bytes([index]) * 5_000_000 for index, node in enumerate(nodes)}
        for node, content in contents.items():
            self.store.record(OutputCaptured(job_id=job_spec().id, node=node, stdout=content, stderr=None))
        await self.store.recorded()
        for node, content in contents.items():
            self.assertEqual(await self.store.output(ORGANIZATION, job_spec().id, node, "stdout"), content)

    async def test_the_newest_jobs(self) -> None:
        for number in range(1, 6):
            await self.store.create_job(job_spec(number))
        self.assertEqual(
            [job.id for job in await self.store.jobs(ORGANIZATION, JobQuery(limit=3))],
            [job_spec(number).id for number in (5, 4, 3)],
        )
        self.assertEqual(len(await self.store.jobs(ORGANIZATION, JobQuery(limit=100))), 5)

    async def test_a_summary(self) -> None:
        plain = job_spec(1)
        full = job_spec(2, user="www", dir="/srv", env={"A": "1"}, file="raw:x", capture=True, run_timeout=0.5)
        await self.store.create_job(plain)
        await self.store.create_job(full)
        self.store.record(JobStatusChange(job_id=plain.id, status=JobStatus.COMPLETE, at=9.25))
        await self.store.recorded()
        self.assertEqual(
            await self.store.jobs(ORGANIZATION, JobQuery(limit=2)),
            [
                JobSummary(
                    id=full.id,
                    command="true",
                    status=JobStatus.NEW,
                    run_timeout=0.5,
                    created_at=full.created_at,
                    updated_at=full.created_at,
                    user="www",
                    dir="/srv",
                    env={"A": "1"},
                    capture=True,
                    file_specified=True,
                ),
                JobSummary(
                    id=plain.id,
                    command="true",
                    status=JobStatus.COMPLETE,
                    run_timeout=3600,
                    created_at=plain.created_at,
                    updated_at=9.25,
                    user=None,
                    dir=None,
                    env=None,
                    capture=False,
                    file_specified=False,
                ),
            ],
        )

    async def test_unfinished_jobs(self) -> None:
        await self.store.create_organization("other", "guid-2")
        for number, status in enumerate(JobStatus):
            organization = ORGANIZATION if number % 2 else "other"
            job = job_spec(number, organization=organization, nodes=(f"n{number}", "x"))
            await self.store.create_job(job)
            if status is not JobStatus.NEW:
                self.store.record(JobStatusChange(job_id=job.id, status=status, at=7))
        self.store.record(NodeStatusChange(job_id=job_spec(1).id, node="x", status=NodeStatus.READY))
        await self.store.recorded()
        unfinished = await self.store.unfinished_jobs()
        self.assertEqual([job.status for job in unfinished], [JobStatus.NEW, JobStatus.VOTING, JobStatus.RUNNING])
        self.assertEqual(unfinished[1], await self.store.job(ORGANIZATION, job_spec(1).id))
        self.assertEqual(unfinished[1].nodes, {"n1": NodeStatus.NEW, "x": NodeStatus.READY})

    async def test_it_is_there_in_the_next_life(self) -> None:
        await self.store.create_job(job_spec())
        self.store.record(JobStatusChange(job_id=job_spec().id, status=JobStatus.VOTING, at=7))
        await self.store.close()  # which writes what is held
        again = await self.open_store()
        stored = await again.job(ORGANIZATION, job_spec().id)
        assert stored is not None
        self.assertEqual((stored.spec, stored.status), (job_spec(), JobStatus.VOTING))


class SqliteJobs(Sqlite, JobContract):
    __test__ = True


class PostgresJobs(Postgres, JobContract):
    __test__ = True
