"""A job, from its first vote to its end: section 7 of the protocol as two tables and the moves between them.

:func:`step` takes a job and an event, changes the job and returns what is to be done (:mod:`effects`). It sends
nothing, waits for nothing and knows no clock. It keeps counts of its nodes' statuses, so that what one message costs
does not depend on the size of the job; only the two moves that concern all nodes at once (the end of the voting, a
timeout) look at all of them, once each.
"""

from collections.abc import Mapping
from enum import Enum

from attrs import field, frozen

from pushy_protocol.states import TERMINAL_JOB_STATUSES, TERMINAL_NODE_STATUSES, JobStatus, NodeStatus
from pushyd.domain.effects import (
    Emit,
    FeedEvent,
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


@frozen(kw_only=True)
class JobSpec:
    """What was asked for, and never changes. Times in seconds; `created_at` since the epoch.

    `quorum` counts nodes; `nodes` are unique; `file` is as it was given (``raw:…`` or ``base64:…``).
    """

    id: str
    organization: str
    command: str
    nodes: tuple[str, ...] = field(repr=lambda nodes: f"<{len(nodes)} nodes>")
    quorum: float
    run_timeout: float
    voting_timeout: float
    created_at: float
    created_by: str
    user: str | None = None
    dir: str | None = None
    env: Mapping[str, str] | None = None
    file: str | None = field(default=None, repr=False)
    capture: bool = False


class Job:
    """A job that lives: its statuses and their counts. Changed by :func:`step` only."""

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.status = JobStatus.NEW
        self.nodes: dict[str, NodeStatus] = dict.fromkeys(spec.nodes, NodeStatus.NEW)
        self.counts: dict[NodeStatus, int] = dict.fromkeys(NodeStatus, 0)
        self.counts[NodeStatus.NEW] = len(self.nodes)

    @property
    def ended(self) -> bool:
        """Whether the job has a status that never changes again."""
        return self.status in TERMINAL_JOB_STATUSES


class NodeEvent(Enum):
    """What can come from a node of a job."""

    ACK_COMMIT = "ack_commit"
    NACK_COMMIT = "nack_commit"
    ACK_RUN = "ack_run"
    NACK_RUN = "nack_run"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABORTED = "aborted"
    DOWN = "down"


@frozen
class Start:
    """Begin; `unavailable` are the nodes of the job that cannot be asked."""

    unavailable: frozenset[str]


@frozen
class FromNode:
    """A message of a node that names this job, or the news that the node is down."""

    node: str
    what: NodeEvent


@frozen
class TimerFired:
    """The timer that the job asked for has run out."""

    timer: Timer


JobEvent = Start | FromNode | TimerFired


class _Stand(Enum):
    """Where a node stands, as far as the tables tell nodes apart."""

    NEW = "new"
    READY = "ready"
    RUNNING = "running"
    TERMINAL = "terminal"


@frozen
class _Row:
    """What happens to one node: its new status (None: it stays), whether it needs rehab, and what the feed says."""

    status: NodeStatus | None = None
    rehab: bool = False
    report: str | None = None


_NOTHING = _Row()
_NEW, _READY, _RUNNING, _TERMINAL = _Stand
_STANDS = {status: _TERMINAL if status in TERMINAL_NODE_STATUSES else _Stand(status.value) for status in NodeStatus}

_DIED_VOTING = _Row(None, True, "client_died_while_voting")
_DROPPED_OUT = _Row(NodeStatus.UNAVAILABLE, True)
_WENT_DOWN = _Row(NodeStatus.UNAVAILABLE, True, "down")
_BACK_TO_REHAB = _Row(None, True)

# No node is `running` while the voting lasts.
_VOTING: dict[NodeEvent, dict[_Stand, _Row]] = {
    NodeEvent.ACK_COMMIT: {
        _NEW: _Row(NodeStatus.READY, False, "success"),
        _READY: _Row(None, False, "unexpected_commit"),
        _TERMINAL: _DIED_VOTING,
    },
    NodeEvent.NACK_COMMIT: {
        _NEW: _Row(NodeStatus.NACKED, False, "failure"),
        _READY: _Row(NodeStatus.UNAVAILABLE, True, "lost_availibility"),
        _TERMINAL: _DIED_VOTING,
    },
    NodeEvent.DOWN: {_NEW: _WENT_DOWN, _READY: _WENT_DOWN, _TERMINAL: _BACK_TO_REHAB},
    # `aborted` is how a node leaves rehab, so it never sends one there whose part is over (section 6).
    NodeEvent.ABORTED: {_NEW: _DROPPED_OUT, _READY: _DROPPED_OUT, _TERMINAL: _NOTHING},
} | {
    other: {_NEW: _DROPPED_OUT, _READY: _DROPPED_OUT, _TERMINAL: _BACK_TO_REHAB}
    for other in (NodeEvent.ACK_RUN, NodeEvent.NACK_RUN, NodeEvent.SUCCEEDED, NodeEvent.FAILED)
}

_DIED_RUNNING = _Row(None, True, "client_died_while_running")
_CRASHED = _Row(NodeStatus.CRASHED, True, "crashed")

# No node is `new` while the job runs. A `run_start` is told from the rest by its new status.
_RUN: dict[NodeEvent, dict[_Stand, _Row]] = {
    NodeEvent.ACK_RUN: {_READY: _Row(NodeStatus.RUNNING), _RUNNING: _NOTHING, _TERMINAL: _DIED_RUNNING},
    NodeEvent.NACK_RUN: {
        _READY: _Row(NodeStatus.FAILED, True, "run_nacked"),
        _RUNNING: _Row(NodeStatus.FAILED, True, "run_nacked_while_running"),
        _TERMINAL: _DIED_RUNNING,
    },
    NodeEvent.SUCCEEDED: {
        _READY: _CRASHED,
        _RUNNING: _Row(NodeStatus.SUCCEEDED, False, "success"),
        _TERMINAL: _DIED_RUNNING,
    },
    NodeEvent.FAILED: {
        _READY: _CRASHED,
        _RUNNING: _Row(NodeStatus.FAILED, False, "failure"),
        _TERMINAL: _DIED_RUNNING,
    },
    NodeEvent.ABORTED: {_READY: _CRASHED, _RUNNING: _CRASHED, _TERMINAL: _NOTHING},
} | {
    other: {_READY: _CRASHED, _RUNNING: _CRASHED, _TERMINAL: _DIED_RUNNING}
    for other in (NodeEvent.DOWN, NodeEvent.ACK_COMMIT, NodeEvent.NACK_COMMIT)
}


def step(job: Job, event: JobEvent) -> list[JobEffect]:
    """Tell `job` of `event`: changes it, and returns what is to be done, in order.

    An event that comes too late (for an ended job, or of a timer that no longer matters) changes nothing.

    :raise KeyError: a message of a node that is not in the job
    """
    effects: list[JobEffect] = []
    if job.ended:
        return effects
    match event:
        case FromNode(node, what):
            _from_node(job, node, what, effects)
        case Start(unavailable):
            _start(job, unavailable, effects)
        case TimerFired(Timer.VOTING):
            _voting_timeout(job, effects)
        case TimerFired(Timer.RUNNING):
            _run_timeout(job, effects)
    return effects


def _start(job: Job, unavailable: frozenset[str], effects: list[JobEffect]) -> None:
    if job.status is not JobStatus.NEW:
        return
    effects.append(Emit(FeedEvent.START))
    _enter(job, JobStatus.VOTING, effects)
    effects.append(StartTimer(Timer.VOTING, job.spec.voting_timeout))
    if asked := tuple(node for node in job.nodes if node not in unavailable):
        effects.append(Send(asked, Order.COMMIT))
    for node in job.nodes:
        if node in unavailable:
            _apply(job, node, NodeEvent.DOWN, _WENT_DOWN, effects)
    _end_voting(job, effects)


def _from_node(job: Job, node: str, what: NodeEvent, effects: list[JobEffect]) -> None:
    stand = _STANDS[job.nodes[node]]
    if job.status is JobStatus.VOTING:
        _apply(job, node, what, _VOTING[what][stand], effects)
        _end_voting(job, effects)
    elif job.status is JobStatus.RUNNING:
        _apply(job, node, what, _RUN[what][stand], effects)
        _end_running(job, effects)


def _apply(job: Job, node: str, what: NodeEvent, row: _Row, effects: list[JobEffect]) -> None:
    """Carry out one cell of a table."""
    if row.status is not None:
        _move(job, node, row.status, effects)
    if row.status is NodeStatus.RUNNING:
        effects.append(Emit(FeedEvent.RUN_START, node))
    voting = job.status is JobStatus.VOTING
    report = Emit(FeedEvent.QUORUM_VOTE if voting else FeedEvent.RUN_COMPLETE, node, row.report)
    # The rehab comes before the report, but for a node that is down while voting.
    vote_first = voting and what is NodeEvent.DOWN
    if row.report and vote_first:
        effects.append(report)
    if row.rehab:
        effects.append(Rehab(node))
        effects.append(Emit(FeedEvent.REHAB, node))
    if row.report and not vote_first:
        effects.append(report)


def _end_voting(job: Job, effects: list[JobEffect]) -> None:
    """Once no node is new: run, or fail the quorum."""
    if job.counts[NodeStatus.NEW]:
        return
    ready = tuple(node for node, status in job.nodes.items() if status is NodeStatus.READY)
    if len(ready) < job.spec.quorum:
        _send_all_to_rehab(job, ready, NodeStatus.WAS_READY, effects)
        _end(job, JobStatus.QUORUM_FAILED, effects)
        return
    effects.append(Emit(FeedEvent.QUORUM_SUCCEEDED))
    _enter(job, JobStatus.RUNNING, effects)
    effects.append(StartTimer(Timer.RUNNING, job.spec.run_timeout))
    if ready:
        effects.append(Send(ready, Order.RUN))
    _end_running(job, effects)


def _end_running(job: Job, effects: list[JobEffect]) -> None:
    """Once no node is ready or running: complete."""
    if not job.counts[NodeStatus.READY] and not job.counts[NodeStatus.RUNNING]:
        _end(job, JobStatus.COMPLETE, effects)


def _voting_timeout(job: Job, effects: list[JobEffect]) -> None:
    if job.status is not JobStatus.VOTING:
        return
    silent = tuple(node for node, status in job.nodes.items() if status is NodeStatus.NEW)
    effects += [Emit(FeedEvent.QUORUM_VOTE, node, "voting_timeout") for node in silent]
    _send_all_to_rehab(job, silent, NodeStatus.UNAVAILABLE, effects)
    _end_voting(job, effects)


def _run_timeout(job: Job, effects: list[JobEffect]) -> None:
    if job.status is not JobStatus.RUNNING:
        return
    late = tuple(node for node, status in job.nodes.items() if _STANDS[status] is not _TERMINAL)
    _send_all_to_rehab(job, late, NodeStatus.TIMED_OUT, effects)
    _end(job, JobStatus.TIMED_OUT, effects)


def _send_all_to_rehab(job: Job, nodes: tuple[str, ...], status: NodeStatus, effects: list[JobEffect]) -> None:
    """What a timeout or a failed quorum does; the feed does not speak of these rehabs."""
    for node in nodes:
        _move(job, node, status, effects)
        effects.append(Rehab(node))


def _move(job: Job, node: str, status: NodeStatus, effects: list[JobEffect]) -> None:
    job.counts[job.nodes[node]] -= 1
    job.counts[status] += 1
    job.nodes[node] = status
    effects.append(NodeChanged(node, status))


def _enter(job: Job, status: JobStatus, effects: list[JobEffect]) -> None:
    job.status = status
    effects.append(JobChanged(status))


def _end(job: Job, status: JobStatus, effects: list[JobEffect]) -> None:
    effects.append(StopTimer())
    _enter(job, status, effects)
    effects.append(Emit(FeedEvent.JOB_COMPLETE, status=status))
