"""Principals, groups and organizations from a Chef Server, held for a short time.

Its organizations are also kept in our own store, which jobs and nodes belong to; nothing else of it is. Nothing is
changed on the Chef Server.
"""

from collections.abc import Callable, Sequence
from typing import Protocol
from uuid import uuid4

from attrs import frozen
from twisted.logger import Logger

from pushyd.identity.cache import Cache, Lifetimes
from pushyd.identity.chef_http import ChefFault, ChefHttp
from pushyd.identity.chef_shapes import (
    FoundOrganization,
    NotChef,
    is_name,
    lacks_organization,
    read_group,
    read_names,
    read_organization,
    read_principals,
)
from pushyd.identity.interface import Group, Principal, UnknownOrganization, no_organization
from pushyd.store.interface import AlreadyExists, Organization

_BELOW = "organizations"


class KeptOrganizations(Protocol):
    """Of the store, what is known of organizations."""

    async def organization(self, name: str) -> Organization | None:
        """One organization, or None."""

    async def create_organization(self, name: str, guid: str, full_name: str = "") -> int:
        """:raise AlreadyExists: it is there"""


@frozen
class _Asked:
    """A group, or that there is none: which says who may do what as well, and is held as what is there is."""

    group: Group | None


class ChefServer:
    """The identity backend over a Chef Server; a :class:`pushyd.identity.interface.Identity`."""

    log = Logger()

    def __init__(
        self,
        *,
        http: ChefHttp,
        kept: KeptOrganizations,
        seconds: Callable[[], float],
        lifetimes: Lifetimes,
        size: int,
    ) -> None:
        """:param seconds: of a clock that never goes back
        :param size: how many principals are held
        """
        self._http = http
        self._kept = kept
        self._principals = Cache[Sequence[Principal]](seconds=seconds, lifetimes=lifetimes, size=size)
        self._groups = Cache[_Asked](seconds=seconds, lifetimes=lifetimes, size=size)
        self._organizations = Cache[FoundOrganization](seconds=seconds, lifetimes=lifetimes, size=size)

    async def organization_exists(self, name: str) -> bool:
        """Whether there is such an organization; one that is there is kept in our store from then on."""
        if not is_name(name):
            return False
        return await self._organizations.get((name,), lambda: self._load_organization(name)) is not None

    async def principals(self, organization: str, name: str) -> Sequence[Principal]:
        """Everyone of that name; of an old Chef Server only one, where a user and a client share it.

        :raise UnknownOrganization: there is none
        """
        if not is_name(organization) or self._organizations.is_absent((organization,)):
            raise UnknownOrganization(no_organization(organization))
        if not is_name(name):
            return ()
        found = await self._principals.get((organization, name), lambda: self._load_principals(organization, name))
        return found or ()

    async def group(self, organization: str, name: str) -> Group | None:
        """A group of an organization, or None."""
        asked = await self._groups.get((organization, name), lambda: self._load_group(organization, name))
        return asked.group if asked else None

    async def founding_organization(self) -> str:
        """Nobody administers this server by what a Chef Server says."""
        return ""

    async def clients(self, organization: str) -> frozenset[str]:
        """The names of all clients of an organization, as they are now.

        :raise IdentityUnavailable: it cannot be found out
        """
        what = "the names of the clients"
        answer = await self._http.get((_BELOW, organization, "clients"), what)
        if answer.status == 404:
            return frozenset()
        try:
            return read_names(answer.body)
        except NotChef as error:
            raise self._not_chef(what, error) from None

    def forget(self, organization: str, name: str) -> None:
        """Hold nothing of a principal any more."""
        self._principals.forget((organization, name))

    async def _load_principals(self, organization: str, name: str) -> Sequence[Principal] | None:
        what = "key"
        answer = await self._http.get((_BELOW, organization, "principals", name), what)
        try:
            if answer.status == 404:
                if lacks_organization(answer.body):
                    await self._organizations.get((organization,), _nothing)  # so that it is not asked for again
                    raise UnknownOrganization(no_organization(organization))
                return None
            return read_principals(answer.body, name) or None
        except NotChef as error:
            raise self._not_chef(what, error) from None

    async def _load_group(self, organization: str, name: str) -> "_Asked":
        what = f"group '{name}'"
        answer = await self._http.get((_BELOW, organization, "groups", name), what)
        try:
            return _Asked(None if answer.status == 404 else read_group(answer.body))
        except NotChef as error:
            raise self._not_chef(what, error) from None

    async def _load_organization(self, name: str) -> FoundOrganization | None:
        what = f"organization '{name}'"
        answer = await self._http.get((_BELOW, name), what)
        if answer.status == 404:
            return None
        try:
            found = read_organization(answer.body)
        except NotChef as error:
            raise self._not_chef(what, error) from None
        if found.name != name:
            return None
        await self._keep(found)
        return found

    async def _keep(self, found: FoundOrganization) -> None:
        """Let our store have it.

        :raise IdentityUnavailable: the one in our store is another of that name
        """
        kept = await self._kept.organization(found.name)
        if kept is None:
            try:
                await self._kept.create_organization(found.name, found.guid or uuid4().hex, found.full_name or "")
            except AlreadyExists:
                kept = await self._kept.organization(found.name)  # by a request at the same time
            else:
                self.log.info("Took up organization {name} of the Chef Server", name=found.name)
        if kept is not None and found.guid is not None and kept.guid != found.guid:
            fault = ChefFault(
                f"organization '{found.name}'",
                "it is another one than that whose jobs are kept here",
                detail=f"to let it have them: pushyd-ctl org adopt {found.name} {found.guid}",
            )
            self._http.complain(fault)
            raise fault

    def _not_chef(self, what: str, error: NotChef) -> ChefFault:
        fault = ChefFault(what, "its answer cannot be read", detail=str(error), status=200)
        self._http.complain(fault)
        return fault


async def _nothing() -> None:
    """Nothing is there."""
