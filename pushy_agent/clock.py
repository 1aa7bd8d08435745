"""What the agent uses of a reactor, so that tests can stand in for it, and mypy knows it; and that it is monotonic."""

import time
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred


class DelayedCall(Protocol):
    """A call that is to come."""

    def cancel(self) -> None:
        """Do not make it."""

    def active(self) -> bool:
        """Whether it is still to come."""


class Clock(Protocol):
    """A monotonic clock, and calls to come."""

    def seconds(self) -> float:
        """Seconds from some moment; they only grow."""

    def callLater(self, delay: float, callable: Callable[..., Any], /, *args: object) -> DelayedCall:  # noqa: A002
        """Call after `delay` seconds."""


class Reactor(Clock, Protocol):
    """A clock that watches descriptors too."""

    def addReader(self, reader: Any, /) -> None:
        """Tell `reader` whenever there is something to read."""

    def removeReader(self, reader: Any, /) -> None:
        """Tell it no more."""


async def sleep(clock: Clock, seconds: float) -> None:
    """Wait for so many seconds."""
    done: Deferred[None] = Deferred()
    call = clock.callLater(seconds, done.callback, None)
    try:
        await done
    finally:
        if call.active():
            call.cancel()


def be_monotonic(reactor: Any) -> None:
    """Have Twisted's reactor tell time by a clock that nobody sets; before any call is scheduled.

    Its own is the system's: set back by an hour (a machine that finds a time server after its start), nothing that is
    to come would come for an hour, no heartbeat either; set forward, every job would be over its time.
    """
    reactor.seconds = time.monotonic
