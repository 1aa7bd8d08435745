"""Jobs, as callers ask for them: made, looked at, ended. What lives is followed by :mod:`live_jobs`.

A job is kept before anybody hears of it. What has ended is read from the store.
"""

from collections.abc import Callable, Sequence
from typing import Protocol
from uuid import uuid4

from twisted.internet import defer
from twisted.internet.defer import Deferred

from pushy_protocol import messages
from pushy_protocol.api import InvalidRequest, JobRequest
from pushy_protocol.states import TERMINAL_JOB_STATUSES, TERMINAL_NODE_STATUSES
from pushyd.background import shielded
from pushyd.clock import Clock
from pushyd.domain.job import JobSpec
from pushyd.domain.node import NodeRef
from pushyd.job_messages import commit_fields
from pushyd.live_jobs import LiveJobs
from pushyd.store.interface import JobQuery, JobStore, JobSummary, StoredJob, StoreUnavailable
from pushyd.store.output_interface import OutputStore

_STORED_SECONDS = 10.0
"""How long a reader waits for the store to have what has happened."""


class Store(JobStore, OutputStore, Protocol):
    """What is used of the store."""


class TooLate(Exception):
    """A job cannot be aborted; the text is the status that it has."""


class JobService:
    """All jobs, those that live and those that ended."""

    def __init__(
        self,
        *,
        store: Store,
        live: LiveJobs,
        clock: Clock,
        now: Callable[[], float],
        voting_timeout: float,
        default_run_timeout: float,
        max_body_size: int,
        max_output: int,
    ) -> None:
        """:param now: seconds since the epoch; the timeouts are in seconds, the sizes in bytes"""
        self._store = store
        self._live = live
        self._clock = clock
        self._now = now
        self._voting_timeout = voting_timeout
        self._default_run_timeout = default_run_timeout
        self._max_body_size = max_body_size
        self._max_output = max_output

    async def create(self, organization: str, request: JobRequest, created_by: str) -> str:
        """Make a job and begin it; its id. It is kept, and outlives the server, when this returns.

        :raise InvalidRequest: its command does not fit into a message, or it wants more output than is kept
        :raise StoreUnavailable: it could not be kept, and there is no such job
        """
        if request.output_limit is not None and request.output_limit > self._max_output:
            raise InvalidRequest(
                f"output_limit: expected at most {self._max_output} bytes (setting max_output), "
                f"got {request.output_limit}"
            )
        spec = JobSpec(
            id=uuid4().hex,
            organization=organization,
            command=request.command,
            nodes=request.nodes,
            quorum=len(request.nodes) if request.quorum is None else request.quorum,
            run_timeout=self._default_run_timeout if request.run_timeout is None else request.run_timeout,
            voting_timeout=self._voting_timeout,
            created_at=self._now(),
            created_by=created_by,
            user=request.user,
            dir=request.dir,
            env=request.env,
            file=request.file,
            capture=request.capture_output is not False,
            output_limit=request.output_limit,
            live=request.capture_output == "live",
        )
        self._check_size(spec)
        # A caller that goes away in the middle must not leave a job behind that is kept, but never begins nor ends.
        await shielded(self._keep_and_begin(spec))
        return spec.id

    async def abort(self, organization: str, job_id: str) -> StoredJob | None:
        """End a job now; None where the organization has none of that id. That it is wanted is kept when this returns.

        :raise TooLate: it has ended, or is being aborted already
        """
        job = await self.job(organization, job_id)
        if job is None:
            return None
        # One that is kept and has not begun yet will in the next moment.
        if job.status in TERMINAL_JOB_STATUSES or self._live.snapshot(job_id) is None:
            raise TooLate(job.status)
        if job.aborting:
            raise TooLate("being aborted")
        self._live.abort(job_id)
        await self.recorded()
        return await self.job(organization, job_id)

    async def take_up(self, absence_seconds: float) -> int:
        """Go on with the jobs that an earlier run of the server left unfinished; how many there are.

        :param absence_seconds: after which a node that has not come back is down
        """
        unfinished = []
        for job in await self._store.unfinished_jobs():
            job_id = job.spec.id
            unfinished.append((job, await self._store.feed(job_id), await self._store.last_output(job_id)))
        self._live.take_up(unfinished, absence_seconds)
        return len(unfinished)

    async def job(self, organization: str, job_id: str) -> StoredJob | None:
        """A job as it is now; None where the organization has none of that id."""
        job = self._live.snapshot(job_id)
        if job is None:
            return await self._store.job(organization, job_id)
        return job if job.spec.organization == organization else None

    async def jobs(self, organization: str, query: JobQuery) -> Sequence[JobSummary]:
        """The newest jobs of an organization that are as the query says, newest first.

        :raise UnknownJob: there is no job `before` which they were made
        """
        await self.recorded()
        return await self._store.jobs(organization, query)

    def is_awaited(self, organization: str, job_id: str, node: str) -> bool:
        """Whether a node's part in a job has not ended."""
        ref = NodeRef(organization, node)
        status = self._live.status(ref, job_id)
        return status is not None and status not in TERMINAL_NODE_STATUSES

    async def _keep_and_begin(self, spec: JobSpec) -> None:
        await self._store.create_job(spec)
        self._live.begin(spec)

    async def recorded(self) -> None:
        """Wait until what has happened so far can be read."""
        recorded = Deferred.fromCoroutine(self._store.recorded(hurry=True))
        try:
            await recorded.addTimeout(_STORED_SECONDS, self._clock)  # type: ignore[arg-type]  # zope's IReactorTime
        except defer.TimeoutError:
            raise StoreUnavailable(f"it has not written anything for {_STORED_SECONDS:.0f} s") from None

    def _check_size(self, spec: JobSpec) -> None:
        commit = messages.Commit(timestamp=" " * 29, sequence=2**31, server=" " * 255, **commit_fields(spec))
        if (size := len(messages.encode(commit))) > self._max_body_size:
            raise InvalidRequest(
                f"command, env, file: expected a commit message of at most {self._max_body_size} bytes, got {size} "
                "(setting max_body_size)"
            )
