"""Coroutines that nobody waits for: what goes wrong in them is logged, never lost."""

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger


def background(coroutine: Coroutine[Deferred[Any], Any, None], log: Logger, failed: str) -> Deferred[None]:
    """Start a coroutine; where it raises, `failed` is logged with the traceback. The Deferred fires at its end."""
    running = Deferred.fromCoroutine(coroutine)
    return running.addErrback(lambda failure: log.failure(failed, failure))
