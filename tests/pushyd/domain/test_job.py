"""The two tables of section 7, row by row: each status of job and node with each event, and its effects in order."""

import pytest
from attrs import evolve

from pushy_protocol.states import TERMINAL_JOB_STATUSES, TERMINAL_NODE_STATUSES, JobStatus, NodeStatus
from pushyd.domain.effects import Emit, FeedEvent, JobEffect, NodeChanged, Rehab, Timer
from pushyd.domain.job import AbortRequested, FromNode, Job, JobEvent, Start, TakenUp, TimerFired, step
from pushyd.domain.tables import NodeEvent
from tests.pushyd.domain.making import counted, job_at, new_job

NODE = "n1"
Cell = list[JobEffect]

REHAB: Cell = [Rehab(NODE), Emit(FeedEvent.REHAB, NODE)]


def becomes(status: NodeStatus) -> JobEffect:
    return NodeChanged(NODE, status)


def vote(status: str) -> JobEffect:
    return Emit(FeedEvent.QUORUM_VOTE, NODE, status)


def run_complete(status: str) -> JobEffect:
    return Emit(FeedEvent.RUN_COMPLETE, NODE, status)


DOWN_WHILE_VOTING: Cell = [becomes(NodeStatus.UNAVAILABLE), vote("down"), *REHAB]  # the one where the vote is first
DROPPED_OUT: Cell = [becomes(NodeStatus.UNAVAILABLE), *REHAB]
DIED_VOTING: Cell = [*REHAB, vote("client_died_while_voting")]

# event: (node was new, ready, terminal)
VOTING: dict[NodeEvent, tuple[Cell, Cell, Cell]] = {
    NodeEvent.ACK_COMMIT: (
        [becomes(NodeStatus.READY), vote("success")],
        [vote("unexpected_commit")],
        DIED_VOTING,
    ),
    NodeEvent.NACK_COMMIT: (
        [becomes(NodeStatus.NACKED), vote("failure")],
        [becomes(NodeStatus.UNAVAILABLE), *REHAB, vote("lost_availibility")],
        DIED_VOTING,
    ),
    NodeEvent.DOWN: (DOWN_WHILE_VOTING, DOWN_WHILE_VOTING, REHAB),
    NodeEvent.ACK_RUN: (DROPPED_OUT, DROPPED_OUT, REHAB),
    NodeEvent.NACK_RUN: (DROPPED_OUT, DROPPED_OUT, REHAB),
    NodeEvent.SUCCEEDED: (DROPPED_OUT, DROPPED_OUT, REHAB),
    NodeEvent.FAILED: (DROPPED_OUT, DROPPED_OUT, REHAB),
    NodeEvent.ABORTED: (DROPPED_OUT, DROPPED_OUT, []),  # section 6: it never causes a rehab of who has no part left
}

CRASHED: Cell = [becomes(NodeStatus.CRASHED), *REHAB, run_complete("crashed")]
DIED_RUNNING: Cell = [*REHAB, run_complete("client_died_while_running")]

# event: (node was ready, running, terminal)
RUNNING: dict[NodeEvent, tuple[Cell, Cell, Cell]] = {
    NodeEvent.ACK_RUN: (
        [becomes(NodeStatus.RUNNING), Emit(FeedEvent.RUN_START, NODE)],
        [],
        DIED_RUNNING,
    ),
    NodeEvent.NACK_RUN: (
        [becomes(NodeStatus.FAILED), *REHAB, run_complete("run_nacked")],
        [becomes(NodeStatus.FAILED), *REHAB, run_complete("run_nacked_while_running")],
        DIED_RUNNING,
    ),
    NodeEvent.SUCCEEDED: (
        CRASHED,
        [becomes(NodeStatus.SUCCEEDED), run_complete("success")],
        DIED_RUNNING,
    ),
    NodeEvent.FAILED: (
        CRASHED,
        [becomes(NodeStatus.FAILED), run_complete("failure")],
        DIED_RUNNING,
    ),
    NodeEvent.DOWN: (CRASHED, CRASHED, DIED_RUNNING),
    NodeEvent.ACK_COMMIT: (CRASHED, CRASHED, DIED_RUNNING),
    NodeEvent.NACK_COMMIT: (CRASHED, CRASHED, DIED_RUNNING),
    NodeEvent.ABORTED: (CRASHED, CRASHED, []),
}

each_event = pytest.mark.parametrize("event", NodeEvent)
TERMINAL = sorted(TERMINAL_NODE_STATUSES)


def test_tables_have_a_row_for_every_event() -> None:
    assert set(VOTING) == set(RUNNING) == set(NodeEvent)


@each_event
@pytest.mark.parametrize("was", [NodeStatus.NEW, NodeStatus.READY, *TERMINAL])
def test_while_voting(was: NodeStatus, event: NodeEvent) -> None:
    job = job_at(JobStatus.VOTING, {"undecided": NodeStatus.NEW, NODE: was})
    column = 2 if was in TERMINAL_NODE_STATUSES else (NodeStatus.NEW, NodeStatus.READY).index(was)
    check_cell(job, was, event, VOTING[event][column])


