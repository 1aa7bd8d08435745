"""Time, as the services take it: a narrow clock that nobody sets, and a loop that no fault ends."""

import time
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.task import LoopingCall
from twisted.logger import Logger


class DelayedCall(Protocol):
    """A call that is to come."""

    def cancel(self) -> None:
        """Do not make it."""

    def active(self) -> bool:
        """Whether it is still to come."""


class Clock(Protocol):
    """What the services use of a reactor."""

    def seconds(self) -> float:
        """Seconds that only grow."""

    def callLater(self, delay: float, callable: Callable[..., Any], /, *args: object) -> DelayedCall:  # noqa: A002
        """Call after `delay` seconds."""


class Periodic:
    """Calls a function every so many seconds. One that raises is logged and called again: a bare LoopingCall stops."""

    log = Logger()

    def __init__(self, function: Callable[[], None], seconds: float, clock: Clock) -> None:
        self._function = function
        self.seconds = seconds
        self._loop = LoopingCall(self._call)
        self._loop.clock = clock  # type: ignore[assignment]  # of zope's IReactorTime it uses what Clock has

    def start(self) -> None:
        """Begin, with the first call after one interval."""
        # Its Deferred says when it ends, and stop() is who says so.
        _ = self._loop.start(self.seconds, now=False)

    def stop(self) -> None:
        """Call no more."""
        if self._loop.running:
            self._loop.stop()

    def _call(self) -> None:
        try:
            self._function()
        except Exception:
            self.log.failure("A periodic task failed; it goes on in {seconds} s", seconds=self.seconds)


def be_monotonic(reactor: Any) -> None:
    """Have Twisted's reactor tell time by a clock that nobody sets; before any call is scheduled.

    Its own is the system's: set back by an hour, no heartbeat would be sent for an hour; set forward, every job would
    be over its time.
    """
    reactor.seconds = time.monotonic
