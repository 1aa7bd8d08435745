"""Group commit, seen from the reactor: what is queued, when it is written, and who is told.

Everything that came in since the last transaction makes up the next one. While the store is out of order, what
somebody waits for fails, and recorded changes are held and written again, ever more slowly, until they can be.

It knows no database: what writes a batch is a parameter.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sqlalchemy import Connection
from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from pushyd.store.changes import coalesce
from pushyd.store.interface import Change, StoreUnavailable
from pushyd.store.transaction import Item, Outcome, Write

GATHER = 0.005
"""Seconds for which recorded changes wait for others to join them."""

FIRST_RETRY = 0.1
"""Seconds after which what could not be written is tried again; twice as long each time,"""

LAST_RETRY = 10.0
"""up to this."""


class Timers(Protocol):
    """What of a reactor is used here."""

    def callLater(self, delay: float, callable: Callable[..., Any], /) -> DelayedCall: ...  # noqa: A002


class Writer:
    """The queue of what is to be written. Used on the reactor's thread only."""

    log = Logger()

    def __init__(self, *, timers: Timers, write_batch: Callable[[Sequence[Item]], Deferred[Outcome]]) -> None:
        """:param write_batch: writes all or, failing, nothing; it is not called again before it has ended"""
        self._timers = timers
        self._write_batch = write_batch
        self._queue: list[Item] = []
        self._timer: DelayedCall | None = None
        self._attempt: Deferred[bool] | None = None  # fires at the end of the batch that is being written
        self._failures = 0  # in a row
        self._recorded = 0  # changes so far, and how many of them are settled
        self._settled = 0
        self._waiting: deque[tuple[int, Deferred[None]]] = deque()  # for that many to be settled
        self._is_awaited = False  # by somebody who is in a hurry
        self._closed = False

    def record(self, change: Change) -> None:
        """Write `change` soon."""
        if self._closed:
            self.log.error("The store is closed; a change is lost: {change}", change=change)
            return
        self._queue.append(change)
        self._recorded += 1
        if self._timer is None and self._attempt is None:
            self._timer = self._timers.callLater(GATHER, self._start)

    def write(self, work: Callable[[Connection], None]) -> Deferred[None]:
        """Do `work` in the next transaction; fires when that is committed.

        Fails with what the work raised, or with :class:`StoreUnavailable`. The work may be done twice, if the first
        time was undone.
        """
        done: Deferred[None] = Deferred()
        if self._closed:
            done.errback(StoreUnavailable("the store is closed"))
            return done
        self._queue.append(Write(work, done))
        self._hurry()
        return done

    def recorded(self, *, hurry: bool = False) -> Deferred[None]:
        """Fires once every change recorded so far is committed, or is known never to be.

        :param hurry: somebody waits for it: do not wait for others to join them
        """
        if self._settled == self._recorded:
            return succeed(None)
        if hurry and not self._failures:
            self._is_awaited = True
            self._hurry()
        settled: Deferred[None] = Deferred()
        self._waiting.append((self._recorded, settled))
        return settled

    async def close(self) -> None:
        """Write what is queued; what cannot be written now is lost, with an error in the log."""
        self._closed = True
        while self._attempt is not None or self._queue:
            if self._attempt is None:
                self._start()
            assert self._attempt is not None
            if not await self._attempt:
                break
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._queue:
            self.log.error("The store cannot be written; {count} changes of jobs are lost", count=len(self._queue))
            self._queue.clear()
        while self._waiting:
            self._waiting.popleft()[1].errback(StoreUnavailable("the store was closed before it could be written"))

    def _hurry(self) -> None:
        """Write at once, if nothing is being written; else it follows at once."""
        if self._attempt is not None:
            return
        if self._timer is None:
            self._timer = self._timers.callLater(0, self._start)
        else:
            self._timer.reset(0)

    def _start(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        self._is_awaited = False
        batch, self._queue = self._queue, []
        self._attempt = Deferred()
        _ = (
            self._write_batch(batch)
            .addCallbacks(self._written, self._failed, callbackArgs=(batch, self._recorded), errbackArgs=(batch,))
            .addErrback(lambda failure: self.log.failure("The writer of the store failed", failure))
        )

    def _written(self, outcome: Outcome, batch: Sequence[Item], recorded: int) -> None:
        if self._failures:
            self.log.info("The store can be written again")
            self._failures = 0
        for change, error in outcome.dropped:
            self.log.error("A change cannot be written, and is dropped: {change}: {error}", change=change, error=error)
        for item in batch:
            if isinstance(item, Write):
                item.done.callback(outcome.refused.get(item))
        self._settled = recorded
        while self._waiting and self._waiting[0][0] <= recorded:
            self._waiting.popleft()[1].callback(None)
        self._end(written=True)

    def _failed(self, failure: Failure, batch: Sequence[Item]) -> None:
        self._failures += 1
        if self._failures == 1:
            self.log.error(
                "The store cannot be written; what jobs do is held, and written when it can be: {error}",
                error=failure.value,
            )
        for item in batch:
            if isinstance(item, Write):
                item.done.errback(StoreUnavailable(str(failure.value)))
        self._queue[:0] = coalesce(item for item in batch if not isinstance(item, Write))
        self._end(written=False)

    def _end(self, *, written: bool) -> None:
        """Plan the next batch, then let :meth:`close` know."""
        attempt, self._attempt = self._attempt, None
        if any(isinstance(item, Write) for item in self._queue) or (written and self._queue and self._is_awaited):
            self._hurry()
        elif self._queue:
            delay = GATHER if written else min(FIRST_RETRY * 2 ** min(self._failures - 1, 10), LAST_RETRY)
            self._timer = self._timers.callLater(delay, self._start)
        assert attempt is not None
        attempt.callback(written)
