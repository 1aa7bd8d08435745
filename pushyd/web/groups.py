"""``groups`` of users, clients and groups."""

from typing import Any

import msgspec

from pushy_protocol import api as shapes
from pushyd.identity.authorize import Right
from pushyd.store.interface import ADMINS, AlreadyExists, NotFound, StoredGroup, UnknownMember
from pushyd.web.app import Call
from pushyd.web.chef import Chef, Name, refusing
from pushyd.web.errors import ApiError, Response, json_response


class NewGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The body of ``POST groups``, whose members come later, by ``PUT``. Chef has three words for its name."""

    groupname: Name | None = None
    name: Name | None = None
    id: Name | None = None


class Members(msgspec.Struct, frozen=True, kw_only=True):
    """Who is in a group. What is not said stays as it is."""

    users: frozenset[str] | None = None
    clients: frozenset[str] | None = None
    groups: frozenset[str] | None = None


class ChangedGroup(Members, frozen=True, kw_only=True):
    """The body of ``PUT groups/NAME``: members, in itself or in `actors`, where a flat list says nothing new."""

    groupname: str | None = None
    name: str | None = None
    actors: Members | frozenset[str] | None = None


def add_routes(chef: Chef) -> None:
    """Serve them."""

    async def list_groups(call: Call) -> Response:
        names = sorted(await chef.kept.groups(call.organization))
        return json_response({name: chef.url(call, "groups", name) for name in names})

    async def create(call: Call) -> Response:
        new = shapes.decode(call.body, NewGroup)
        name = new.groupname or new.name or new.id
        if name is None:
            raise shapes.InvalidRequest("groupname: expected it to be given, got nothing")
        with refusing(AlreadyExists, 409, "Group already exists"):
            await chef.change(chef.kept.create_group(call.organization, name))
        uri = chef.url(call, "groups", name)
        return json_response({"uri": uri}, status=201, headers={"Location": uri})

    async def show(call: Call, name: str) -> Response:
        return json_response(_shape(call, await _group(chef, call, name)))

    async def change(call: Call, name: str) -> Response:
        group = await _group(chef, call, name)
        changed = _changed(group, shapes.decode(call.body, ChangedGroup))
        try:
            await chef.change(chef.kept.set_group(call.organization, changed))
        except UnknownMember as error:
            raise ApiError(400, f"not in organization '{call.organization}': {error}") from None
        except NotFound:
            raise _unknown(name) from None
        return json_response(_shape(call, changed))

    async def delete(call: Call, name: str) -> Response:
        group = await _group(chef, call, name)
        if name == ADMINS:
            raise ApiError(403, f"The group '{ADMINS}' cannot be deleted: nobody would administer the organization.")
        with refusing(NotFound, 404, f"Cannot load group {name}"):
            await chef.change(chef.kept.delete_group(call.organization, name))
        return json_response(_shape(call, group))

    chef.route("GET", "groups", list_groups)
    chef.route("POST", "groups", create, right=Right.ADMINISTER)
    chef.route("GET", "groups/<name>", show)
    chef.route("PUT", "groups/<name>", change, right=Right.ADMINISTER)
    chef.route("DELETE", "groups/<name>", delete, right=Right.ADMINISTER)


async def _group(chef: Chef, call: Call, name: str) -> StoredGroup:
    group = (await chef.kept.groups(call.organization)).get(name)
    if group is None:
        raise _unknown(name)
    return group


def _unknown(name: str) -> ApiError:
    return ApiError(404, f"Cannot load group {name}")


def _changed(group: StoredGroup, wanted: ChangedGroup) -> StoredGroup:
    for said in (wanted.groupname, wanted.name):
        if said not in (None, group.name):
            raise shapes.InvalidRequest(f"groupname: expected '{group.name}', for groups cannot be renamed")
    members = wanted.actors if isinstance(wanted.actors, Members) else wanted
    return StoredGroup(
        name=group.name,
        users=group.users if members.users is None else members.users,
        clients=group.clients if members.clients is None else members.clients,
        groups=group.groups if members.groups is None else members.groups,
    )


def _shape(call: Call, group: StoredGroup) -> dict[str, Any]:
    return {
        "name": group.name,
        "groupname": group.name,
        "orgname": call.organization,
        "actors": sorted(group.users | group.clients),
        "users": sorted(group.users),
        "clients": sorted(group.clients),
        "groups": sorted(group.groups),
    }
