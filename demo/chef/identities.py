"""The double's organizations, principals, clients and groups."""

import json
from typing import Any

from attrs import evolve, frozen

from demo.chef.answers import Answer, Refusal, refusal
from demo.chef.data import ADMINS, USERS, Keys, Organization, World, authz_id


@frozen(kw_only=True)
class Caller:
    """Who has signed a request."""

    name: str
    is_user: bool


@frozen(kw_only=True)
class Call:
    """A request that is authenticated.

    :param parts: of the path, below the organization
    :param base: the organization's URL
    """

    world: World
    organization: Organization
    caller: Caller
    method: str
    parts: tuple[str, ...]
    version: int
    base: str

    def require(self, *groups: str) -> None:
        """:raise Refusal: the caller is in none of these groups"""
        name = self.caller.name
        user, client = (name, None) if self.caller.is_user else (None, name)
        if self.caller.is_user and name not in self.organization.members:
            raise refusal(403, f"'{name}' not associated with organization '{self.organization.name}'")
        if not any(self.world.is_in(self.organization, group, user=user, client=client) for group in groups):
            raise refusal(403, "missing read permission" if self.method == "GET" else "missing create permission")


def answer(call: Call, body: bytes) -> Answer:
    """The answer to a request about identities."""
    match call.method, call.parts:
        case "GET", ():
            return _organization(call)
        case "GET", ("principals", name):
            return _principals(call, name)
        case "GET", ("groups",):
            call.require(ADMINS, USERS)
            return Answer.of({name: f"{call.base}/groups/{name}" for name in call.organization.groups})
        case "GET", ("groups", name):
            return _group(call, name)
        case "GET", ("clients",):
            call.require(ADMINS, USERS)
            return Answer.of({name: f"{call.base}/clients/{name}" for name in call.organization.clients})
        case "POST", ("clients",):
            return _new_client(call, body)
        case "DELETE", ("clients", name):
            return _delete_client(call, name)
    raise refusal(404, f"There is nothing at {'/'.join(call.parts)} for {call.method}")


def _organization(call: Call) -> Answer:
    call.require(ADMINS, USERS)
    where = call.organization
    return Answer.of({"name": where.name, "full_name": f"The {where.name} organization", "guid": where.guid})


def _principals(call: Call, name: str) -> Answer:
    where = call.organization
    found: list[dict[str, Any]] = []
    owners: list[tuple[str, Keys | None, bool]] = [
        ("user", call.world.users.get(name), name in where.members),
        ("client", where.clients.get(name), True),
    ]
    for kind, keys, is_member in owners:
        # One of whom no key is kept has none, and is there all the same.
        pems: list[str | None] = [] if keys is None else [*keys.values()] or [None]
        found += [
            {
                "name": name,
                "type": kind,
                "public_key": pem,
                "authz_id": authz_id(kind, name),
                "org_member": is_member,
            }
            for pem in pems
        ]
    if not found:
        body = {"not_found": "principal", "error": f"Cannot find principal {name}"}
        raise Refusal(Answer.of(body, status=404))
    if call.version == 0:
        # It knows of one principal of a name, and of one key; the client goes before.
        return Answer.of(next((one for one in found if one["type"] == "client"), found[0]))
    return Answer.of({"principals": found})


def _group(call: Call, name: str) -> Answer:
    call.require(ADMINS, USERS)
    group = call.organization.groups.get(name)
    if group is None:
        raise refusal(404, f"Cannot load group {name}")
    return Answer.of(
        {
            "actors": sorted(group.users | group.clients),
            "users": sorted(group.users),
            "clients": sorted(group.clients),
            "groups": sorted(group.groups),
            "orgname": call.organization.name,
            "name": name,
            "groupname": name,
        }
    )


def _new_client(call: Call, body: bytes) -> Answer:
    where = call.organization
    if call.caller.is_user or call.caller.name != where.validator:
        call.require(ADMINS)
    wanted = json.loads(body)
    name, key = wanted["name"], wanted.get("public_key")
    if name in where.clients:
        raise refusal(409, "Client already exists")
    call.world.make_client(where.name, name, *([key] if key else []))
    uri = f"{call.base}/clients/{name}"
    made: dict[str, Any] = {"uri": uri}
    if key and call.version > 0:
        made["chef_key"] = {
            "name": "default",
            "public_key": key,
            "expiration_date": "infinity",
            "uri": f"{uri}/keys/default",
        }
    return evolve(Answer.of(made, status=201), headers={"Location": uri})


def _delete_client(call: Call, name: str) -> Answer:
    call.require(ADMINS)
    if name not in call.organization.clients:
        raise refusal(404, f"Cannot load client {name}")
    call.world.delete_client(call.organization.name, name)
    return Answer.of({"name": name, "clientname": name, "validator": False, "json_class": "Chef::ApiClient"})
