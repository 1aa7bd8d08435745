"""A job, from its first vote to its end: section 7 of the protocol as two tables and the moves between them.

:func:`step` takes a job and an event, changes the job and returns what is to be done (:mod:`effects`). It sends
nothing, waits for nothing and knows no clock. It keeps counts of its nodes' statuses, so that what one message costs
does not depend on the size of the job; only the two moves that concern all nodes at once (the end of the voting, a
timeout) look at all of them, once each.
"""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from attrs import field, frozen

from pushy_protocol.states import TERMINAL_JOB_STATUSES, JobStatus, NodeStatus
from pushyd.domain import tables
from pushyd.domain.effects import (
    AbortKept,
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
from pushyd.domain.tables import NodeEvent


@frozen(kw_only=True)
class JobSpec:
    """What was asked for, and never changes. Times in seconds; `created_at` since the epoch.

    `quorum` counts nodes; `nodes` are unique; `file` is as it was given (``raw:…`` or ``base64:…``).
    `output_limit` is in bytes of each channel (None: the default); `live` output is sent as it comes.
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
    output_limit: int | None = None
    live: bool = False


class Job:
    """A job that lives: its statuses and their counts. Changed by :func:`step` only."""

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.status = JobStatus.NEW
        self.aborting = False
        self.nodes: dict[str, NodeStatus] = dict.fromkeys(spec.nodes, NodeStatus.NEW)
        self.counts: dict[NodeStatus, int] = dict.fromkeys(NodeStatus, 0)
        self.counts[NodeStatus.NEW] = len(self.nodes)

    @classmethod
    def restored(cls, spec: JobSpec, status: JobStatus, nodes: Mapping[str, NodeStatus], *, aborting: bool) -> "Job":
        """A job as an earlier run of the server left it; :class:`TakenUp` is what it has to be told first."""
        job = cls(spec)
        job.status, job.aborting = status, aborting
        job.nodes = dict(nodes)
        job.counts = {**dict.fromkeys(NodeStatus, 0), **Counter(job.nodes.values())}
        return job

    @property
    def ended(self) -> bool:
        """Whether the job has a status that never changes again."""
        return self.status in TERMINAL_JOB_STATUSES


@frozen
class Start:
    """Begin; `unavailable` are the nodes of the job that cannot be asked. Those that are `absent` are not asked either;
    that they are down is said later.
    """

    unavailable: frozenset[str]
    absent: frozenset[str] = frozenset()


class FromNode(NamedTuple):
    """A message of a node that names this job, or the news that the node is down."""

    node: str
    what: NodeEvent


@frozen
class TimerFired:
    """The timer that the job asked for has run out."""

    timer: Timer


@frozen
class AbortRequested:
    """Somebody wants the job to end now."""


@frozen
class TakenUp:
    """The server was started again, `elapsed` seconds after the present status began."""

    elapsed: float


JobEvent = Start | FromNode | TimerFired | AbortRequested | TakenUp


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
        case Start(unavailable, absent):
            _start(job, unavailable, absent, effects)
        case TimerFired(Timer.VOTING):
            _voting_timeout(job, effects)
        case TimerFired(Timer.RUNNING):
            _run_timeout(job, effects)
        case TimerFired(Timer.ABORTING):
            _abort_timeout(job, effects)
        case AbortRequested():
            _abort(job, effects)
        case TakenUp(elapsed):
            _take_up(job, elapsed, effects)
    return effects


def _start(job: Job, unavailable: frozenset[str], absent: frozenset[str], effects: list[JobEffect]) -> None:
    if job.status is not JobStatus.NEW:
        return
    effects.append(Emit(FeedEvent.START))
    _enter(job, JobStatus.VOTING, effects)
    effects.append(StartTimer(Timer.VOTING, job.spec.voting_timeout))
    silent = unavailable | absent
    if asked := tuple(node for node in job.nodes if node not in silent):
        effects.append(Send(asked, Order.COMMIT))
    for node in job.nodes:
        if node in unavailable:
            _apply(job, node, NodeEvent.DOWN, tables.WENT_DOWN, effects)
    _end_voting(job, effects)


def _from_node(job: Job, node: str, what: NodeEvent, effects: list[JobEffect]) -> None:
    stand = tables.STANDS[job.nodes[node]]
    if job.aborting:
        _apply(job, node, what, tables.WHILE_ABORTING[what].get(stand, tables.NOTHING), effects)
        _end_aborting(job, effects)
    elif job.status is JobStatus.VOTING:
        _apply(job, node, what, tables.WHILE_VOTING[what][stand], effects)
        _end_voting(job, effects)
    elif job.status is JobStatus.RUNNING:
        _apply(job, node, what, tables.WHILE_RUNNING[what][stand], effects)
        _end_running(job, effects)


def _apply(job: Job, node: str, what: NodeEvent, row: tables.Row, effects: list[JobEffect]) -> None:
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
    if job.status is not JobStatus.VOTING or job.aborting:
        return
    silent = tuple(node for node, status in job.nodes.items() if status is NodeStatus.NEW)
    effects += [Emit(FeedEvent.QUORUM_VOTE, node, "voting_timeout") for node in silent]
    _send_all_to_rehab(job, silent, NodeStatus.UNAVAILABLE, effects)
    _end_voting(job, effects)


def _run_timeout(job: Job, effects: list[JobEffect]) -> None:
    if job.status is not JobStatus.RUNNING or job.aborting:
        return
    late = tuple(node for node, status in job.nodes.items() if tables.STANDS[status] is not tables.TERMINAL)
    _send_all_to_rehab(job, late, NodeStatus.TIMED_OUT, effects)
    _end(job, JobStatus.TIMED_OUT, effects)


def _abort(job: Job, effects: list[JobEffect]) -> None:
    """Tell the nodes that committed; those that did not answer yet are out, whatever they answer."""
    if job.aborting:
        return
    job.aborting = True
    effects.append(AbortKept())
    for node in [node for node, status in job.nodes.items() if status is NodeStatus.NEW]:
        _move(job, node, NodeStatus.ABORTED, effects)
    effects += [Rehab(node) for node, status in job.nodes.items() if tables.STANDS[status] is not tables.TERMINAL]
    effects.append(StartTimer(Timer.ABORTING, job.spec.voting_timeout))
    _end_aborting(job, effects)


def _end_aborting(job: Job, effects: list[JobEffect]) -> None:
    """Once every node has confirmed or is down: aborted."""
    if not job.counts[NodeStatus.READY] and not job.counts[NodeStatus.RUNNING]:
        _end(job, JobStatus.ABORTED, effects)


def _abort_timeout(job: Job, effects: list[JobEffect]) -> None:
    """A node that sends heartbeats but never confirms: nobody knows what became of its command."""
    if not job.aborting:
        return
    for node in [node for node, status in job.nodes.items() if tables.STANDS[status] is not tables.TERMINAL]:
        _apply(job, node, NodeEvent.DOWN, tables.CRASHED, effects)
    _end_aborting(job, effects)


def _take_up(job: Job, elapsed: float, effects: list[JobEffect]) -> None:
    """Go on where an earlier run of the server was cut off, with what is left of the time."""
    if job.aborting:
        effects.append(StartTimer(Timer.ABORTING, job.spec.voting_timeout))
        effects += [Rehab(node) for node, status in job.nodes.items() if tables.STANDS[status] is not tables.TERMINAL]
        _end_aborting(job, effects)
    elif job.status is JobStatus.NEW:
        # Nobody is asked yet: each node will be when it is back.
        _start(job, frozenset(), frozenset(), effects)
    elif job.status is JobStatus.VOTING:
        effects.append(StartTimer(Timer.VOTING, max(0.0, job.spec.voting_timeout - elapsed)))
        _end_voting(job, effects)
    else:
        effects.append(StartTimer(Timer.RUNNING, max(0.0, job.spec.run_timeout - elapsed)))
        _end_running(job, effects)


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
