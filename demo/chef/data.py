"""What the double of a Chef Server knows: organizations, users, clients, groups and nodes. Plain data in memory."""

import hashlib
from collections.abc import Iterable
from typing import Any

from attrs import define, field

Keys = dict[str, str]
"""Public keys in PEM by their names."""

ADMINS, USERS, CLIENTS = "admins", "users", "clients"


@define
class Group:
    """Who is in a group, directly."""

    users: set[str] = field(factory=set)
    clients: set[str] = field(factory=set)
    groups: set[str] = field(factory=set)


@define
class Organization:
    """One organization."""

    name: str
    guid: str
    clients: dict[str, Keys] = field(factory=dict)
    members: set[str] = field(factory=set)
    groups: dict[str, Group] = field(factory=dict)
    nodes: dict[str, dict[str, Any]] = field(factory=dict)

    @property
    def validator(self) -> str:
        """The name of its validator."""
        return f"{self.name}-validator"


@define
class World:
    """All of it. What is made here is made as Chef does it: with groups that its members are in."""

    users: dict[str, Keys] = field(factory=dict)
    organizations: dict[str, Organization] = field(factory=dict)

    def make_organization(self, name: str, guid: str | None = None) -> Organization:
        """An organization with the groups that each has."""
        made = Organization(name=name, guid=guid or hashlib.md5(name.encode()).hexdigest())
        for group in (ADMINS, "billing-admins", CLIENTS, USERS):
            made.groups[group] = Group()
        self.organizations[name] = made
        return made

    def make_user(self, name: str, *keys: str, member_of: tuple[str, ...] = (), admin: bool = False) -> None:
        """A user with its keys, in some organizations."""
        self.users[name] = _named(keys)
        for organization in map(self.organizations.__getitem__, member_of):
            organization.members.add(name)
            organization.groups[USERS].users.add(name)
            if admin:
                organization.groups[ADMINS].users.add(name)

    def make_client(self, organization: str, name: str, *keys: str) -> None:
        """A client with its keys."""
        where = self.organizations[organization]
        where.clients[name] = _named(keys)
        if name != where.validator:
            where.groups[CLIENTS].clients.add(name)

    def make_group(
        self,
        organization: str,
        name: str,
        *,
        users: Iterable[str] = (),
        clients: Iterable[str] = (),
        groups: Iterable[str] = (),
    ) -> None:
        """A group with these members and no others."""
        made = Group(users=set(users), clients=set(clients), groups=set(groups))
        self.organizations[organization].groups[name] = made

    def delete_client(self, organization: str, name: str) -> None:
        """Let a client be no more, nor in any group."""
        where = self.organizations[organization]
        del where.clients[name]
        for group in where.groups.values():
            group.clients.discard(name)

    def delete_user(self, name: str) -> None:
        """Let a user be no more, nor in any organization or group."""
        del self.users[name]
        for organization in self.organizations.values():
            organization.members.discard(name)
            for group in organization.groups.values():
                group.users.discard(name)

    def is_in(self, organization: Organization, group: str, *, user: str | None, client: str | None) -> bool:
        """Whether somebody is in a group, to any depth."""
        seen: set[str] = set()
        waiting = [group]
        while waiting:
            name = waiting.pop()
            if name in seen or name not in organization.groups:
                continue
            seen.add(name)
            members = organization.groups[name]
            if user in members.users or client in members.clients:
                return True
            waiting.extend(members.groups)
        return False


def _named(keys: tuple[str, ...]) -> Keys:
    return {"default" if number == 0 else f"key-{number}": key for number, key in enumerate(keys)}


def authz_id(kind: str, name: str) -> str:
    """An id as Chef's authorization has for everybody."""
    return hashlib.md5(f"{kind}/{name}".encode()).hexdigest()
