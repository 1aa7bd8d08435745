"""How long jobs are kept: what is too old or too many is deleted in the background, what an admin wants gone at once.

A job that has not ended is never deleted. Everything is done in small steps, so that what jobs write meanwhile waits
for one of them at the most. How a job is deleted step by step is the store's affair.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pushyd.clock import Clock, Periodic
from pushyd.store.interface import Organization, RetirementStore, StoreUnavailable

SWEEP_SECONDS = 60.0
"""Between two looks for what is not to be kept any longer."""

JOBS_AT_ONCE = 250
ROWS_AT_ONCE = 2000
"""How many jobs are retired, or rows deleted, in one step: some hundredths of a second."""

PAUSE_SECONDS = 0.05
"""Between two steps in the background, in which others write."""

_DAY_SECONDS = 86_400


class Kept(RetirementStore, Protocol):
    """What of the store is used here."""

    async def organizations(self) -> Sequence[Organization]:
        """All of them."""


class Retention:
    """Deletes jobs."""

    log = Logger()

    def __init__(self, *, store: Kept, clock: Clock, now: Callable[[], float], days: int, count: int) -> None:
        """:param now: seconds since the epoch
        :param days: after which a job is deleted; 0 for never
        :param count: how many jobs each organization keeps; 0 for all
        """
        self._store = store
        self._clock = clock
        self._now = now
        self._days = days
        self._count = count
        self._sweeps = Periodic(self._begin_sweep, SWEEP_SECONDS, clock)
        self._sweeping: Deferred[None] | None = None

    def start(self) -> None:
        """Begin to look, now and again every minute."""
        self._begin_sweep()
        self._sweeps.start()

    def stop(self) -> None:
        """Look no more. What is half done goes on after the next start."""
        self._sweeps.stop()
        if self._sweeping:
            self._sweeping.cancel()

    async def delete(self, organization: str, created_before: float) -> int:
        """Delete the jobs of an organization that were made before then and have ended; how many.

        Nobody finds them any more when this returns; what they left is deleted in the background.

        :param created_before: seconds since the epoch
        """
        deleted = await self._retire(organization, created_before=created_before)
        self._begin_sweep()
        return deleted

    def _begin_sweep(self) -> None:
        if self._sweeping is None:
            self._sweeping = Deferred.fromCoroutine(self._sweep())
            _ = self._sweeping.addErrback(self._failed).addBoth(self._swept)

    async def _sweep(self) -> None:
        """Retire what is not to be kept any longer, and delete what retired jobs left."""
        if self._days or self._count:
            for organization in await self._store.organizations():
                await self._retire_old(organization.name)
        while await self._store.purge(ROWS_AT_ONCE):
            await self._pause()

    async def _retire_old(self, organization: str) -> None:
        retired = 0
        if self._days:
            created_before = self._now() - self._days * _DAY_SECONDS
            retired += await self._retire(organization, created_before=created_before, pause=True)
        if self._count and (place := await self._store.place(organization, self._count)) is not None:
            retired += await self._retire(organization, up_to=place, pause=True)
        if retired:
            self.log.info("Deleted {count} old jobs of {organization}", count=retired, organization=organization)

    async def _retire(
        self,
        organization: str,
        *,
        created_before: float | None = None,
        up_to: int | None = None,
        pause: bool = False,
    ) -> int:
        retired = 0
        while found := await self._store.retire_jobs(
            organization, limit=JOBS_AT_ONCE, created_before=created_before, up_to=up_to
        ):
            retired += found
            if pause:
                await self._pause()
        return retired

    async def _pause(self) -> None:
        waited: Deferred[None] = Deferred()
        call = self._clock.callLater(PAUSE_SECONDS, waited.callback, None)
        try:
            await waited
        finally:
            if call.active():
                call.cancel()

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        if failure.check(StoreUnavailable):
            self.log.warn("Old jobs are not deleted now: {error}", error=failure.value)
        else:
            self.log.failure("Old jobs are not deleted", failure)

    def _swept(self, _: object) -> None:
        self._sweeping = None
