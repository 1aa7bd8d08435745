"""Time, as commands take it: the narrow part of a reactor that tests can stand in for."""

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
    """What tells the time and calls later; every reactor does."""

    def seconds(self) -> float:
        """Seconds from some moment; only differences mean anything."""

    def callLater(self, delay: float, callable: Callable[..., Any], /, *args: object) -> DelayedCall:  # noqa: A002
        """Call after `delay` seconds."""


async def sleep(clock: Clock, seconds: float) -> None:
    """Wait for so many seconds."""
    done: Deferred[None] = Deferred()
    call = clock.callLater(seconds, done.callback, None)
    try:
        await done
    except BaseException:
        call.cancel()
        raise
