"""Tells agents that speak 3.0 that the end of their job is safely stored (`results`, section 8 of the protocol).

An agent keeps a result on its disk, and says it again after every reconnect, until it hears that; so it is told only
once the store has committed it.
"""

from typing import Protocol

from twisted.logger import Logger

from pushyd.background import background
from pushyd.domain.node import NodeRef
from pushyd.store.interface import JobStore


class Acknowledge(Protocol):
    """Tells a node that the result of a job is stored."""

    def __call__(self, node: NodeRef, job_id: str) -> None: ...


class Results:
    """The results that came in and are to be acknowledged: as many at once as one commit has stored."""

    log = Logger()

    def __init__(self, *, store: JobStore, acknowledge: Acknowledge) -> None:
        self._store = store
        self._acknowledge = acknowledge
        self._waiting: list[tuple[NodeRef, str]] = []
        self._storing = False

    def received(self, node: NodeRef, job_id: str) -> None:
        """A result came in, and what it changes has been recorded."""
        self._waiting.append((node, job_id))
        if not self._storing:
            self._storing = True
            _ = background(self._store_them(), self.log, "Results were not acknowledged; agents will send them again")

    async def _store_them(self) -> None:
        try:
            while self._waiting:
                results, self._waiting = self._waiting, []
                await self._store.recorded()
                for node, job_id in results:
                    self._acknowledge(node, job_id)
        finally:
            self._storing = False
