"""Turns for what many do at once: some go on in each turn of the reactor, so that they hold up nothing else.

A thousand readers of one feed would else be served one after the other, and each for every single event, before the
next message of a node is read.
"""

from collections import deque

from twisted.internet.defer import Deferred

from pushyd.clock import Clock

AT_ONCE = 20
"""How many go on in one turn; to write some events to twenty connections takes a few milliseconds."""


class Turns:
    """Those who wait for their turn, first come, first served."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: deque[Deferred[None]] = deque()
        self._is_planned = False

    async def mine(self) -> None:
        """Return when it is the caller's turn, never before the reactor has had its own."""
        turn: Deferred[None] = Deferred()
        self._waiting.append(turn)
        self._plan()
        await turn

    def _plan(self) -> None:
        if not self._is_planned:
            self._is_planned = True
            self._clock.callLater(0, self._go_on)

    def _go_on(self) -> None:
        self._is_planned = False
        for _ in range(min(AT_ONCE, len(self._waiting))):
            turn = self._waiting.popleft()
            if not turn.called:  # else who waited is gone
                turn.callback(None)
        if self._waiting:
            self._plan()
