"""``pushyd-ctl check`` with a Chef Server as identity: each request that pushyd makes there is made once.

Only what is forwarded in a caller's own name (the search, above all) is not tried: the caller's rights decide.
"""

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pushyd.ctl.context import Server
from pushyd.ctl.finding import Finding
from pushyd.identity.authorize import READERS, WRITERS
from pushyd.identity.chef_http import ChefFault, ChefHttp
from pushyd.identity.chef_shapes import (
    NotChef,
    lacks_organization,
    read_group,
    read_names,
    read_organization,
    read_principals,
)
from pushyd.identity_backend import BackendError, make_chef_http
from pushyd.store.direct import finish
from pushyd.store.interface import ADMINS, Organization, StoreUnavailable

CHEF = "Chef Server"

_WITHOUT = {
    READERS: "everybody in the organization may look at jobs and nodes",
    WRITERS: f"members of '{ADMINS}' may start jobs",
    ADMINS: f"nobody may start jobs, unless there is a group '{WRITERS}'",
}


def check_chef(server: Server, organization: str | None) -> Sequence[Finding]:
    """Make every request; takes the reactor of this process for it, which cannot be used again.

    :param organization: that is looked for; without one, all that this server knows, or that of the settings
    """
    from twisted.internet import reactor as the_reactor

    reactor: Any = the_reactor
    found: list[Finding] = []
    broken: list[Failure] = []

    async def look() -> None:
        try:
            http = make_chef_http(server.settings.identity, reactor=reactor, now=time.time)
        except BackendError as error:
            found.append(Finding(CHEF, str(error), "mend that setting, or what it names"))
            return
        async for finding in findings(http, _organizations(server, organization)):
            found.append(finding)  # noqa: PERF401 - those before a fault count

    def begin() -> None:
        _ = Deferred.fromCoroutine(look()).addErrback(broken.append).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    if broken:
        broken[0].raiseException()
    return found


async def findings(http: ChefHttp, organizations: Sequence[Organization]) -> AsyncIterator[Finding]:
    """What is found out about each organization; where the server cannot be asked at all, that.

    :param organizations: as they are kept here; one that is not kept yet has no guid
    """
    for organization in organizations:
        look = _Look(http=http, kept=organization)
        for request in (look.ourselves, look.organization, look.clients, look.groups):
            try:
                async for finding in request():
                    yield finding
            except _NoOrganization:
                yield Finding(
                    f"{CHEF}, organization {organization.name}",
                    "it is not there",
                    f"make it there, or see --organization, or: pushyd-ctl org delete {organization.name}",
                )
                break
            except ChefFault as fault:
                yield _fault(http, fault)
                if fault.status in (None, 401) or 300 <= fault.status < 400:
                    return  # it would be the same with each
            except NotChef as error:
                yield Finding(CHEF, f"{http.url}: an answer cannot be read: {error}", "see that it is a Chef Server")
                return


class _NoOrganization(Exception):
    """There is no such organization."""


@frozen(kw_only=True)
class _Look:
    """The requests about one organization."""

    http: ChefHttp
    kept: Organization

    @property
    def _path(self) -> tuple[str, str]:
        return "organizations", self.kept.name

    def _what(self, rest: str) -> str:
        return f"{CHEF}, organization {self.kept.name}: {rest}"

    async def ourselves(self) -> AsyncIterator[Finding]:
        """Principals, with our own for an example."""
        what, user = self._what("principals"), self.http.user
        answer = await self.http.get((*self._path, "principals", user), "principals")
        if answer.status == 404 and lacks_organization(answer.body):
            raise _NoOrganization
        found = [] if answer.status == 404 else read_principals(answer.body, user)
        if any(principal.associated for principal in found):
            yield Finding(what, f"can be read, as {user}")
        else:
            yield Finding(
                what,
                f"'{user}' does not belong to the organization",
                f"on the Chef Server: chef-server-ctl org-user-add {self.kept.name} {user}",
            )

    async def organization(self) -> AsyncIterator[Finding]:
        """The organization itself, and whether it is the one that is kept here."""
        what = self._what("itself")
        answer = await self.http.get(self._path, "the organization")
        if answer.status == 404:
            raise _NoOrganization
        guid = read_organization(answer.body).guid
        if self.kept.guid and guid and guid != self.kept.guid:
            yield Finding(
                what,
                "it is another one than that whose jobs are kept here",
                f"to let it have them: pushyd-ctl org adopt {self.kept.name} {guid}",
            )
        else:
            yield Finding(what, "can be read")

    async def clients(self) -> AsyncIterator[Finding]:
        """The list of clients, by which it is noticed who has gone."""
        answer = await self.http.get((*self._path, "clients"), "the list of clients")
        if answer.status == 404:
            raise _NoOrganization
        yield Finding(self._what("clients"), f"can be listed ({len(read_names(answer.body))})")

    async def groups(self) -> AsyncIterator[Finding]:
        """The groups that say who may do what, and those within them."""
        seen: set[str] = set()
        waiting = [ADMINS, WRITERS, READERS]
        while waiting:
            name = waiting.pop(0)
            if name in seen:
                continue
            seen.add(name)
            what = self._what(f"group {name}")
            try:
                answer = await self.http.get((*self._path, "groups", name), f"group '{name}'")
            except ChefFault as fault:
                if fault.status != 403:
                    raise
                yield _fault(self.http, fault)  # the others may be open to us
                continue
            if answer.status == 404:
                yield Finding(what, f"is not there: {_WITHOUT.get(name, 'nobody is in it')}")
                continue
            group = read_group(answer.body)
            members = len(group.users) + len(group.clients)
            yield Finding(what, f"can be read ({members} users and clients, {len(group.groups)} groups)")
            waiting.extend(sorted(group.groups))


def _fault(http: ChefHttp, fault: ChefFault) -> Finding:
    detail = f" ({fault.detail})" if fault.detail not in ("", fault.reason) else ""
    text = f"{http.url}, {fault.what}: {fault.reason}{detail}"
    return Finding(CHEF, text, _mend(http, fault))


def _mend(http: ChefHttp, fault: ChefFault) -> str:
    if fault.status == 401:
        return f"see that identity.client_key is the key of '{http.user}' there, and that both clocks are right"
    if fault.status == 403:
        return f"let '{http.user}' read it: it needs READ on {fault.what} (see docs/chef-server.md)"
    if fault.status is not None and 300 <= fault.status < 400:
        return "set identity.chef_server_url to that"
    if "TLS" in fault.reason:
        return "put the certificate of its CA into identity.trusted_certs_dir, and use the name that it is for"
    return "see that it runs, and that identity.chef_server_url is right"


def _organizations(server: Server, organization: str | None) -> Sequence[Organization]:
    try:
        with server.store() as store:
            known = {one.name: one for one in finish(store.organizations())}
    except StoreUnavailable:
        known = {}  # which is said by the check of the database
    if organization is None and known:
        return list(known.values())
    name = organization or server.settings.organization
    return [known.get(name) or Organization(name=name, guid="")]
