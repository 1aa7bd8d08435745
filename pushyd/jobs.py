"""The jobs that live: runs a machine (`domain.job`) for each and carries out what it wants.

A job is kept before anybody hears of it; what happens to it is recorded as it happens, and it stays here until the
last of that is kept. What has ended is read from the store.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from uuid import uuid4

from attrs import define, field
from twisted.logger import Logger

from pushy_protocol import messages
from pushy_protocol.api import InvalidRequest, JobRequest
from pushy_protocol.states import TERMINAL_NODE_STATUSES, JobStatus, NodeStatus
from pushyd.background import background, shielded
from pushyd.clock import Clock, DelayedCall
from pushyd.domain.effects import (
    Emit,
    JobChanged,
    JobEffect,
    NodeChanged,
    Order,
    Rehab,
    Send,
    StartTimer,
    StopTimer,
    Timer,
)
from pushyd.domain.job import FromNode, Job, JobEvent, JobSpec, Start, TimerFired, step
from pushyd.domain.node import NodeRef, Presence
from pushyd.domain.tables import NodeEvent
from pushyd.store.interface import (
    JobStatusChange,
    JobStore,
    JobSummary,
    NodeStatusChange,
    OutputCaptured,
    StoredJob,
)

_REASON_LENGTH = 500

_NODE_EVENTS: Mapping[type[messages.NodeMessage], NodeEvent] = {
    messages.AckCommit: NodeEvent.ACK_COMMIT,
    messages.NackCommit: NodeEvent.NACK_COMMIT,
    messages.AckRun: NodeEvent.ACK_RUN,
    messages.NackRun: NodeEvent.NACK_RUN,
    messages.Succeeded: NodeEvent.SUCCEEDED,
    messages.Failed: NodeEvent.FAILED,
    messages.Aborted: NodeEvent.ABORTED,
}
_NO_REASONS: Mapping[str, str | None] = {}
_EXPLAINED = TERMINAL_NODE_STATUSES - {NodeStatus.SUCCEEDED}


class Nodes(Protocol):
    """What jobs need of nodes."""

    def presence(self, node: NodeRef) -> Presence:
        """Where the node stands."""

    def send(
        self, organization: str, nodes: Sequence[str], kind: type[messages.ServerCommand], fields: Mapping[str, Any]
    ) -> None:
        """Send one message to each of the nodes."""

    def rehab(self, node: NodeRef) -> None:
        """Send a node through rehab."""


class Feeds(Protocol):
    """Who tells the readers of feeds."""

    def emit(self, spec: JobSpec, event: Emit) -> None:
        """Something has happened to a job."""


@define(kw_only=True, eq=False)
class _Live:
    """A job, and what goes with it while it lives."""

    job: Job
    updated_at: float
    timer: DelayedCall | None = None
    reasons: dict[str, str] = field(factory=dict)


class JobService:
    """Makes jobs, and follows each to its end. Implements `nodes.Jobs`."""

    log = Logger()

    def __init__(
        self,
        *,
        store: JobStore,
        nodes: Nodes,
        feeds: Feeds,
        clock: Clock,
        now: Callable[[], float],
        voting_timeout: float,
        default_run_timeout: float,
        max_body_size: int,
    ) -> None:
        """:param now: seconds since the epoch; the timeouts are in seconds, `max_body_size` in bytes"""
        self._store = store
        self._nodes = nodes
        self._feeds = feeds
        self._clock = clock
        self._now = now
        self._voting_timeout = voting_timeout
        self._default_run_timeout = default_run_timeout
        self._max_body_size = max_body_size
        self._live: dict[str, _Live] = {}

    # For callers

    async def create(self, organization: str, request: JobRequest, created_by: str) -> str:
        """Make a job and begin it; its id. It is kept, and outlives the server, when this returns.

        :raise InvalidRequest: its command does not fit into a message
        :raise StoreUnavailable: it could not be kept, and there is no such job
        """
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
            capture=request.capture_output,
        )
        self._check_size(spec)
        # A caller that goes away in the middle must not leave a job behind that is kept, but never begins nor ends.
        await shielded(self._keep_and_begin(spec))
        return spec.id

    async def job(self, organization: str, job_id: str) -> StoredJob | None:
        """A job as it is now; None where the organization has none of that id."""
        live = self._live.get(job_id)
        if live is None:
            return await self._store.job(organization, job_id)
        if live.job.spec.organization != organization:
            return None
        return StoredJob(
            spec=live.job.spec,
            status=live.job.status,
            updated_at=live.updated_at,
            nodes=dict(live.job.nodes),
            reasons=dict(live.reasons),
        )

    async def jobs(self, organization: str, limit: int) -> Sequence[JobSummary]:
        """The newest jobs of an organization, newest first."""
        await self._store.recorded()
        return await self._store.jobs(organization, limit)

    async def output(self, organization: str, job_id: str, node: str, channel: str) -> bytes | None:
        """What a node's command wrote to `stdout` or `stderr`; None when none was captured."""
        await self._store.recorded()
        return await self._store.output(organization, job_id, node, channel)

    def live_ids(self) -> list[str]:
        """The ids of the jobs that have not ended, of all organizations."""
        return [job_id for job_id, live in self._live.items() if not live.job.ended]

    async def close_interrupted(self) -> int:
        """End what an earlier run of the server left unfinished, as `crashed`; how many jobs that were."""
        interrupted = await self._store.unfinished_jobs()
        for job in interrupted:
            for node, status in job.nodes.items():
                if status not in TERMINAL_NODE_STATUSES:
                    crashed = NodeStatus.CRASHED
                    self._store.record(
                        NodeStatusChange(job_id=job.spec.id, node=node, status=crashed, reason="server_restarted")
                    )
            self._store.record(JobStatusChange(job_id=job.spec.id, status=JobStatus.CRASHED, at=self._now()))
        await self._store.recorded()
        return len(interrupted)

    def stop(self) -> None:
        """Stop the clocks of all jobs; nothing is sent any more."""
        for live in self._live.values():
            self._stop_timer(live)

    # For nodes

    def concerns(self, node: NodeRef, job_id: str) -> bool:
        """Whether the job is live and the node is one of its nodes."""
        live = self._live.get(job_id)
        if live is None or live.job.ended:
            return False
        return live.job.spec.organization == node.organization and node.name in live.job.nodes

    def on_message(self, node: NodeRef, message: messages.NodeMessage) -> None:
        """A message of a node about a job that concerns it."""
        live = self._live[message.job_id or ""]
        if isinstance(message, messages.Succeeded | messages.Failed):
            self._keep_output(live, node.name, message)
        if event := _NODE_EVENTS.get(type(message)):
            self._step(live, FromNode(node.name, event), reasons={node.name: _reason(message)})

    def on_down(self, node: NodeRef) -> None:
        """The node is down: it may be gone, or have started anew."""
        for job_id in list(self._live):
            if self.concerns(node, job_id):
                self._step(self._live[job_id], FromNode(node.name, NodeEvent.DOWN))

    # Within

    async def _keep_and_begin(self, spec: JobSpec) -> None:
        await self._store.create_job(spec)
        live = self._live[spec.id] = _Live(job=Job(spec), updated_at=spec.created_at)
        nodes = (NodeRef(spec.organization, name) for name in spec.nodes)
        unavailable = (node.name for node in nodes if self._nodes.presence(node) is not Presence.IDLE)
        self._step(live, Start(frozenset(unavailable)))

    def _step(self, live: _Live, event: JobEvent, reasons: Mapping[str, str | None] = _NO_REASONS) -> None:
        """Tell a job of an event and carry out what it wants; `reasons` are those that nodes gave."""
        effects = step(live.job, event)
        # Where a node gave none, what the feed says of it is the reason.
        why = {
            effect.node: effect.status
            for effect in effects
            if isinstance(effect, Emit) and effect.node and effect.status
        }
        why |= {node: reason for node, reason in reasons.items() if reason}
        for effect in effects:
            self._carry_out(live, effect, why)
        if live.job.ended:
            _ = background(self._forget(live), self.log, "An ended job stays in memory")

    def _carry_out(self, live: _Live, effect: JobEffect, reasons: Mapping[str, str | None]) -> None:
        spec = live.job.spec
        match effect:
            case NodeChanged(node, status):
                reason = reasons.get(node) if status in _EXPLAINED else None
                if reason:
                    live.reasons[node] = reason
                self._store.record(NodeStatusChange(job_id=spec.id, node=node, status=status, reason=reason))
            case JobChanged(status):
                live.updated_at = self._now()
                self._store.record(JobStatusChange(job_id=spec.id, status=status, at=live.updated_at))
                self.log.info(
                    "Job {id} of {organization} is {status}",
                    id=spec.id,
                    organization=spec.organization,
                    status=status.value,
                )
            case Send(nodes, Order.COMMIT):
                self._nodes.send(spec.organization, nodes, messages.Commit, _commit_fields(spec))
            case Send(nodes, Order.RUN):
                self._nodes.send(spec.organization, nodes, messages.Run, {"job_id": spec.id})
            case Rehab(node):
                self._nodes.rehab(NodeRef(spec.organization, node))
            case StartTimer(timer, seconds):
                self._stop_timer(live)
                live.timer = self._clock.callLater(seconds, self._timer_fired, live, timer)
            case StopTimer():
                self._stop_timer(live)
            case Emit():
                self._feeds.emit(spec, effect)

    def _timer_fired(self, live: _Live, timer: Timer) -> None:
        self._step(live, TimerFired(timer))

    def _stop_timer(self, live: _Live) -> None:
        if live.timer and live.timer.active():
            live.timer.cancel()
        live.timer = None

    def _keep_output(self, live: _Live, node: str, message: messages.Succeeded | messages.Failed) -> None:
        spec = live.job.spec
        if not spec.capture or live.job.nodes[node] is not NodeStatus.RUNNING:
            return
        stdout, stderr = (None if text is None else text.encode() for text in (message.stdout, message.stderr))
        if stdout is not None or stderr is not None:
            self._store.record(OutputCaptured(job_id=spec.id, node=node, stdout=stdout, stderr=stderr))

    async def _forget(self, live: _Live) -> None:
        """Let the store answer for an ended job, once it can."""
        await self._store.recorded()
        self._live.pop(live.job.spec.id, None)

    def _check_size(self, spec: JobSpec) -> None:
        commit = messages.Commit(timestamp=" " * 29, sequence=2**31, server=" " * 255, **_commit_fields(spec))
        if (size := len(messages.encode(commit))) > self._max_body_size:
            raise InvalidRequest(
                f"command, env, file: expected a commit message of at most {self._max_body_size} bytes, got {size} "
                "(setting max_body_size)"
            )


def _commit_fields(spec: JobSpec) -> dict[str, Any]:
    return {
        "job_id": spec.id,
        "command": spec.command,
        "user": spec.user,
        "dir": spec.dir,
        "env": spec.env,
        "file": spec.file,
        "capture": spec.capture,
    }


def _reason(message: messages.NodeMessage) -> str | None:
    """Why a node refused or failed, as far as it says."""
    match message:
        case messages.NackCommit() | messages.NackRun():
            said = message.reason
        case messages.Failed(reason=None, signal=int(signal)):
            said = f"signal {signal}"
        case messages.Failed(reason=None, exit_status=int(status)):
            said = f"exit status {status}"
        case messages.Failed():
            said = message.reason
        case _:
            said = None
    return said[:_REASON_LENGTH] if said else None
