"""The jobs that live: runs a machine (`domain.job`) for each and carries out what it wants.

What happens to a job is recorded as it happens, and it stays here until the last of that is kept. What callers ask
for is for :mod:`jobs`.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from attrs import define, field
from twisted.logger import Logger

from pushy_protocol import messages
from pushy_protocol.states import TERMINAL_NODE_STATUSES, JobStatus, NodeStatus
from pushyd.background import background
from pushyd.clock import Clock, DelayedCall
from pushyd.domain.effects import (
    AbortKept,
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
from pushyd.domain.job import AbortRequested, FromNode, Job, JobEvent, JobSpec, Start, TakenUp, TimerFired, step
from pushyd.domain.node import NodeRef, Presence
from pushyd.domain.tables import NodeEvent
from pushyd.job_messages import NODE_EVENTS, commit_fields, detail_of
from pushyd.parts import Parts
from pushyd.store.interface import (
    NO_DETAIL,
    AbortRequest,
    JobStatusChange,
    JobStore,
    NodeDetail,
    NodeStatusChange,
    StoredJob,
)

TOLD_AT_ONCE = 500
"""Nodes that are sent a message before the reactor has its turn again; they take some milliseconds."""

FOUND_AT_ONCE = 50
"""Nodes that are found down at a time: each has its events in the feed, and a record. As long as that took, others have
the reactor: a request of somebody else takes some ten turns.
"""

REPEAT_SECONDS = 5.0
"""Seconds after which a node that is there, and has not answered, is asked again."""

_ENDS = (messages.Succeeded, messages.Failed)
_SUCCESS = "success"  # what feeds say of a vote or an end that needs no reason
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

    def emit(self, spec: JobSpec, event: Emit, said: NodeDetail = NO_DETAIL) -> None:
        """Something has happened to a job; `said` is what the node that it is about told of it."""

    def restore(self, spec: JobSpec, kept: bytes, last_output: int) -> None:
        """Take up the feed of a job of an earlier run, as far as it was kept; its last output came at `last_output`."""


class Outputs(Protocol):
    """Who keeps what commands write."""

    def ended(self, spec: JobSpec, node: str, message: messages.Succeeded | messages.Failed) -> None:
        """A node's command has ended."""


@define(kw_only=True, eq=False)
class _Live:
    """A job, and what goes with it while it lives."""

    job: Job
    updated_at: float
    timer: DelayedCall | None = None
    may_run: bool = False
    """It is kept that the nodes shall run."""
    told: float = 0.0
    """When its nodes were told to commit, or then to run."""
    told_again: dict[str, float] = field(factory=dict)
    """When some of them were told once more."""
    details: dict[str, NodeDetail] = field(factory=dict)


