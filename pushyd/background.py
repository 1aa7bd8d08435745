"""Coroutines that go on though nobody waits for them (any more)."""

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

T = TypeVar("T")


def background(coroutine: Coroutine[Deferred[Any], Any, None], log: Logger, failed: str) -> Deferred[None]:
    """Start a coroutine; where it raises, `failed` is logged with the traceback. The Deferred fires at its end."""
    running = Deferred.fromCoroutine(coroutine)
    return running.addErrback(lambda failure: log.failure(failed, failure))


def shielded(coroutine: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
    """Start a coroutine that whoever waits for it can leave, but not stop.

    :return: fires with what the coroutine returns or raises; to cancel it ends the waiting only
    """
    waiting: Deferred[T] = Deferred()
    _ = Deferred.fromCoroutine(coroutine).chainDeferred(waiting)
    return waiting
