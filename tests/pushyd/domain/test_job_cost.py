"""What one message costs does not depend on the size of the job, counted in instructions rather than seconds."""

from collections.abc import Iterator
from functools import partial
from typing import NoReturn

import pytest
from attrs import evolve

from pushy_protocol.states import JobStatus, NodeStatus
from pushyd.domain.effects import JobEffect, Timer
from pushyd.domain.job import FromNode, Job, Start, TimerFired, step
from pushyd.domain.tables import NodeEvent
from tests.pushyd.domain.counting import instructions
from tests.pushyd.domain.making import job_at, new_job

NODE = "n1"


class Unwalked(dict[str, NodeStatus]):
    """Looks single nodes up, and fails who walks over them (in C code too, which executes no instructions)."""

    def __iter__(self) -> NoReturn:
        raise AssertionError("walked over all nodes")

    def keys(self) -> NoReturn:
        iter(self)

    def values(self) -> NoReturn:
        iter(self)

    def items(self) -> NoReturn:
        iter(self)

    def copy(self) -> NoReturn:
        iter(self)


class UnwalkedNames(tuple[str, ...]):
    """The same for the names of the nodes in the job's specification."""

    __slots__ = ()

    def __iter__(self) -> NoReturn:
        raise AssertionError("walked over all nodes")

    def __contains__(self, name: object) -> NoReturn:
        iter(self)


def big_job(status: JobStatus, size: int, was: NodeStatus) -> Job:
    """A job of `size` nodes that are undecided, and one that `was` so."""
    undecided = NodeStatus.NEW if status is JobStatus.VOTING else NodeStatus.READY
    job = job_at(status, dict.fromkeys((f"other-{i}" for i in range(size - 1)), undecided) | {NODE: was})
    job.nodes = Unwalked(job.nodes)
    job.spec = evolve(job.spec, nodes=UnwalkedNames(job.spec.nodes))
    return job


def cost_of_one(what: NodeEvent, job: Job) -> tuple[int, list[JobEffect]]:
    """The instructions that it takes to tell `job`, and its effects."""
    effects: list[JobEffect] = []
    return instructions(lambda: effects.extend(step(job, FromNode(NODE, what)))), effects


@pytest.mark.parametrize("what", NodeEvent)
@pytest.mark.parametrize(
    ("status", "was"),
    [
        (JobStatus.VOTING, NodeStatus.NEW),
        (JobStatus.VOTING, NodeStatus.READY),
        (JobStatus.VOTING, NodeStatus.NACKED),
        (JobStatus.RUNNING, NodeStatus.READY),
        (JobStatus.RUNNING, NodeStatus.RUNNING),
        (JobStatus.RUNNING, NodeStatus.SUCCEEDED),
    ],
)
def test_a_message_costs_the_same_in_any_job(status: JobStatus, was: NodeStatus, what: NodeEvent) -> None:
    small, large = (cost_of_one(what, big_job(status, size, was)) for size in (10, 10_000))
    assert small == large


@pytest.mark.parametrize("acks", [True, False])
def test_a_whole_job_costs_in_proportion_to_its_size(acks: bool) -> None:
    """The moves that concern all nodes happen once each: equal steps in size are equal steps in cost."""

    def live(size: int) -> Job:
        job = new_job(*(str(i) for i in range(size)))
        step(job, Start(frozenset()))
        if not acks:
            step(job, TimerFired(Timer.VOTING))
        for what in (NodeEvent.ACK_COMMIT, NodeEvent.ACK_RUN, NodeEvent.SUCCEEDED):
            for i in range(size):
                step(job, FromNode(str(i), what))
        return job

    assert live(2).ended
    one, two, three = (instructions(partial(live, size)) for size in (100, 200, 300))
    assert three - two == two - one


def test_the_counter_sees_a_loop() -> None:
    def walk(size: int) -> Iterator[int]:
        yield from (i + 1 for i in range(size))

    assert instructions(lambda: list(walk(1000))) > 2 * instructions(lambda: list(walk(10))) > 0


def test_the_containers_see_a_walk() -> None:
    job = big_job(JobStatus.VOTING, 2, NodeStatus.NEW)
    for walk in (
        lambda: list(job.nodes),
        lambda: sorted(job.nodes.values()),
        lambda: dict(job.nodes),
        lambda: job.nodes | {},
        lambda: list(job.spec.nodes),
    ):
        with pytest.raises(AssertionError, match="walked"):
            walk()
