"""Work that nobody waits for, and work that waits where nobody else does."""

import ctypes
import gc
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

T = TypeVar("T")


def give_back_memory() -> None:
    """Have the C library return what it keeps free to the system; where it is another than GNU's, it keeps it.

    What only refers to itself, as the channels that were closed, is freed before: some hundredths of a second.
    """
    _ = gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class InThread(Protocol):
    """Does work that may wait for long off the reactor's thread."""

    def __call__(self, work: Callable[[], T], /) -> Deferred[T]:
        """The result of `work`; cancelled, it fires at once, and the work goes on."""


def daemon_thread(reactor: Any, work: Callable[[], T]) -> Deferred[T]:
    """The result of `work`, done in a thread of its own.

    Not one of the reactor's: those must end before the process does, and a name server that is silent can hold one for
    a minute.
    """
    done: Deferred[T] = Deferred()

    def tell(result: T | Failure) -> None:
        if not done.called:
            done.callback(result)

    def run() -> None:
        try:
            result: T | Failure = work()
        except BaseException:  # whoever waits gets it
            result = Failure()
        reactor.callFromThread(tell, result)

    threading.Thread(target=run, name="request", daemon=True).start()
    return done


def background(work: Coroutine[Deferred[Any], Any, None], log: Logger, what: str) -> None:
    """Begin to do `work`; should it raise, that is logged as a bug, after `what`."""
    _ = Deferred.fromCoroutine(work).addErrback(lambda failure: log.failure(what, failure))