class LiveJobs:
    """Follows each job to its end. Implements `nodes.Jobs`."""

    log = Logger()

    def __init__(
        self, *, store: JobStore, nodes: Nodes, feeds: Feeds, outputs: Outputs, clock: Clock, now: Callable[[], float]
    ) -> None:
        """:param now: seconds since the epoch"""
        self._store = store
        self._nodes = nodes
        self._feeds = feeds
        self._outputs = outputs
        self._clock = clock
        self._now = now
        self._live: dict[str, _Live] = {}
        self._parts = Parts()
        self._absence: DelayedCall | None = None
        # The nodes that are to be found down where they are not there, and the next look at some of them.
        self._looked_for: deque[tuple[_Live, Sequence[str]]] = deque()
        self._look: DelayedCall | None = None

    # For callers

    def begin(self, spec: JobSpec) -> None:
        """Begin a job that is kept."""
        live = self._live[spec.id] = _Live(job=Job(spec), updated_at=spec.created_at)
        nodes = [NodeRef(spec.organization, name) for name in spec.nodes]
        self._parts.begin(spec.id, nodes)
        unavailable, absent = [], []
        for node in nodes:
            where = self._nodes.presence(node)
            if where is Presence.OFFLINE:
                absent.append(node.name)
            elif where is not Presence.IDLE:
                unavailable.append(node.name)
        if len(absent) <= FOUND_AT_ONCE:
            unavailable += absent
            absent = []
        self._step(live, Start(frozenset(unavailable), absent=frozenset(absent)))
        if absent:
            self._look_for(live, absent)

    def take_up(self, unfinished: Iterable[tuple[StoredJob, bytes, int]], absence_seconds: float) -> None:
        """Go on with the jobs, and their feeds, that an earlier run of the server left unfinished.

        :param absence_seconds: after which a node that has not come back is down
        """
        taken_up = []
        for stored, feed, last_output in unfinished:
            self._feeds.restore(stored.spec, feed, last_output)
            job = Job.restored(stored.spec, stored.status, stored.nodes, aborting=stored.aborting)
            live = _Live(job=job, updated_at=stored.updated_at, details=dict(stored.details))
            live.may_run = stored.status is JobStatus.RUNNING
            live.told = self._clock.seconds()
            self._live[stored.spec.id] = live
            waits_for = (name for name, status in job.nodes.items() if status not in TERMINAL_NODE_STATUSES)
            self._parts.begin(stored.spec.id, (NodeRef(stored.spec.organization, name) for name in waits_for))
            taken_up.append(live)
            self._step(live, TakenUp(max(0.0, self._now() - stored.updated_at)))
        if taken_up:
            self._absence = self._clock.callLater(absence_seconds, self._give_up_absent, taken_up)

    def abort(self, job_id: str) -> None:
        """End a live job; one that is being aborted already is not changed."""
        self._step(self._live[job_id], AbortRequested())

    def snapshot(self, job_id: str) -> StoredJob | None:
        """A job as it is now; None where it does not live."""
        live = self._live.get(job_id)
        if live is None:
            return None
        return StoredJob(
            spec=live.job.spec,
            status=live.job.status,
            updated_at=live.updated_at,
            nodes=dict(live.job.nodes),
            details=dict(live.details),
            aborting=live.job.aborting,
        )

    def ids(self) -> list[str]:
        """The ids of the jobs that have not ended, of all organizations."""
        return [job_id for job_id, live in self._live.items() if not live.job.ended]

    def stop(self) -> None:
        """Stop the clocks of all jobs; nothing is sent any more."""
        for live in self._live.values():
            self._stop_timer(live)
        for call in (self._absence, self._look):
            if call and call.active():
                call.cancel()

    # For nodes

    def status(self, node: NodeRef, job_id: str) -> NodeStatus | None:
        """The node's status in a job; None where that is not live, or the node is none of its nodes."""
        live = self._live.get(job_id)
        if live is None or live.job.ended or live.job.spec.organization != node.organization:
            return None
        return live.job.nodes.get(node.name)

    def on_message(self, node: NodeRef, message: messages.NodeMessage, *, carries_on: bool) -> None:
        """A message of a node about a job that concerns it.

        :param carries_on: its agent goes on after an interruption, in which what it said before may have been lost
        """
        live = self._live[message.job_id or ""]
        event = NODE_EVENTS.get(type(message))
        if event is None:
            return
        if isinstance(message, _ENDS):
            if carries_on and live.job.nodes[node.name] is NodeStatus.READY:
                # Nobody ends a command that was not started: the word that it was is what was lost.
                self._step(live, FromNode(node.name, NodeEvent.ACK_RUN))
            if live.job.spec.capture and live.job.nodes[node.name] is NodeStatus.RUNNING:
                self._outputs.ended(live.job.spec, node.name, message)
        self._step(live, FromNode(node.name, event), detail_of(message))

    def on_available(self, node: NodeRef, *, carries_on: bool) -> None:
        """The node is available: say again what it may not have heard, or see that it has lost its part in a job."""
        for job_id in self._parts.of(node):
            live = self._live[job_id]
            match live.job.nodes[node.name]:
                case _ if live.job.aborting:
                    if carries_on:
                        self._nodes.rehab(node)
                    else:
                        self._step(live, FromNode(node.name, NodeEvent.ABORTED))
                case status if status is not NodeStatus.NEW and not carries_on:
                    self._step(live, FromNode(node.name, NodeEvent.DOWN))
                case _:
                    self._tell_again(live, node)

    def on_heartbeat(self, node: NodeRef) -> None:
        """A node that speaks 3.0 is there: what it was told, or what it answered, may have been lost on the way.

        Asked again it says what is so: that it will, that it does, how it ended, or that it knows of nothing.
        """
        for job_id in self._parts.of(node):
            live = self._live[job_id]
            told = max(live.told, live.told_again.get(node.name, live.told))
            if not live.job.aborting and self._clock.seconds() - told >= REPEAT_SECONDS:
                self._tell_again(live, node)

    def on_down(self, node: NodeRef) -> None:
        """The node is down: it may be gone, or have started anew."""
        for job_id in list(self._live):
            if self.status(node, job_id) is not None:
                self._step(self._live[job_id], FromNode(node.name, NodeEvent.DOWN))

    # Within

    def _tell_again(self, live: _Live, node: NodeRef) -> None:
        match live.job.nodes[node.name]:
            case NodeStatus.NEW:
                self._nodes.send(node.organization, [node.name], messages.Commit, commit_fields(live.job.spec))
            case NodeStatus.READY if live.may_run:  # else it will be told with the others
                self._nodes.send(node.organization, [node.name], messages.Run, {"job_id": live.job.spec.id})
        live.told_again[node.name] = self._clock.seconds()

    def _step(self, live: _Live, event: JobEvent, said: NodeDetail = NO_DETAIL) -> None:
        """Tell a job of an event and carry out what it wants; `said` is what the node that it is from told with it."""
        job = live.job
        effects = step(job, event)
        who = event.node if type(event) is FromNode else None
        reports: Mapping[str | None, str] | None = None  # made when they are needed, which is seldom
        for effect in effects:
            # First what nearly every message of a node wants.
            if type(effect) is NodeChanged:
                node, status = effect
                told = said if node == who else NO_DETAIL
                reason = told.reason
                if status in _EXPLAINED and not reason:
                    reports = _reports(effects) if reports is None else reports
                    reason = reports.get(node)
                self._node_changed(live, node, status, told, reason)
            elif type(effect) is Emit:
                self._feeds.emit(job.spec, effect, said if effect.node == who else NO_DETAIL)
            else:
                self._carry_out(live, effect)
        if job.ended:
            _ = background(self._forget(live), self.log, "An ended job stays in memory")

    def _node_changed(self, live: _Live, node: str, status: NodeStatus, said: NodeDetail, reason: str | None) -> None:
        spec = live.job.spec
        before = detail = live.details.get(node, NO_DETAIL)
        if status is NodeStatus.RUNNING:
            detail = live.details[node] = NodeDetail(started_at=self._now())
        elif status in TERMINAL_NODE_STATUSES:
            self._parts.end(spec.id, NodeRef(spec.organization, node))
            detail = live.details[node] = NodeDetail(
                reason=reason,
                exit_status=said.exit_status,
                signal=said.signal,
                started_at=before.started_at,
                finished_at=self._now(),
            )
        self._store.record(NodeStatusChange(spec.id, node, status, detail))

    def _carry_out(self, live: _Live, effect: JobEffect) -> None:
        spec = live.job.spec
        match effect:
            case JobChanged() | AbortKept():
                self._record(live, effect)
            case Send(nodes, Order.COMMIT):
                live.told = self._clock.seconds()
                self._tell(live, nodes, NodeStatus.NEW, messages.Commit, commit_fields(spec))
            case Send(nodes, Order.RUN):
                _ = background(self._send_run(live, nodes), self.log, "A job's nodes were not told to run")
            case Rehab(node):
                self._nodes.rehab(NodeRef(spec.organization, node))
            case StartTimer(timer, seconds):
                self._stop_timer(live)
                live.timer = self._clock.callLater(seconds, self._timer_fired, live, timer)
            case StopTimer():
                self._stop_timer(live)

    def _record(self, live: _Live, effect: JobChanged | AbortKept) -> None:
        spec = live.job.spec
        match effect:
            case JobChanged(status):
                live.updated_at = self._now()
                self._store.record(JobStatusChange(job_id=spec.id, status=status, at=live.updated_at))
                self.log.info("Job {id} of {org} is {status}", id=spec.id, org=spec.organization, status=status.value)
            case AbortKept():
                self._store.record(AbortRequest(job_id=spec.id))
                self.log.info("Job {id} of {org} is being aborted", id=spec.id, org=spec.organization)

    async def _send_run(self, live: _Live, nodes: Sequence[str]) -> None:
        """Tell the nodes to run once it is kept that they shall: a server that starts again must know it."""
        await self._store.recorded(hurry=True)
        live.may_run = True
        live.told = self._clock.seconds()
        self._tell(live, nodes, NodeStatus.READY, messages.Run, {"job_id": live.job.spec.id})

    def _tell(
        self,
        live: _Live,
        nodes: Sequence[str],
        status: NodeStatus,
        kind: type[messages.ServerCommand],
        fields: Mapping[str, Any],
    ) -> None:
        """Send a message to those of the nodes that still have `status`; to some at a time, so that nobody waits."""
        job = live.job
        if job.aborting or job.ended:
            return
        some, rest = nodes[:TOLD_AT_ONCE], nodes[TOLD_AT_ONCE:]
        self._nodes.send(job.spec.organization, [name for name in some if job.nodes[name] is status], kind, fields)
        if rest:
            self._clock.callLater(0, self._tell, live, rest, status, kind, fields)

    def _give_up_absent(self, taken_up: Sequence[_Live]) -> None:
        """The nodes of jobs that were taken up and have not come back are down."""
        for live in taken_up:
            self._look_for(live, live.job.spec.nodes)

    def _look_for(self, live: _Live, names: Sequence[str]) -> None:
        """Find those of the nodes down that are not there."""
        self._looked_for.append((live, names))
        if self._look is None:
            self._look = self._clock.callLater(0, self._find_absent)

    def _find_absent(self) -> None:
        """Look at some of them, job by job in turn; half of the time is for others."""
        began = self._clock.seconds()
        live, names = self._looked_for.popleft()
        if rest := names[FOUND_AT_ONCE:]:
            self._looked_for.append((live, rest))
        try:
            for name in names[:FOUND_AT_ONCE]:
                node = NodeRef(live.job.spec.organization, name)
                if self._nodes.presence(node) is Presence.OFFLINE and self._is_awaited(live, name):
                    self._step(live, FromNode(name, NodeEvent.DOWN))
        finally:
            self._look = None
            if self._looked_for:
                self._look = self._clock.callLater(self._clock.seconds() - began, self._find_absent)

    def _is_awaited(self, live: _Live, name: str) -> bool:
        return not live.job.ended and live.job.nodes[name] not in TERMINAL_NODE_STATUSES

    def _timer_fired(self, live: _Live, timer: Timer) -> None:
        self._step(live, TimerFired(timer))

    def _stop_timer(self, live: _Live) -> None:
        if live.timer and live.timer.active():
            live.timer.cancel()
        live.timer = None

    async def _forget(self, live: _Live) -> None:
        """Let the store answer for an ended job, once it can."""
        await self._store.recorded()
        self._live.pop(live.job.spec.id, None)


def _reports(effects: Iterable[JobEffect]) -> Mapping[str | None, str]:
    """What the feed says of nodes: the reason of those that gave none."""
    return {
        effect.node: effect.status
        for effect in effects
        if type(effect) is Emit and effect.status and effect.status != _SUCCESS
    }
