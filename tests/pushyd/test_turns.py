"""Turns: some in each turn of the reactor, in order, and none for who is gone."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from pushyd.turns import AT_ONCE, Turns
from tests.pushyd.doubles import OneTurn


class TurnsTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = OneTurn()
        self.turns = Turns(self.clock)
        self.gone_on: list[int] = []

    def wait(self, number: int) -> Deferred[None]:
        async def go_on() -> None:
            await self.turns.mine()
            self.gone_on.append(number)

        return Deferred.fromCoroutine(go_on())

    def test_nobody_goes_on_at_once(self) -> None:
        _ = self.wait(1)
        assert self.gone_on == []
        self.clock.turn()
        assert self.gone_on == [1]

    def test_only_so_many_go_on_in_one_turn_first_come_first_served(self) -> None:
        for number in range(AT_ONCE + 1):
            _ = self.wait(number)
        self.clock.turn()
        assert self.gone_on == list(range(AT_ONCE))
        self.clock.turn()
        assert self.gone_on == list(range(AT_ONCE + 1))
        assert self.clock.planned == []

    def test_who_waits_again_does_so_behind_the_others(self) -> None:
        _ = self.wait(1).addCallback(lambda _: self.wait(3))
        _ = self.wait(2)
        self.clock.turn()
        assert self.gone_on == [1, 2]
        self.clock.turn()
        assert self.gone_on == [1, 2, 3]

    def test_who_is_gone_is_passed_over(self) -> None:
        gone = self.wait(1)
        _ = self.wait(2)
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.clock.turn()
        assert self.gone_on == [2]
