"""Notices what other processes, `pushyd-ctl` above all, change about identities in the store.

What is cached of identities looks by itself, when it is asked; but nobody asks about a node that just goes on speaking.
"""

from twisted.logger import Logger

from pushyd.background import background
from pushyd.clock import Clock, Periodic
from pushyd.sessions import Sessions
from pushyd.store.interface import IdentityStore

_SECONDS = 2.0


class OutsideChanges:
    """Looks now and then whether identities have changed, and ends the sessions of those that are gone."""

    log = Logger()

    def __init__(self, *, store: IdentityStore, sessions: Sessions, clock: Clock) -> None:
        self._store = store
        self._sessions = sessions
        self._generation: int | None = None
        self._looking = False
        self._loop = Periodic(self._start_looking, _SECONDS, clock)

    def start(self) -> None:
        """Begin to look."""
        self._loop.start()

    def stop(self) -> None:
        """Look no more."""
        self._loop.stop()

    async def look(self) -> None:
        """Look once."""
        generation = await self._store.identity_generation()
        if generation != self._generation:
            await self._sessions.reconcile()
            self._generation = generation

    def _start_looking(self) -> None:
        if not self._looking:
            self._looking = True
            looking = background(self.look(), self.log, "Changes of identities by others were not seen; looking again")
            _ = looking.addBoth(self._looked)

    def _looked(self, _: object) -> None:
        self._looking = False
