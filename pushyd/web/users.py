"""``users``: people. At the root they are made and changed; below an organization they are let in, and put out."""

from typing import Any

import msgspec

from pushy_protocol import api as shapes
from pushyd.background import shielded
from pushyd.identity.authorize import Right
from pushyd.store.interface import DEFAULT_KEY, AlreadyExists, NotFound
from pushyd.web.app import Call
from pushyd.web.chef import ROTATE_BY_KEYS, Chef, Name, NewKey, api_version, refusing
from pushyd.web.errors import ApiError, Response, json_response

_PROFILE = ("display_name", "email", "first_name", "middle_name", "last_name")


class Profile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a user says of itself. A `password` is not looked at: there is none here."""

    display_name: str | None = None
    email: str | None = None
    first_name: str | None = None
    middle_name: str | None = None
    last_name: str | None = None

    def given(self) -> dict[str, str]:
        """What of it is said."""
        said = {name: getattr(self, name) for name in _PROFILE}
        return {name: value for name, value in said.items() if value is not None}


class NewUser(Profile, frozen=True, kw_only=True):
    """The body of ``POST users``; `name` is another word for `username`."""

    username: Name | None = None
    name: Name | None = None
    public_key: str | None = None
    create_key: bool = False


class ChangedUser(Profile, frozen=True, kw_only=True):
    """The body of ``PUT users/NAME``; with `private_key` a new key is made. What of the profile is not said stays."""

    username: Name | None = None
    name: Name | None = None
    public_key: str | None = None
    private_key: bool | None = None
    create_key: bool | None = None


class Association(msgspec.Struct, frozen=True):
    """The body of ``POST users`` below an organization."""

    username: Name


def add_routes(chef: Chef) -> None:
    """Serve both."""
    _add_root_routes(chef)
    _add_association_routes(chef)


def _add_root_routes(chef: Chef) -> None:
    async def list_users(call: Call) -> Response:
        return json_response({name: chef.root_url(call, "users", name) for name in await chef.kept.users()})

    async def create(call: Call) -> Response:
        new = shapes.decode(call.body, NewUser)
        name = new.username or new.name
        if name is None:
            raise shapes.InvalidRequest("username: expected it to be given, got nothing")
        key = await chef.first_key(call, new.public_key, create=new.create_key)
        with refusing(AlreadyExists, 409, "Username or email address already in use."):
            await chef.change(chef.kept.create_user(name, key.public if key else None, (), new.given()))
        return chef.created(call, chef.root_url(call, "users", name), key)

    async def show(call: Call, name: str) -> Response:
        await require_self(chef, call, name)
        return json_response(await _user(chef, call, name))

    async def change(call: Call, name: str) -> Response:
        is_self = await require_self(chef, call, name)
        wanted = shapes.decode(call.body, ChangedUser)
        new_name = wanted.username or wanted.name or name
        if new_name != name and is_self:
            await chef.require(call, Right.ADMINISTER_SERVER)
        if api_version(call.request) > 0 and (wanted.public_key or wanted.private_key or wanted.create_key):
            raise ApiError(400, ROTATE_BY_KEYS)
        profile = {**await _profile(chef, name), **wanted.given()}
        key = await chef.key(wanted.public_key, make=bool(wanted.private_key))
        await shielded(_change(chef, name, new_name, profile, key))
        uri = chef.root_url(call, "users", new_name)
        body = {"uri": uri} | ({"private_key": key.private} if key and key.private else {})
        renamed = new_name != name
        return json_response(body, status=201 if renamed else 200, headers={"Location": uri} if renamed else None)

    async def delete(call: Call, name: str) -> Response:
        user = await _user(chef, call, name)
        with refusing(NotFound, 404, _not_found(name)):
            await chef.change(chef.kept.delete_user(name))
        return json_response(user)

    chef.root_route("GET", "users", list_users, right=Right.ADMINISTER_SERVER)
    chef.root_route("POST", "users", create, right=Right.ADMINISTER_SERVER)
    chef.root_route("GET", "users/<name>", show)
    chef.root_route("PUT", "users/<name>", change)
    chef.root_route("DELETE", "users/<name>", delete, right=Right.ADMINISTER_SERVER)


def _add_association_routes(chef: Chef) -> None:
    async def list_members(call: Call) -> Response:
        return json_response([{"user": {"username": name}} for name in await chef.kept.users(call.organization)])

    async def associate(call: Call) -> Response:
        name = shapes.decode(call.body, Association).username
        await _profile(chef, name)
        with refusing(AlreadyExists, 409, "The association already exists."), refusing(NotFound, 404, _not_found(name)):
            await chef.change(chef.kept.associate(call.organization, name))
        uri = chef.url(call, "users", name)
        return json_response({"uri": uri}, status=201, headers={"Location": uri})

    async def show_member(call: Call, name: str) -> Response:
        await _require_member(chef, call, name)
        return json_response(await _user(chef, call, name))

    async def dissociate(call: Call, name: str) -> Response:
        await _require_member(chef, call, name)
        user = await _user(chef, call, name)
        with refusing(NotFound, 404, _no_member(call, name)):
            await chef.change(chef.kept.dissociate(call.organization, name))
        return json_response(user)

    chef.route("GET", "users", list_members)
    chef.route("POST", "users", associate, right=Right.ADMINISTER)
    chef.route("GET", "users/<name>", show_member)
    chef.route("DELETE", "users/<name>", dissociate, right=Right.ADMINISTER)


async def require_self(chef: Chef, call: Call, name: str) -> bool:
    """Whether the caller is the user `name`.

    :raise ApiError: it is not, and does not administer the server
    """
    if call.caller.name == name:
        return True
    await chef.require(call, Right.ADMINISTER_SERVER)
    return False


async def _require_member(chef: Chef, call: Call, name: str) -> None:
    if not any(found.is_user and found.associated for found in await chef.principals(call.organization, name)):
        raise ApiError(404, _no_member(call, name))


async def _profile(chef: Chef, name: str) -> dict[str, str]:
    profile = await chef.kept.profile(name)
    if profile is None:
        raise ApiError(404, _not_found(name))
    return dict(profile)


async def _user(chef: Chef, call: Call, name: str) -> dict[str, Any]:
    user: dict[str, Any] = {"username": name, "display_name": name, **await _profile(chef, name)}
    if api_version(call.request) == 0:
        user["public_key"] = (await chef.kept.keys(None, name) or {}).get(DEFAULT_KEY)
    return user


async def _change(chef: Chef, name: str, new_name: str, profile: dict[str, str], key: NewKey | None) -> None:
    with (
        refusing(AlreadyExists, 409, "Username or email address already in use."),
        refusing(NotFound, 404, _not_found(name)),
    ):
        await chef.change(chef.kept.change_user(name, new_name, profile))
        if key:
            await chef.change(chef.kept.put_key(None, new_name, DEFAULT_KEY, key.public))


def _not_found(name: str) -> str:
    return f"user '{name}' not found"


def _no_member(call: Call, name: str) -> str:
    return f"Cannot find a user {name} in organization {call.organization}"
