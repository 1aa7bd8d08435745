"""The moves of section 7 that concern all nodes of a job: its start, the end of the voting, the timeouts, its end."""

import pytest

from pushy_protocol.states import JobStatus, NodeStatus
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
from pushyd.domain.job import FromNode, Job, Start, TimerFired, step
from pushyd.domain.tables import NodeEvent
from tests.pushyd.domain.making import RUN_TIMEOUT, VOTING_TIMEOUT, counted, job_at, new_job

Effects = list[JobEffect]

NEW, READY, RUNNING = NodeStatus.NEW, NodeStatus.READY, NodeStatus.RUNNING
TO_VOTING: Effects = [
    Emit(FeedEvent.START),
    JobChanged(JobStatus.VOTING),
    StartTimer(Timer.VOTING, VOTING_TIMEOUT),
]
TO_RUNNING: Effects = [
    Emit(FeedEvent.QUORUM_SUCCEEDED),
    JobChanged(JobStatus.RUNNING),
    StartTimer(Timer.RUNNING, RUN_TIMEOUT),
]


def end(status: JobStatus) -> Effects:
    return [StopTimer(), JobChanged(status), Emit(FeedEvent.JOB_COMPLETE, status=status.value)]


def down(node: str) -> Effects:
    """A node that is unavailable when the voting begins, or goes down while it lasts."""
    return [
        NodeChanged(node, NodeStatus.UNAVAILABLE),
        Emit(FeedEvent.QUORUM_VOTE, node, "down"),
        Rehab(node),
        Emit(FeedEvent.REHAB, node),
    ]


def quietly(status: NodeStatus, *nodes: str) -> Effects:
    """What a timeout or a failed quorum does to `nodes`; no feed event speaks of it."""
    return [effect for node in nodes for effect in (NodeChanged(node, status), Rehab(node))]


def begin(job: Job, *unavailable: str) -> Effects:
    return step(job, Start(frozenset(unavailable)))


def hear(job: Job, node: str, what: NodeEvent) -> Effects:
    return step(job, FromNode(node, what))


# The start


def test_start_asks_every_node() -> None:
    job = new_job("b", "a")
    assert begin(job) == [*TO_VOTING, Send(("b", "a"), Order.COMMIT)]
    assert (job.status, job.nodes) == (JobStatus.VOTING, {"a": NEW, "b": NEW})


def test_start_asks_who_is_available_and_counts_the_others_as_down() -> None:
    job = new_job("a", "b", "c", "d", quorum=1)
    assert begin(job, "d", "b", "of no job") == [*TO_VOTING, Send(("a", "c"), Order.COMMIT), *down("b"), *down("d")]
    unavailable = NodeStatus.UNAVAILABLE
    assert job.nodes == {"a": NEW, "b": unavailable, "c": NEW, "d": unavailable}
    assert job.counts == counted(job)


def test_start_waits_for_word_of_those_that_are_absent() -> None:
    job = new_job("a", "b", "c")
    start = Start(frozenset({"b"}), absent=frozenset({"a", "of no job"}))
    assert step(job, start) == [*TO_VOTING, Send(("c",), Order.COMMIT), *down("b")]
    assert job.nodes == {"a": NEW, "b": NodeStatus.UNAVAILABLE, "c": NEW}
    assert hear(job, "a", NodeEvent.DOWN) == down("a")


def test_start_with_nobody_there_fails_the_quorum_at_once() -> None:
    job = new_job("a", "b")
    assert begin(job, "a", "b") == [*TO_VOTING, *down("a"), *down("b"), *end(JobStatus.QUORUM_FAILED)]
    assert job.ended


def test_start_with_nobody_there_and_a_quorum_of_none_runs_and_completes_at_once() -> None:
    job = new_job("a", quorum=0)
    assert begin(job, "a") == [*TO_VOTING, *down("a"), *TO_RUNNING, *end(JobStatus.COMPLETE)]
    assert job.status is JobStatus.COMPLETE


# The end of the voting


@pytest.mark.parametrize("quorum", [0, 0.5, 1, 1.0, 1.5, 2, 2.5, 3, 3.0001, 4, 1e300])
@pytest.mark.parametrize("acks", range(4))
def test_quorum(acks: int, quorum: float) -> None:
    """Three nodes vote, in another order than that of the job; `acks` of them say yes."""
    job = new_job("a", "b", "c", quorum=quorum)
    begin(job)
    *early, last = voters = ["c", "a", "b"]
    votes = [NodeEvent.ACK_COMMIT] * acks + [NodeEvent.NACK_COMMIT] * (3 - acks)
    for node, what in zip(early, votes, strict=False):
        hear(job, node, what)
        assert job.status is JobStatus.VOTING
    _, _, *rest = hear(job, last, votes[-1])  # its own change and vote
    ready = tuple(sorted(voters[:acks]))
    if acks < quorum:
        assert rest == [*quietly(NodeStatus.WAS_READY, *ready), *end(JobStatus.QUORUM_FAILED)]
        assert job.counts[NodeStatus.WAS_READY] == acks
    elif ready:
        assert rest == [*TO_RUNNING, Send(ready, Order.RUN)]
        assert job.status is JobStatus.RUNNING
    else:
        assert rest == [*TO_RUNNING, *end(JobStatus.COMPLETE)]
    assert job.counts == counted(job)


