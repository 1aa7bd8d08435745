"""An abort: its table row by row, what is done when somebody wants it, and what ends it."""

import pytest

from pushy_protocol.states import TERMINAL_NODE_STATUSES, JobStatus, NodeStatus
from pushyd.domain.effects import (
    AbortKept,
    Emit,
    FeedEvent,
    JobChanged,
    JobEffect,
    NodeChanged,
    Rehab,
    StartTimer,
    StopTimer,
    Timer,
)
from pushyd.domain.job import AbortRequested, FromNode, Start, TimerFired, step
from pushyd.domain.tables import NodeEvent
from tests.pushyd.domain.making import VOTING_TIMEOUT, counted, job_at, new_job

NODE = "n1"
NEW, READY, RUNNING = NodeStatus.NEW, NodeStatus.READY, NodeStatus.RUNNING
ABORTED, CRASHED = NodeStatus.ABORTED, NodeStatus.CRASHED
Effects = list[JobEffect]

TO_REHAB: Effects = [Rehab(NODE), Emit(FeedEvent.REHAB, NODE)]
WAIT = StartTimer(Timer.ABORTING, VOTING_TIMEOUT)
END: Effects = [
    StopTimer(),
    JobChanged(JobStatus.ABORTED),
    Emit(FeedEvent.JOB_COMPLETE, status="aborted"),
]
TERMINAL = sorted(TERMINAL_NODE_STATUSES)


def becomes(status: NodeStatus, report: str) -> Effects:
    """What is told is told by the name that the job's status has for it."""
    return [NodeChanged(NODE, status), Emit(FeedEvent.RUN_COMPLETE, NODE, report)]


STARTS: Effects = [NodeChanged(NODE, RUNNING), Emit(FeedEvent.RUN_START, NODE)]
CONFIRMS = becomes(ABORTED, "aborted")
SUCCEEDS, FAILS = becomes(NodeStatus.SUCCEEDED, "success"), becomes(NodeStatus.FAILED, "failure")

# event: (node was ready, running, terminal); none is new
WHILE_ABORTING: dict[NodeEvent, tuple[Effects, Effects, Effects]] = {
    NodeEvent.ACK_COMMIT: ([], [], TO_REHAB),
    NodeEvent.NACK_COMMIT: ([], [], []),
    NodeEvent.ACK_RUN: (STARTS, [], []),
    NodeEvent.NACK_RUN: (CONFIRMS, [], []),
    NodeEvent.SUCCEEDED: ([], SUCCEEDS, []),
    NodeEvent.FAILED: ([], FAILS, []),
    NodeEvent.ABORTED: (CONFIRMS, CONFIRMS, []),
    NodeEvent.DOWN: (CONFIRMS, CONFIRMS, []),
}


def test_the_table_has_a_row_for_every_event() -> None:
    assert set(WHILE_ABORTING) == set(NodeEvent)


@pytest.mark.parametrize("event", NodeEvent)
@pytest.mark.parametrize("status", [JobStatus.VOTING, JobStatus.RUNNING])
@pytest.mark.parametrize("other", [READY, RUNNING])
@pytest.mark.parametrize("was", [READY, RUNNING, *TERMINAL])
def test_while_aborting(was: NodeStatus, other: NodeStatus, status: JobStatus, event: NodeEvent) -> None:
    """The job waits for the other node."""
    job = job_at(status, {NODE: was, "busy": other}, aborting=True)
    expected = WHILE_ABORTING[event][2 if was in TERMINAL_NODE_STATUSES else (READY, RUNNING).index(was)]
    if status is JobStatus.VOTING:
        expected = [
            Emit(FeedEvent.QUORUM_VOTE, NODE, effect.status)
            if isinstance(effect, Emit) and effect.event is FeedEvent.RUN_COMPLETE
            else effect
            for effect in expected
        ]
    assert step(job, FromNode(NODE, event)) == expected
    changes = [effect.status for effect in expected if isinstance(effect, NodeChanged)]
    assert job.nodes == {NODE: changes[0] if changes else was, "busy": other}
    assert (job.status, job.aborting) == (status, True)
    assert job.counts == counted(job)


