from collections import deque
from collections.abc import Callable, Coroutine
from itertools import islice
from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from pushy_cli.errors import CliError, Garbage, NotOffered, Refused, ServerFault, Unreachable
from pushy_cli.following import PATIENCE, follow, pace
from pushy_cli.standing import Standing
from pushy_cli.watching import exit_status
from pushy_protocol.api import Job
from pushy_protocol.states import NodeStatus


def job(status: str, **nodes: list[str]) -> Job:
    return Job(id="a" * 32, command="", status=status, run_timeout=1, created_at="", updated_at="", nodes=nodes or None)


@define
class Source:
    """Gives the next of its answers; the last one again and again."""

    answers: deque[Job | CliError]
    connections: deque[list[bytes] | CliError] = field(factory=deque)
    looks: int = 0
    with_output: bool = False
    asked_after: list[str | None] = field(factory=list)

    async def job(self, job_id: str) -> Job:
        self.looks += 1
        answer = self.answers.popleft() if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, CliError):
            raise answer
        return await succeed(answer)

    async def feed(
        self,
        job_id: str,
        take: Callable[[bytes], None],
        *,
        last_event_id: str | None,
        silence: float,
        with_output: bool = False,
    ) -> None:
        self.with_output = with_output
        self.asked_after.append(last_event_id)
        connection = self.connections.popleft() if self.connections else NotOffered("no feed", "")
        if isinstance(connection, CliError):
            raise connection
        for chunk in connection:
            take(chunk)


@define
class Recorder:
    """Notes what it is told."""

    told: list[str] = field(factory=list)
    counts: list[dict[str, int]] = field(factory=list)
    answers: int = 0

    def show(self, standing: Standing) -> None:
        self.told.append(standing.status)
        self.counts.append(dict(standing.counts))

    def answered(self) -> None:
        self.answers += 1

    def trouble(self, error: CliError) -> None:
        self.told.append(type(error).__name__)


@define
class Output:
    """Notes what it is given."""

    told: list[Any] = field(factory=list)

    def take(self, node: str, channel: str, offset: int, data: bytes) -> None:
        self.told.append((node, channel, offset, data))

    def node_ended(self, node: str) -> None:
        self.told.append(node)


def start(
    source: Source, clock: Clock, recorder: Recorder, interval: float | None = 1.0, output: Output | None = None
) -> Deferred[Job]:
    following: Coroutine[Any, Any, Job] = follow(
        source, "a" * 32, clock=clock, progress=recorder, interval=interval, output=output
    )
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
        assert recorder.told == ["voting", "running", "complete"]
        assert not clock.getDelayedCalls()

    def test_an_absent_server_is_waited_for(self) -> None:
        away: list[Job | CliError] = [Unreachable("away", ""), ServerFault("busy", "")] * 50
        source = Source(deque([job("running"), *away, job("running"), *away, job("complete")]))
        clock, recorder = Clock(), Recorder()
        following = start(source, clock, recorder, PATIENCE / 110)
        clock.pump([PATIENCE / 110] * 202)
        assert self.successResultOf(following).status == "complete"
        assert recorder.told.count("Unreachable") == 100

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


def event(number: int, name: str, data: str = "{}") -> bytes:
    return f"event: {name}\nid: job-{number}\ndata: {data}\n\n".encode()


START = event(1, "start", '{"node_count": 3}')
VOTES = b"".join(event(n, "quorum_vote", f'{{"node": "n{n}", "status": "success"}}') for n in (2, 3))
ENDED = event(9, "job_complete", '{"status": "complete"}')
NOTHING: deque[Job | CliError] = deque([job("complete")])


class FeedTests(TestCase):
    def follow(
        self,
        *connections: list[bytes] | CliError,
        answers: deque[Job | CliError] = NOTHING,
        output: Output | None = None,
    ) -> None:
        self.source = Source(deque(answers), connections=deque(connections))
        self.clock, self.recorder = Clock(), Recorder()
        self.following = start(self.source, self.clock, self.recorder, None, output)

    def test_events_are_added_up_and_the_job_is_looked_at_once(self) -> None:
        self.follow([START[:9], START[9:] + VOTES, b": keep-alive\n\n", ENDED])
        assert self.successResultOf(self.following).status == "complete"
        assert self.source.looks == 1
        assert self.recorder.counts[:3] == [{"new": 3}, {"ready": 1, "new": 2}, {"ready": 2, "new": 1}]
        assert self.recorder.told == ["voting", "voting", "voting", "complete", "complete"]

    def test_it_goes_on_after_the_last_event(self) -> None:
        self.follow([START], Unreachable("away", ""), [VOTES], [ENDED])
        self.clock.pump([1, 1, 1])
        assert self.successResultOf(self.following).status == "complete"
        assert self.source.asked_after == [None, "job-1", "job-1", "job-3"]
        assert "Unreachable" in self.recorder.told
        assert self.recorder.counts[-2] == {"ready": 2, "new": 1}
        assert self.recorder.answers == 3

    def test_a_server_that_forgot_where_we_were_begins_anew(self) -> None:
        self.follow([START + VOTES], [START + VOTES], [event(1, "summary")])
        self.clock.pump([1, 1])
        assert self.successResultOf(self.following).status == "complete"
        assert self.recorder.counts[-2] == {"ready": 2, "new": 1}

    def test_without_a_feed_the_job_is_looked_at(self) -> None:
        bad: list[list[bytes] | CliError] = [[b"data: no json\n\n"], [b"data: 1\n\n"], [b"\xff\n\ndata: [\n\n"]]
        for connection in (NotOffered("", ""), Unreachable("", ""), Refused("", ""), *bad):
            self.follow(connection, answers=deque([job("running"), job("complete")]))
            self.clock.advance(1)
            assert self.successResultOf(self.following).status == "complete"
            assert len(self.source.asked_after) == 1

    def test_output_is_passed_on(self) -> None:
        output = Output()
        piece = '{"node": "n2", "channel": "stdout", "offset": 3, "data": "aGkK", "timestamp": ""}'
        gone = event(6, "run_complete", '{"node": "n2", "status": "success"}')
        self.follow(
            [START + VOTES, event(5, "output", piece)], [gone + ENDED + event(10, "output", piece)], output=output
        )
        self.clock.pump([1])
        assert self.successResultOf(self.following).status == "complete"
        assert self.source.with_output
        assert self.source.asked_after == [None, "job-5"]
        assert output.told == [("n2", "stdout", 3, b"hi\n"), "n2", ("n2", "stdout", 3, b"hi\n")]

    def test_output_that_is_none(self) -> None:
        for piece in ('{"node": "n2"}', '{"node": "", "channel": "x", "offset": 1, "data": ""}', "[]", '"'):
            self.follow([START, event(5, "output", piece)], output=Output())
            assert self.successResultOf(self.following).status == "complete"
            assert len(self.source.asked_after) == 1

    def test_patience_ends(self) -> None:
        self.follow([START], *[Unreachable("away", "")] * 1000)
        self.clock.pump([1] * int(PATIENCE))
        self.assertNoResult(self.following)
        self.clock.pump([1] * 3)
        self.failureResultOf(self.following, Unreachable)
        assert not self.clock.getDelayedCalls()


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
