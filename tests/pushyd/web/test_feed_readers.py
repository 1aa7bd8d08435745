"""Many readers of one feed: what they are sent, and that nobody else waits for them."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pushyd.feeds import Feed
from pushyd.turns import AT_ONCE
from pushyd.web.feeds import FeedRoutes
from tests.pushyd.doubles import NOW, OneTurn

READERS = 3 * AT_ONCE
EVENTS = 2_000


class QuickBody:
    """A body whose connection takes all that it is given, at once."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    async def send(self, data: bytes) -> None:
        self.sent.append(data)


class ManyReadersTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = OneTurn()
        nobody: Any = None
        routes = FeedRoutes(
            feeds=nobody, jobs=nobody, outputs=nobody, clock=self.clock, now=lambda: NOW, keep_alive_seconds=60
        )
        self.feed = Feed("job")
        self.events = [self.feed.add("rehab", {"node": f"web{number}"}, NOW) for number in range(EVENTS)]
        self.bodies: list[Any] = [QuickBody() for _ in range(READERS)]
        self.following = [Deferred.fromCoroutine(routes._follow(body, self.feed, 0)) for body in self.bodies]

    def sends(self) -> int:
        return sum(len(body.sent) for body in self.bodies)

    def test_in_one_turn_of_the_reactor_only_some_go_on(self) -> None:
        assert self.sends() == READERS  # each its first, with its request
        turns = 0
        while self.clock.planned:
            before = self.sends()
            self.clock.turn()
            assert self.sends() - before <= AT_ONCE
            turns += 1
            assert turns < 1_000
        for body in self.bodies:
            assert b"".join(body.sent) == b"".join(self.events)

    def test_each_gets_all_of_it_however_far_the_others_are(self) -> None:
        self.clock.turn()
        self.events += [self.feed.add("rehab", {"node": f"db{number}"}, NOW) for number in range(7)]
        self.feed.close()
        while self.clock.planned:
            self.clock.turn()
        for reader, body in zip(self.following, self.bodies, strict=True):
            self.successResultOf(reader)
            assert b"".join(body.sent) == b"".join(self.events)