@pytest.mark.parametrize("event", NodeEvent)
@pytest.mark.parametrize("was", [READY, RUNNING])
def test_whatever_ends_the_last_node_ends_the_job(was: NodeStatus, event: NodeEvent) -> None:
    job = job_at(JobStatus.RUNNING, {"a": NodeStatus.FAILED, NODE: was}, aborting=True)
    expected = WHILE_ABORTING[event][(READY, RUNNING).index(was)]
    ends = expected not in ([], STARTS)
    assert step(job, FromNode(NODE, event)) == [*expected, *(END if ends else [])]
    assert job.ended == ends


# When it is wanted


def test_of_a_job_that_votes_those_who_answered_are_told_and_the_others_are_out() -> None:
    nodes = {"a": NEW, "b": READY, "c": NodeStatus.NACKED, "d": NEW}
    job = job_at(JobStatus.VOTING, nodes)
    assert step(job, AbortRequested()) == [
        AbortKept(),
        NodeChanged("a", ABORTED),
        NodeChanged("d", ABORTED),
        Rehab("b"),
        WAIT,
    ]
    assert job.nodes == nodes | {"a": ABORTED, "d": ABORTED}
    assert (job.status, job.aborting) == (JobStatus.VOTING, True)
    assert job.counts == counted(job)


def test_of_a_job_that_runs_all_who_have_not_ended_are_told() -> None:
    nodes = {"a": RUNNING, "b": NodeStatus.SUCCEEDED, "c": READY, "d": NodeStatus.UNAVAILABLE}
    job = job_at(JobStatus.RUNNING, nodes)
    assert step(job, AbortRequested()) == [AbortKept(), Rehab("a"), Rehab("c"), WAIT]
    assert job.nodes == nodes
    assert (job.status, job.aborting) == (JobStatus.RUNNING, True)


@pytest.mark.parametrize("status", [JobStatus.NEW, JobStatus.VOTING])
def test_where_nobody_has_answered_it_ends_at_once(status: JobStatus) -> None:
    job = job_at(status, {"a": NEW, "b": NEW})
    gone: Effects = [NodeChanged("a", ABORTED), NodeChanged("b", ABORTED)]
    assert step(job, AbortRequested()) == [AbortKept(), *gone, WAIT, *END]
    assert job.status is JobStatus.ABORTED


@pytest.mark.parametrize("was", [READY, RUNNING])
@pytest.mark.parametrize("status", [JobStatus.VOTING, JobStatus.RUNNING])
def test_a_second_time_it_is_nothing_new(status: JobStatus, was: NodeStatus) -> None:
    job = job_at(status, {NODE: was}, aborting=True)
    assert step(job, AbortRequested()) == []
    assert step(job, Start(frozenset())) == []
    assert (job.status, job.nodes) == (status, {NODE: was})


def test_who_commits_only_now_is_told_too() -> None:
    job = new_job("a", "late")
    for event in (Start(frozenset()), FromNode("a", NodeEvent.ACK_COMMIT), AbortRequested()):
        step(job, event)
    assert step(job, FromNode("late", NodeEvent.ACK_COMMIT)) == [Rehab("late"), Emit(FeedEvent.REHAB, "late")]
    assert not job.ended


# Its time


@pytest.mark.parametrize("timer", [Timer.VOTING, Timer.RUNNING])
@pytest.mark.parametrize("status", [JobStatus.VOTING, JobStatus.RUNNING])
def test_the_times_of_the_job_count_no_more(status: JobStatus, timer: Timer) -> None:
    job = job_at(status, {NODE: READY}, aborting=True)
    assert step(job, TimerFired(timer)) == []
    assert (job.status, job.nodes) == (status, {NODE: READY})


def test_who_never_confirms_has_crashed() -> None:
    job = job_at(JobStatus.RUNNING, {"a": RUNNING, "b": ABORTED, "c": READY}, aborting=True)
    effects: Effects = []
    for node in ("a", "c"):
        effects += [NodeChanged(node, CRASHED), Rehab(node), Emit(FeedEvent.REHAB, node)]
        effects += [Emit(FeedEvent.RUN_COMPLETE, node, "crashed")]
    assert step(job, TimerFired(Timer.ABORTING)) == [*effects, *END]
    assert job.nodes == {"a": CRASHED, "b": ABORTED, "c": CRASHED}
    assert job.counts == counted(job)
