"""Work that nobody waits for."""

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger


def background(work: Coroutine[Deferred[Any], Any, None], log: Logger, what: str) -> None:
    """Begin to do `work`; should it raise, that is logged as a bug, after `what`."""
    _ = Deferred.fromCoroutine(work).addErrback(lambda failure: log.failure(what, failure))
