"""A job of an earlier run of the server: it is what was recorded, and goes on with what is left of its time."""

from collections.abc import Mapping

import pytest

from pushy_protocol.states import TERMINAL_JOB_STATUSES, TERMINAL_NODE_STATUSES, JobStatus, NodeStatus
from pushyd.domain.effects import (
    Emit,
    FeedEvent,
    JobChanged,
    NodeChanged,
    Order,
    Rehab,
    Send,
    StartTimer,
    StopTimer,
    Timer,
)
from pushyd.domain.job import FromNode, Job, Start, TakenUp, TimerFired, step
from pushyd.domain.tables import NodeEvent
from tests.pushyd.domain.making import RUN_TIMEOUT, VOTING_TIMEOUT, counted, new_job

NEW, READY, RUNNING, ABORTED = NodeStatus.NEW, NodeStatus.READY, NodeStatus.RUNNING, NodeStatus.ABORTED
TERMINAL = sorted(TERMINAL_NODE_STATUSES)


def restored(
    status: JobStatus, nodes: Mapping[str, NodeStatus], *, aborting: bool = False, quorum: float | None = None
) -> Job:
    return Job.restored(new_job(*nodes, quorum=quorum).spec, status, nodes, aborting=aborting)


@pytest.mark.parametrize("aborting", [False, True])
@pytest.mark.parametrize("status", JobStatus)
def test_it_is_what_was_recorded(status: JobStatus, aborting: bool) -> None:
    nodes = {node.value: node for node in NodeStatus}
    job = restored(status, nodes, aborting=aborting)
    assert (job.status, job.aborting, job.nodes) == (status, aborting, nodes)
    assert job.spec == new_job(*nodes).spec
    assert job.counts == counted(job)
    assert job.ended == (status in TERMINAL_JOB_STATUSES)


def test_it_does_not_change_what_it_was_made_of() -> None:
    nodes = {"a": NEW}
    job = Job.restored(new_job("a").spec, JobStatus.VOTING, nodes, aborting=False)
    step(job, FromNode("a", NodeEvent.NACK_COMMIT))
    assert nodes == {"a": NEW}


def test_one_that_had_not_begun_begins() -> None:
    """Its nodes are away, and each is asked again when it is back."""
    job = restored(JobStatus.NEW, {"a": NEW, "b": NEW})
    begun = step(new_job("a", "b"), Start(frozenset()))
    assert step(job, TakenUp(1000.0)) == begun
    assert StartTimer(Timer.VOTING, VOTING_TIMEOUT) in begun
    assert Send(("a", "b"), Order.COMMIT) in begun
    assert job.status is JobStatus.VOTING


@pytest.mark.parametrize(
    ("elapsed", "left"),
    [(0.0, VOTING_TIMEOUT), (0.25, VOTING_TIMEOUT - 0.25), (VOTING_TIMEOUT, 0.0), (1e9, 0.0)],
)
def test_one_that_votes_has_what_is_left_of_its_time(elapsed: float, left: float) -> None:
    job = restored(JobStatus.VOTING, {"a": NEW, "b": READY, "c": NodeStatus.NACKED})
    assert step(job, TakenUp(elapsed)) == [StartTimer(Timer.VOTING, left)]
    assert (job.status, job.nodes) == (JobStatus.VOTING, {"a": NEW, "b": READY, "c": NodeStatus.NACKED})


@pytest.mark.parametrize(
    ("elapsed", "left"), [(0.0, RUN_TIMEOUT), (0.25, RUN_TIMEOUT - 0.25), (RUN_TIMEOUT, 0.0), (1e9, 0.0)]
)
@pytest.mark.parametrize("active", [READY, RUNNING])
def test_one_that_runs_has_what_is_left_of_its_time(active: NodeStatus, elapsed: float, left: float) -> None:
    job = restored(JobStatus.RUNNING, {"a": active, "b": NodeStatus.SUCCEEDED})
    assert step(job, TakenUp(elapsed)) == [StartTimer(Timer.RUNNING, left)]
    assert (job.status, job.nodes) == (JobStatus.RUNNING, {"a": active, "b": NodeStatus.SUCCEEDED})


@pytest.mark.parametrize("status", [JobStatus.VOTING, JobStatus.RUNNING])
def test_one_that_is_being_aborted_tells_its_nodes_again(status: JobStatus) -> None:
    nodes = {"a": READY, "b": ABORTED, "c": RUNNING}
    job = restored(status, nodes, aborting=True)
    waits = StartTimer(Timer.ABORTING, VOTING_TIMEOUT)
    assert step(job, TakenUp(1e9)) == [waits, Rehab("a"), Rehab("c")]
    assert (job.status, job.aborting, job.nodes) == (status, True, nodes)
    step(job, FromNode("a", NodeEvent.ABORTED))
    assert not job.ended
    step(job, FromNode("c", NodeEvent.DOWN))
    assert job.status is JobStatus.ABORTED


@pytest.mark.parametrize("end", sorted(TERMINAL_JOB_STATUSES))
def test_one_that_has_ended_has_ended(end: JobStatus) -> None:
    assert step(restored(end, {"a": NodeStatus.SUCCEEDED}), TakenUp(0.0)) == []


# What no server leaves behind, for a status and what follows from it are kept together; it ends all the same.


@pytest.mark.parametrize("was", TERMINAL)
@pytest.mark.parametrize(
    ("status", "aborting", "end"),
    [
        (JobStatus.VOTING, False, JobStatus.QUORUM_FAILED),
        (JobStatus.RUNNING, False, JobStatus.COMPLETE),
        (JobStatus.NEW, True, JobStatus.ABORTED),
        (JobStatus.VOTING, True, JobStatus.ABORTED),
        (JobStatus.RUNNING, True, JobStatus.ABORTED),
    ],
)
def test_one_whose_nodes_have_all_ended_ends(
    status: JobStatus, aborting: bool, end: JobStatus, was: NodeStatus
) -> None:
    job = restored(status, {"a": was}, aborting=aborting)
    timer, *rest = step(job, TakenUp(0.0))
    assert isinstance(timer, StartTimer)
    assert rest == [StopTimer(), JobChanged(end), Emit(FeedEvent.JOB_COMPLETE, status=end.value)]
    assert job.nodes == {"a": was}


def test_one_in_which_all_have_voted_runs() -> None:
    job = restored(JobStatus.VOTING, {"a": READY, "b": NodeStatus.NACKED}, quorum=1)
    assert step(job, TakenUp(0.0)) == [
        StartTimer(Timer.VOTING, VOTING_TIMEOUT),
        Emit(FeedEvent.QUORUM_SUCCEEDED),
        JobChanged(JobStatus.RUNNING),
        StartTimer(Timer.RUNNING, RUN_TIMEOUT),
        Send(("a",), Order.RUN),
    ]


def test_no_time_left_is_a_timeout_in_its_turn() -> None:
    job = restored(JobStatus.RUNNING, {"a": RUNNING})
    assert step(job, TakenUp(RUN_TIMEOUT + 1)) == [StartTimer(Timer.RUNNING, 0.0)]
    assert NodeChanged("a", NodeStatus.TIMED_OUT) in step(job, TimerFired(Timer.RUNNING))
    assert job.status is JobStatus.TIMED_OUT
