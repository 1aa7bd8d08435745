"""What is held of another server's answers: for how long, how much of it, and what happens while it is away."""

from collections.abc import Coroutine
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pushyd.identity.cache import Cache, Lifetimes
from pushyd.identity.interface import IdentityUnavailable
from tests.pushyd.doubles import begin, failure_of

KEY = ("acme", "web1")
LIFETIMES = Lifetimes(present=60, absent=10, stale=100)


class Source:
    """What is asked."""

    def __init__(self) -> None:
        self.value: str | None = "one"
        self.away = False
        self.slow: Deferred[None] | None = None
        self.asked = 0

    async def load(self) -> str | None:
        self.asked += 1
        value = self.value
        if self.slow:
            await self.slow
        if self.away:
            raise IdentityUnavailable("away")
        return value


class CacheTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.source = Source()
        self.cache = Cache[str](seconds=self.clock.seconds, lifetimes=LIFETIMES, size=2)

    def begin(self, key: tuple[str, ...] = KEY) -> "Deferred[str | None]":
        work: Coroutine[Any, Any, str | None] = self.cache.get(key, self.source.load)
        return begin(work)

    def get(self, *key: str) -> str | None:
        return self.successResultOf(self.begin(key or KEY))

    def test_what_is_there_is_held_for_its_lifetime(self) -> None:
        self.assertEqual(self.get(), "one")
        self.source.value = "two"
        self.clock.advance(59.9)
        self.assertEqual(self.get(), "one")
        self.clock.advance(0.1)
        self.assertEqual(self.get(), "two")
        self.assertEqual(self.source.asked, 2)

    def test_what_is_not_there_is_held_for_a_shorter_one(self) -> None:
        self.source.value = None
        self.assertIsNone(self.get())
        self.source.value = "one"
        self.clock.advance(9.9)
        self.assertIsNone(self.get())
        self.clock.advance(0.1)
        self.assertEqual(self.get(), "one")

    def test_the_lifetime_begins_when_it_is_asked_for(self) -> None:
        self.source.slow = Deferred()
        found = self.begin()
        self.clock.advance(50)
        slow, self.source.slow = self.source.slow, None
        slow.callback(None)
        self.assertEqual(self.successResultOf(found), "one")
        self.clock.advance(10)
        self.get()
        self.assertEqual(self.source.asked, 2)

    def test_who_asks_for_the_same_shares_one_look_up(self) -> None:
        self.source.slow = Deferred()
        found = [self.begin() for _ in range(5)]
        other = self.begin(("acme", "web2"))
        self.assertEqual(self.source.asked, 2)
        self.source.slow.callback(None)
        self.assertEqual([self.successResultOf(one) for one in [*found, other]], ["one"] * 6)

    def test_who_goes_away_takes_the_answer_from_nobody(self) -> None:
        self.source.slow = Deferred()
        first, second = self.begin(), self.begin()
        first.cancel()
        failure_of(first, CancelledError)
        self.source.slow.callback(None)
        self.assertEqual(self.successResultOf(second), "one")
        self.get()
        self.assertEqual(self.source.asked, 1)

    def test_all_who_wait_hear_that_it_failed(self) -> None:
        self.source.slow, self.source.away = Deferred(), True
        found = [self.begin() for _ in range(3)]
        self.source.slow.callback(None)
        for one in found:
            failure_of(one, IdentityUnavailable)

    def test_what_was_there_is_served_while_it_is_away_and_no_longer(self) -> None:
        self.get()
        self.source.away = True
        self.clock.advance(159.9)
        self.assertEqual(self.get(), "one")
        self.clock.advance(0.1)
        failure_of(self.begin(), IdentityUnavailable)
        self.source.away = False
        self.assertEqual(self.get(), "one")

    def test_that_it_is_not_there_is_not_believed_longer(self) -> None:
        self.source.value = None
        self.get()
        self.source.away = True
        self.clock.advance(10)
        failure_of(self.begin(), IdentityUnavailable)

    def test_what_went_is_not_served_again(self) -> None:
        self.get()
        self.source.value = None
        self.clock.advance(60)
        self.assertIsNone(self.get())
        self.source.away = True
        self.clock.advance(10)
        failure_of(self.begin(), IdentityUnavailable)

    def test_what_is_forgotten_is_asked_for_also_where_it_was_on_its_way(self) -> None:
        self.get()
        self.cache.forget(KEY)
        self.source.slow = Deferred()
        found = self.begin()
        self.cache.forget(KEY)
        slow, self.source.slow = self.source.slow, None
        slow.callback(None)
        self.successResultOf(found)
        self.get()
        self.assertEqual(self.source.asked, 3)

    def test_names_that_are_not_there_drop_nobody_who_is(self) -> None:
        self.get("a")
        self.get("b")
        self.source.value = None
        for number in range(100):
            self.get(str(number))
        before = self.source.asked
        self.assertEqual((self.get("a"), self.get("b")), ("one", "one"))
        self.assertEqual(self.source.asked, before)

    def test_of_too_many_those_go_that_were_not_asked_for(self) -> None:
        self.get("a")
        self.get("b")
        self.get("a")
        self.get("c")
        before = self.source.asked
        self.get("a")
        self.get("c")
        self.assertEqual(self.source.asked, before)
        self.get("b")
        self.assertEqual(self.source.asked, before + 1)

    def test_a_fault_of_ours_is_told_and_nothing_hangs(self) -> None:
        async def broken() -> str | None:
            raise ZeroDivisionError

        failure_of(begin(self.cache.get(KEY, broken)), ZeroDivisionError)
        self.assertEqual(self.get(), "one")


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["there", "gone", "away"]), st.integers(0, 80))))
def test_nothing_that_went_outlives_its_lifetime_while_it_can_be_asked_for(steps: list[tuple[str, str, int]]) -> None:
    clock = Clock()
    cache = Cache[str](seconds=clock.seconds, lifetimes=LIFETIMES, size=3)
    true_until: dict[str, float] = {}  # when a name was last seen to be there
    for name, state, seconds in steps:
        clock.advance(seconds)

        async def load(name: str = name, state: str = state) -> str | None:
            if state == "away":
                raise IdentityUnavailable("away")
            if state == "there":
                true_until[name] = clock.seconds()
                return name
            return None

        results: list[object] = []
        _ = begin(cache.get((name,), load)).addBoth(results.append)
        if results == [name]:
            limit = LIFETIMES.present + (LIFETIMES.stale if state == "away" else 0)
            assert clock.seconds() - true_until[name] < limit or true_until[name] == clock.seconds()
        assert len(cache._present) <= 3
        assert len(cache._absent) <= 3