@each_event
@pytest.mark.parametrize("other", [NodeStatus.READY, NodeStatus.RUNNING])
@pytest.mark.parametrize("was", [NodeStatus.READY, NodeStatus.RUNNING, *TERMINAL])
def test_while_running(was: NodeStatus, other: NodeStatus, event: NodeEvent) -> None:
    job = job_at(JobStatus.RUNNING, {NODE: was, "busy": other})
    column = 2 if was in TERMINAL_NODE_STATUSES else (NodeStatus.READY, NodeStatus.RUNNING).index(was)
    check_cell(job, was, event, RUNNING[event][column])


def check_cell(job: Job, was: NodeStatus, event: NodeEvent, expected: Cell) -> None:
    """The effects are those of the cell, and the job has changed as they say, and in nothing else."""
    status, nodes = job.status, dict(job.nodes)
    assert step(job, FromNode(NODE, event)) == expected
    changes = [effect.status for effect in expected if isinstance(effect, NodeChanged)]
    assert job.nodes == nodes | {NODE: changes[0] if changes else was}
    assert job.status is status
    assert job.counts == counted(job)


ANY_EVENT: list[JobEvent] = [
    *(FromNode(NODE, event) for event in NodeEvent),
    Start(frozenset()),
    Start(frozenset({NODE})),
    *(TimerFired(timer) for timer in Timer),
    AbortRequested(),
    TakenUp(0.0),
]


def check_nothing_happens(job: Job, event: JobEvent) -> None:
    status, nodes, counts = job.status, dict(job.nodes), dict(job.counts)
    assert step(job, event) == []
    assert (job.status, job.nodes, job.counts) == (status, nodes, counts)


BEGINNINGS = (Start, AbortRequested, TakenUp)


@pytest.mark.parametrize("event", [event for event in ANY_EVENT if not isinstance(event, BEGINNINGS)], ids=repr)
def test_before_it_begins_a_job_hears_nothing(event: JobEvent) -> None:
    check_nothing_happens(new_job(NODE), event)


@pytest.mark.parametrize("event", ANY_EVENT, ids=repr)
@pytest.mark.parametrize("was", NodeStatus)
@pytest.mark.parametrize("end", sorted(TERMINAL_JOB_STATUSES))
def test_after_its_end_a_job_hears_nothing(end: JobStatus, was: NodeStatus, event: JobEvent) -> None:
    job = job_at(end, {NODE: was})
    assert job.ended
    check_nothing_happens(job, event)


@pytest.mark.parametrize("event", [Start(frozenset()), Start(frozenset({NODE}))], ids=repr)
@pytest.mark.parametrize(
    ("status", "was"),
    [
        (JobStatus.VOTING, NodeStatus.NEW),
        (JobStatus.RUNNING, NodeStatus.READY),
        (JobStatus.RUNNING, NodeStatus.RUNNING),
    ],
)
def test_a_job_begins_once(status: JobStatus, was: NodeStatus, event: Start) -> None:
    job = job_at(status, {NODE: was})
    assert not job.ended
    check_nothing_happens(job, event)


@pytest.mark.parametrize(
    ("status", "was", "late"),
    [
        (JobStatus.VOTING, NodeStatus.NEW, Timer.RUNNING),
        (JobStatus.VOTING, NodeStatus.NEW, Timer.ABORTING),
        (JobStatus.RUNNING, NodeStatus.READY, Timer.VOTING),
        (JobStatus.RUNNING, NodeStatus.RUNNING, Timer.VOTING),
        (JobStatus.RUNNING, NodeStatus.RUNNING, Timer.ABORTING),
    ],
)
def test_another_timer_changes_nothing(status: JobStatus, was: NodeStatus, late: Timer) -> None:
    check_nothing_happens(job_at(status, {NODE: was}), TimerFired(late))


@each_event
@pytest.mark.parametrize("status", [JobStatus.VOTING, JobStatus.RUNNING])
def test_a_node_of_another_job_is_refused(status: JobStatus, event: NodeEvent) -> None:
    nodes = {NODE: NodeStatus.NEW if status is JobStatus.VOTING else NodeStatus.READY}
    job = job_at(status, nodes)
    with pytest.raises(KeyError, match="stranger"):
        step(job, FromNode("stranger", event))
    assert (job.status, job.nodes, job.counts) == (status, nodes, counted(job))


@pytest.mark.parametrize("end", sorted(TERMINAL_JOB_STATUSES))
def test_after_its_end_a_job_does_not_even_refuse(end: JobStatus) -> None:
    check_nothing_happens(job_at(end, {NODE: NodeStatus.SUCCEEDED}), FromNode("stranger", NodeEvent.DOWN))


def test_what_is_not_asked_for() -> None:
    spec = new_job(NODE).spec
    assert (spec.user, spec.dir, spec.env, spec.file, spec.capture) == (None, None, None, None, False)


def test_a_log_shows_neither_the_file_nor_all_the_nodes() -> None:
    spec = evolve(new_job(*(f"node-{i}" for i in range(1000))).spec, file="raw:secret")
    assert "secret" not in repr(spec)
    assert "<1000 nodes>" in repr(spec)
    assert "node-1" not in repr(spec)


def test_names_on_the_wire() -> None:
    assert [str(event) for event in FeedEvent] == [
        "start",
        "quorum_vote",
        "quorum_succeeded",
        "run_start",
        "run_complete",
        "rehab",
        "job_complete",
    ]