@pytest.mark.parametrize("what", NodeEvent)
def test_whatever_decides_the_last_node_ends_the_voting(what: NodeEvent) -> None:
    job = job_at(JobStatus.VOTING, {"a": READY, "last": NEW}, quorum=1)
    effects = hear(job, "last", what)
    to_run = ("a", "last") if what is NodeEvent.ACK_COMMIT else ("a",)
    assert effects[-4:] == [*TO_RUNNING, Send(to_run, Order.RUN)]


def test_a_ready_node_that_is_lost_counts_no_more() -> None:
    job = job_at(JobStatus.VOTING, {"a": READY, "b": READY, "last": NEW}, quorum=2)
    assert hear(job, "a", NodeEvent.DOWN) == down("a")
    assert hear(job, "last", NodeEvent.NACK_COMMIT)[2:] == [
        *quietly(NodeStatus.WAS_READY, "b"),
        *end(JobStatus.QUORUM_FAILED),
    ]


# The voting timeout


def silent_votes(*nodes: str) -> Effects:
    return [Emit(FeedEvent.QUORUM_VOTE, node, "voting_timeout") for node in nodes]


def test_voting_timeout_with_a_quorum() -> None:
    job = job_at(JobStatus.VOTING, {"a": NEW, "b": READY, "c": NodeStatus.NACKED, "d": NEW}, quorum=1)
    effects = step(job, TimerFired(Timer.VOTING))
    assert feed(effects) == [*silent_votes("a", "d"), Emit(FeedEvent.QUORUM_SUCCEEDED)]
    assert [effect for effect in effects if not isinstance(effect, Emit)] == [
        *quietly(NodeStatus.UNAVAILABLE, "a", "d"),
        *TO_RUNNING[1:],
        Send(("b",), Order.RUN),
    ]
    assert job.status is JobStatus.RUNNING


def test_voting_timeout_without_a_quorum() -> None:
    job = job_at(JobStatus.VOTING, {"a": NEW, "b": READY, "c": NodeStatus.NACKED})
    effects = step(job, TimerFired(Timer.VOTING))
    assert effects[-5:] == [*quietly(NodeStatus.WAS_READY, "b"), *end(JobStatus.QUORUM_FAILED)]
    assert feed(effects) == [*silent_votes("a"), *end(JobStatus.QUORUM_FAILED)[2:]]
    assert job.nodes == {"a": NodeStatus.UNAVAILABLE, "b": NodeStatus.WAS_READY, "c": NodeStatus.NACKED}


def test_voting_timeout_with_nobody_ready_and_a_quorum_of_none() -> None:
    job = job_at(JobStatus.VOTING, {"a": NEW}, quorum=0)
    assert step(job, TimerFired(Timer.VOTING))[-6:] == [*TO_RUNNING, *end(JobStatus.COMPLETE)]


def feed(effects: Effects) -> Effects:
    return [effect for effect in effects if isinstance(effect, Emit)]


# The end of the run


@pytest.mark.parametrize("was", [READY, RUNNING])
@pytest.mark.parametrize("what", NodeEvent)
def test_whatever_ends_the_last_node_completes_the_job(was: NodeStatus, what: NodeEvent) -> None:
    job = job_at(JobStatus.RUNNING, {"a": NodeStatus.FAILED, "last": was, "z": NodeStatus.UNAVAILABLE})
    effects = hear(job, "last", what)
    if what is NodeEvent.ACK_RUN:
        assert job.status is JobStatus.RUNNING
    else:
        assert effects[-3:] == end(JobStatus.COMPLETE)
        assert job.status is JobStatus.COMPLETE


def test_run_timeout() -> None:
    job = job_at(JobStatus.RUNNING, {"a": READY, "b": NodeStatus.SUCCEEDED, "c": RUNNING, "d": NodeStatus.NACKED})
    assert step(job, TimerFired(Timer.RUNNING)) == [
        *quietly(NodeStatus.TIMED_OUT, "a", "c"),
        *end(JobStatus.TIMED_OUT),
    ]
    timed_out = NodeStatus.TIMED_OUT
    assert job.nodes == {"a": timed_out, "b": NodeStatus.SUCCEEDED, "c": timed_out, "d": NodeStatus.NACKED}
    assert job.counts == counted(job)


def test_a_whole_life() -> None:
    job = new_job("a", "b")
    effects = begin(job)
    for node, what in [
        ("b", NodeEvent.ACK_COMMIT),
        ("a", NodeEvent.ACK_COMMIT),
        ("a", NodeEvent.ACK_RUN),
        ("a", NodeEvent.SUCCEEDED),
        ("b", NodeEvent.ACK_RUN),
        ("b", NodeEvent.FAILED),
    ]:
        effects += hear(job, node, what)
    assert effects == [
        *TO_VOTING,
        Send(("a", "b"), Order.COMMIT),
        NodeChanged("b", READY),
        Emit(FeedEvent.QUORUM_VOTE, "b", "success"),
        NodeChanged("a", READY),
        Emit(FeedEvent.QUORUM_VOTE, "a", "success"),
        *TO_RUNNING,
        Send(("a", "b"), Order.RUN),
        NodeChanged("a", RUNNING),
        Emit(FeedEvent.RUN_START, "a"),
        NodeChanged("a", NodeStatus.SUCCEEDED),
        Emit(FeedEvent.RUN_COMPLETE, "a", "success"),
        NodeChanged("b", RUNNING),
        Emit(FeedEvent.RUN_START, "b"),
        NodeChanged("b", NodeStatus.FAILED),
        Emit(FeedEvent.RUN_COMPLETE, "b", "failure"),
        *end(JobStatus.COMPLETE),
    ]
