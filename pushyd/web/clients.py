"""``clients``: the identities of nodes, and of the validator that introduces them."""

from typing import Any

import msgspec

from pushy_protocol import api as shapes
from pushyd.background import shielded
from pushyd.domain.node import NodeRef
from pushyd.identity.authorize import Right, is_validator_name
from pushyd.sessions import Sessions
from pushyd.store.interface import DEFAULT_KEY, AlreadyExists, NotFound
from pushyd.web.app import Call
from pushyd.web.chef import ROTATE_BY_KEYS, Chef, Name, NewKey, api_version, refusing
from pushyd.web.errors import ApiError, Response, json_response


class NewClient(msgspec.Struct, frozen=True, kw_only=True):
    """The body of ``POST clients``. `admin` and `validator` are not looked at: groups and names say who is what."""

    name: Name
    public_key: str | None = None
    create_key: bool = False


class ChangedClient(msgspec.Struct, frozen=True, kw_only=True):
    """The body of ``PUT clients/NAME``; with `private_key` a new key is made."""

    name: Name | None = None
    public_key: str | None = None
    private_key: bool | None = None
    create_key: bool | None = None


def add_routes(chef: Chef, *, sessions: Sessions) -> None:
    """Serve them. A client whose key changes, or that goes, loses its session at once."""

    async def list_clients(call: Call) -> Response:
        return json_response(
            {name: chef.url(call, "clients", name) for name in await chef.kept.clients(call.organization)}
        )

    async def create(call: Call) -> Response:
        new = shapes.decode(call.body, NewClient)
        key = await chef.first_key(call, new.public_key, create=new.create_key)
        with refusing(AlreadyExists, 409, "Client already exists"):
            await chef.change(chef.kept.create_client(call.organization, new.name, key.public if key else None))
        return chef.created(call, chef.url(call, "clients", new.name), key)

    async def show(call: Call, name: str) -> Response:
        await require_own(chef, call, name)
        return json_response(await _client(chef, call, name))

    async def change(call: Call, name: str) -> Response:
        is_own = await require_own(chef, call, name)
        wanted = shapes.decode(call.body, ChangedClient)
        new_name = wanted.name or name
        if new_name != name and is_own:
            await chef.require(call, Right.ADMINISTER)
        if api_version(call.request) > 0 and (wanted.public_key or wanted.private_key or wanted.create_key):
            raise ApiError(400, ROTATE_BY_KEYS)
        await _client(chef, call, name)
        key = await chef.key(wanted.public_key, make=bool(wanted.private_key))
        await shielded(_change(chef, sessions, NodeRef(call.organization, name), new_name, key))
        uri = chef.url(call, "clients", new_name)
        body = await _client(chef, call, new_name) | {"uri": uri}
        if key and key.private:
            body["private_key"] = key.private
        renamed = new_name != name
        return json_response(body, status=201 if renamed else 200, headers={"Location": uri} if renamed else None)

    async def delete(call: Call, name: str) -> Response:
        client = await _client(chef, call, name)
        with refusing(NotFound, 404, f"Cannot load client {name}"):
            await shielded(_delete(chef, sessions, NodeRef(call.organization, name)))
        return json_response(client)

    chef.route("GET", "clients", list_clients)
    chef.route("POST", "clients", create, right=Right.CREATE_CLIENT)
    chef.route("GET", "clients/<name>", show)
    chef.route("PUT", "clients/<name>", change)
    chef.route("DELETE", "clients/<name>", delete, right=Right.ADMINISTER)


async def require_own(chef: Chef, call: Call, name: str) -> bool:
    """Whether the caller is the client `name`.

    :raise ApiError: it is not, and does not administer the organization
    """
    if call.caller.is_client and call.caller.name == name:
        return True
    await chef.require(call, Right.ADMINISTER)
    return False


async def _client(chef: Chef, call: Call, name: str) -> dict[str, Any]:
    keys = await chef.kept.keys(call.organization, name)
    if keys is None:
        raise ApiError(404, f"Cannot load client {name}")
    client = {
        "name": name,
        "clientname": name,
        "orgname": call.organization,
        "validator": is_validator_name(call.organization, name),
        "json_class": "Chef::ApiClient",
        "chef_type": "client",
    }
    if api_version(call.request) == 0:
        client |= {"admin": False, "public_key": keys.get(DEFAULT_KEY)}
    return client


async def _change(chef: Chef, sessions: Sessions, client: NodeRef, new_name: str, key: NewKey | None) -> None:
    organization, name = client
    if new_name != name:
        with (
            refusing(AlreadyExists, 409, "Client already exists"),
            refusing(NotFound, 404, f"Cannot load client {name}"),
        ):
            await chef.change(chef.kept.rename_client(organization, name, new_name))
    if key:
        with refusing(NotFound, 404, f"Cannot load client {new_name}"):
            await chef.change(chef.kept.put_key(organization, new_name, DEFAULT_KEY, key.public))
    if key or new_name != name:
        await sessions.revoke(client)


async def _delete(chef: Chef, sessions: Sessions, client: NodeRef) -> None:
    await chef.change(chef.kept.delete_client(*client))
    await sessions.revoke(client)
