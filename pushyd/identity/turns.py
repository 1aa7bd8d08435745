"""A number of turns, for which whoever comes waits: as Twisted's DeferredSemaphore, but for thousands.

There, a turn that ends at once hands itself on within the call that ended it, one call within the other; where a
thousand wait for what turns out to be of no use, that is deeper than Python goes.
"""

from collections import deque

from twisted.internet.defer import Deferred


class TooMany(Exception):
    """Too many wait already."""


class Turns:
    """Turns, and who waits for one, in their order."""

    def __init__(self, turns: int, *, waiting: int) -> None:
        """:param waiting: how many may wait"""
        self._free = turns
        self._limit = waiting
        self._waiting: deque[Deferred[None]] = deque()
        self._is_handing_on = False

    def take(self) -> Deferred[None]:
        """Fires when there is a turn; who cancels it before waits no more.

        :raise TooMany: nobody can wait
        """
        turn: Deferred[None] = Deferred(self._waiting.remove)
        if self._free:
            self._free -= 1
            turn.callback(None)
        elif len(self._waiting) >= self._limit:
            raise TooMany
        else:
            self._waiting.append(turn)
        return turn

    def give_back(self) -> None:
        """End a turn."""
        self._free += 1
        if self._is_handing_on:
            return  # whoever is doing it goes on with this one
        self._is_handing_on = True
        try:
            while self._free and self._waiting:
                self._free -= 1
                self._waiting.popleft().callback(None)
        finally:
            self._is_handing_on = False
