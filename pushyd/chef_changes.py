"""Notices who has gone from a Chef Server: nobody asks about a node that just goes on speaking.

Deleted clients are found in the list of all, which is one request for an organization, however many nodes it has.
That a client has another key now, which the list does not say, is looked at when a node has not shown its key for as
long as its configuration is valid. While the Chef Server cannot be asked, everybody stays.
"""

from collections.abc import Sequence
from typing import Protocol

from attrs import frozen
from twisted.logger import Logger

from pushyd.background import background
from pushyd.clock import Clock, Periodic
from pushyd.domain.node import NodeRef
from pushyd.identity.interface import Caller, IdentityUnavailable, Principal
from pushyd.sessions import Sessions

_LATE = 1.25
"""Agents fetch their configuration again before its lifetime is over; one that does not by so much more is late."""


class ChefIdentity(Protocol):
    """What is asked of a Chef Server; see :class:`pushyd.identity.chef_server.ChefServer`."""

    async def clients(self, organization: str) -> frozenset[str]:
        """The names of all clients of an organization, as they are now."""

    async def principals(self, organization: str, name: str) -> Sequence[Principal]:
        """Everyone of that name."""

    def forget(self, organization: str, name: str) -> None:
        """Hold nothing of a principal any more."""


@frozen(kw_only=True)
class _Admission:
    """By whom a node's session began, and when."""

    caller: Caller
    at: float


class ChefChanges:
    """Looks regularly, and ends the sessions of those who are gone."""

    log = Logger()

    def __init__(
        self, *, identity: ChefIdentity, sessions: Sessions, clock: Clock, seconds: float, config_lifetime: float
    ) -> None:
        """:param seconds: between looks, and so how long a session may outlive its client
        :param config_lifetime: of a node's configuration, in seconds
        """
        self._identity = identity
        self._sessions = sessions
        self._clock = clock
        self._late_seconds = _LATE * config_lifetime
        self._admissions: dict[NodeRef, _Admission] = {}
        self._looking = False
        self._loop = Periodic(self.look_soon, seconds, clock)

    def start(self) -> None:
        """Begin to look."""
        self._loop.start()

    def stop(self) -> None:
        """Look no more."""
        self._loop.stop()

    def admitted(self, node: NodeRef, caller: Caller) -> None:
        """A session has begun, or was renewed, by a caller that was authenticated just now."""
        self._admissions[node] = _Admission(caller=caller, at=self._clock.seconds())

    def look_soon(self) -> None:
        """Look in the background, unless that is being done."""
        if not self._looking:
            self._looking = True
            looking = background(self.look(), self.log, "Who is gone from the Chef Server was not seen; looking again")
            _ = looking.addBoth(self._looked)

    async def look(self) -> None:
        """Look once."""
        nodes = [NodeRef(organization, name) for organization, name in self._sessions.all()]
        for node in self._admissions.keys() - set(nodes):
            del self._admissions[node]
        for organization in sorted({node.organization for node in nodes}):
            try:
                clients = await self._identity.clients(organization)
            except IdentityUnavailable:
                continue  # it is logged where it was found out
            for node in nodes:
                if node.organization == organization and not await self._is_there(node, clients):
                    await self._end(node)

    async def _is_there(self, node: NodeRef, clients: frozenset[str]) -> bool:
        admission = self._admissions.get(node)
        if admission is None:  # a session of an earlier run
            return node.name in clients
        caller = admission.caller
        if caller.is_client and caller.name not in clients:
            return False
        is_late = self._clock.seconds() - admission.at >= self._late_seconds
        if caller.is_client and not is_late:
            return True
        try:
            found = await self._identity.principals(node.organization, caller.name)
        except IdentityUnavailable:
            return True
        if any(principal.associated and caller.key in principal.public_keys for principal in found):
            self.admitted(node, caller)
            return True
        return False

    async def _end(self, node: NodeRef) -> None:
        admission = self._admissions.pop(node, None)
        self.log.info("Node {node} is no client of the Chef Server any more", node="/".join(node))
        self._identity.forget(node.organization, admission.caller.name if admission else node.name)
        await self._sessions.revoke(node)

    def _looked(self, _: object) -> None:
        self._looking = False
