"""The loop that no fault ends, and the coroutines that nobody waits for."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pushyd.background import background, shielded
from pushyd.clock import Periodic
from tests.pushyd.doubles import failure_of, texts


class PeriodicTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.calls: list[float] = []
        self.periodic = Periodic(lambda: self.calls.append(self.clock.seconds()), 2.0, self.clock)

    def test_it_calls_every_interval_from_the_first_on(self) -> None:
        self.periodic.start()
        self.clock.pump([1.0] * 7)
        assert self.calls == [2.0, 4.0, 6.0]

    def test_what_came_too_late_is_called_once(self) -> None:
        self.periodic.start()
        self.clock.advance(7)
        self.clock.advance(1)
        assert self.calls == [7.0, 8.0]

    def test_a_call_that_fails_is_logged_and_made_again(self) -> None:
        def fail() -> None:
            self.calls.append(self.clock.seconds())
            raise LookupError

        periodic = Periodic(fail, 2.0, self.clock)
        periodic.start()
        with capturedLogs() as logged:
            self.clock.pump([2.0] * 3)
        assert self.calls == [2.0, 4.0, 6.0]
        assert texts(logged, "critical") == ["A periodic task failed; it goes on in 2.0 s"] * 3
        assert len(self.flushLoggedErrors(LookupError)) == 3

    def test_a_stop_ends_it_and_a_second_one_does_nothing(self) -> None:
        self.periodic.start()
        self.clock.advance(2)
        self.periodic.stop()
        self.periodic.stop()
        self.clock.pump([2.0] * 3)
        assert self.calls == [2.0]
        assert self.clock.getDelayedCalls() == []

    def test_one_that_was_not_started_can_be_stopped(self) -> None:
        self.periodic.stop()
        self.clock.pump([2.0] * 3)
        assert self.calls == []

    def test_it_can_stop_itself(self) -> None:
        def once() -> None:
            self.calls.append(self.clock.seconds())
            periodic.stop()

        periodic = Periodic(once, 2.0, self.clock)
        periodic.start()
        self.clock.pump([2.0] * 3)
        assert self.calls == [2.0]
        assert self.clock.getDelayedCalls() == []


class BackgroundTests(SynchronousTestCase):
    def test_what_goes_wrong_is_logged(self) -> None:
        async def fail() -> None:
            raise LookupError

        with capturedLogs() as logged:
            running = background(fail(), Logger(), "The work failed")
        assert self.successResultOf(running) is None
        assert texts(logged, "critical") == ["The work failed"]
        assert len(self.flushLoggedErrors(LookupError)) == 1

    def test_what_goes_well_is_not(self) -> None:
        waiting: Deferred[None] = Deferred()

        async def wait() -> None:
            await waiting

        with capturedLogs() as logged:
            running = background(wait(), Logger(), "The work failed")
            assert not running.called
            waiting.callback(None)
            assert self.successResultOf(running) is None
        assert logged == []


class ShieldedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.work: Deferred[int] = Deferred()
        self.done: list[int] = []
        self.waiting = shielded(self.do())

    async def do(self) -> int:
        result = await self.work
        self.done.append(result)
        return result

    def test_who_waits_gets_the_result(self) -> None:
        self.work.callback(3)
        assert self.successResultOf(self.waiting) == 3

    def test_or_the_error(self) -> None:
        self.work.errback(LookupError("lost"))
        assert str(failure_of(self.waiting, LookupError)) == "lost"

    def test_who_leaves_does_not_stop_it(self) -> None:
        self.waiting.cancel()
        assert failure_of(self.waiting, CancelledError)
        self.work.callback(3)
        assert self.done == [3]

    def test_nor_is_told_that_it_failed(self) -> None:
        self.waiting.cancel()
        assert failure_of(self.waiting, CancelledError)
        self.work.errback(LookupError())
        assert self.done == []
