from collections import deque
from collections.abc import Coroutine
from itertools import islice
from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from pushy_cli.errors import CliError, Garbage, ServerFault, Unreachable
from pushy_cli.following import PATIENCE, follow, pace
from pushy_cli.jobs import exit_status
from pushy_protocol.api import Job
from pushy_protocol.states import NodeStatus


def job(status: str, **nodes: list[str]) -> Job:
    return Job(id="a" * 32, command="", status=status, run_timeout=1, created_at="", updated_at="", nodes=nodes or None)


@define
class Source:
    """Gives the next of its answers; the last one again and again."""

    answers: deque[Job | CliError]
    looks: int = 0

    async def job(self, job_id: str) -> Job:
        self.looks += 1
        answer = self.answers.popleft() if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, CliError):
            raise answer
        return await succeed(answer)


@define
class Recorder:
    """Notes what it is told."""

    told: list[tuple[str, float]] = field(factory=list)

    def show(self, job: Job, elapsed: float) -> None:
        self.told.append((job.status, elapsed))

    def trouble(self, error: ServerFault | Unreachable) -> None:
        self.told.append((type(error).__name__, -1))


def start(source: Source, clock: Clock, recorder: Recorder, interval: float | None = 1.0) -> Deferred[Job]:
    following: Coroutine[Any, Any, Job] = follow(source, "a" * 32, clock=clock, waits=pace(interval), progress=recorder)
    return Deferred.fromCoroutine(following)


class FollowTests(TestCase):
    def test_to_the_end(self) -> None:
        source = Source(deque([job("voting"), job("running"), job("complete")]))
        clock, recorder = Clock(), Recorder()
        following = start(source, clock, recorder)
        self.assertNoResult(following)
        clock.advance(1)
        clock.advance(1)
        assert self.successResultOf(following).status == "complete"
        assert recorder.told == [("voting", 0), ("running", 1), ("complete", 2)]
        assert not clock.getDelayedCalls()

    def test_an_absent_server_is_waited_for(self) -> None:
        away: list[Job | CliError] = [Unreachable("away", ""), ServerFault("busy", "")] * 50
        source = Source(deque([job("running"), *away, job("running"), *away, job("complete")]))
        clock, recorder = Clock(), Recorder()
        following = start(source, clock, recorder, PATIENCE / 110)
        clock.pump([PATIENCE / 110] * 202)
        assert self.successResultOf(following).status == "complete"
        assert [told for told, _ in recorder.told].count("Unreachable") == 100

    def test_patience_ends(self) -> None:
        source = Source(deque([job("running"), Unreachable("away", "")]))
        clock = Clock()
        following = start(source, clock, Recorder(), 10)
        clock.pump([10] * int(PATIENCE / 10))
        self.assertNoResult(following)
        clock.advance(10)
        self.failureResultOf(following, Unreachable)

    def test_other_errors_are_not_waited_for(self) -> None:
        following = start(Source(deque([Garbage("what", "")])), Clock(), Recorder())
        self.failureResultOf(following, Garbage)

    def test_cancelled(self) -> None:
        clock = Clock()
        following = start(Source(deque([job("running")])), clock, Recorder())
        following.cancel()
        self.failureResultOf(following, CancelledError)
        assert not clock.getDelayedCalls()


def test_pace() -> None:
    assert list(islice(pace(2.0), 3)) == [2.0, 2.0, 2.0]
    waits = list(islice(pace(None), 20))
    assert waits[0] == 0.3
    assert waits == sorted(waits)
    assert waits[-1] == 1.0


@pytest.mark.parametrize(
    ("ended", "status"),
    [
        (job("complete", succeeded=["a", "b"]), 0),
        (job("complete", succeeded=["a"], failed=[]), 0),
        (job("complete", succeeded=["a"], failed=["b"]), 1),
        (job("complete", failed=["b"]), 1),
        (job("complete", succeeded=["a"], unavailable=["b"]), 1),
        (job("complete", succeeded=["a"], nacked=["b"]), 1),
        (job("complete", crashed=["a"]), 1),
        (job("complete", unavailable=["a"], nacked=["b"]), 3),
        (job("complete", was_ready=["a"]), 3),
        (job("complete"), 3),
        (job("quorum_failed", was_ready=["a"]), 3),
        (job("timed_out", timed_out=["a"]), 4),
        (job("aborted", aborted=["a"]), 5),
        (job("crashed", crashed=["a"]), 1),
    ],
)
def test_exit_status(ended: Job, status: int) -> None:
    assert exit_status(ended) == status


@pytest.mark.parametrize("status", set(NodeStatus) - {NodeStatus.SUCCEEDED})
def test_only_success_everywhere_is_success(status: NodeStatus) -> None:
    assert exit_status(job("complete", succeeded=["a"], **{str(status): ["b"]})) == 1
