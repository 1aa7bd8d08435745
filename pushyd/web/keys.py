"""``keys`` of clients and users: since version 1 of the server API, where keys are shown and replaced."""

from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec

from pushy_protocol import api as shapes
from pushyd.background import shielded
from pushyd.domain.node import NodeRef
from pushyd.sessions import Sessions
from pushyd.store.interface import NotFound
from pushyd.web.app import Call
from pushyd.web.chef import Chef, NewKey, key_shape, refusing
from pushyd.web.clients import require_own
from pushyd.web.errors import ApiError, Response, json_response
from pushyd.web.users import require_self


class ChangedKey(msgspec.Struct, frozen=True, kw_only=True):
    """The body of ``PUT keys/NAME``: the new key, or that one is to be made. Ours do not expire."""

    name: str | None = None
    public_key: str | None = None
    create_key: bool = False
    expiration_date: Literal["infinity"] = "infinity"


def add_routes(chef: Chef, *, sessions: Sessions) -> None:
    """Serve them; the session of a client ends with the key that it was made with."""

    async def end_session(call: Call, name: str) -> None:
        await sessions.revoke(NodeRef(call.organization, name))

    async def nothing(call: Call, name: str) -> None:
        """A user has no session."""

    _serve(chef, "clients", chef.route, chef.url, require=require_own, changed=end_session)
    _serve(chef, "users", chef.root_route, chef.root_url, require=require_self, changed=nothing)


def _serve(
    chef: Chef,
    kind: str,
    route: Callable[..., None],
    url: Callable[..., str],
    *,
    require: Callable[[Chef, Call, str], Awaitable[bool]],
    changed: Callable[[Call, str], Awaitable[None]],
) -> None:
    """Serve the keys of clients or of users.

    :param require: raises where the caller may neither see nor replace the keys of a name
    :param changed: is told that a key was replaced
    """

    def owner(call: Call) -> str | None:
        return call.organization if kind == "clients" else None

    async def keys_of(call: Call, name: str) -> dict[str, str]:
        await require(chef, call, name)
        keys = await chef.kept.keys(owner(call), name)
        if keys is None:
            raise ApiError(404, f"Cannot load {kind.removesuffix('s')} {name}")
        return dict(keys)

    async def list_keys(call: Call, name: str) -> Response:
        return json_response(
            [
                {"uri": url(call, kind, name, "keys", key), "name": key, "expired": False}
                for key in await keys_of(call, name)
            ]
        )

    async def show_key(call: Call, name: str, key: str) -> Response:
        return json_response(key_shape(key, _one(await keys_of(call, name), key)))

    async def change_key(call: Call, name: str, key: str) -> Response:
        _one(await keys_of(call, name), key)
        wanted = shapes.decode(call.body, ChangedKey)
        if wanted.name not in (None, key):
            raise shapes.InvalidRequest(f"name: expected '{key}', for keys cannot be renamed")
        new = await chef.key(wanted.public_key, make=wanted.create_key)
        if new is None:
            raise shapes.InvalidRequest("public_key: expected a key, or create_key to be true")
        with refusing(NotFound, 404, f"Cannot load {kind.removesuffix('s')} {name}"):
            await shielded(replace(call, name, key, new))
        body = key_shape(key, new.public) | ({"private_key": new.private} if new.private else {})
        return json_response(body)

    async def replace(call: Call, name: str, key: str, new: NewKey) -> None:
        await chef.change(chef.kept.put_key(owner(call), name, key, new.public))
        await changed(call, name)

    route("GET", f"{kind}/<name>/keys", list_keys)
    route("GET", f"{kind}/<name>/keys/<key>", show_key)
    route("PUT", f"{kind}/<name>/keys/<key>", change_key)


def _one(keys: dict[str, str], name: str) -> str:
    if name not in keys:
        raise ApiError(404, f"There is no key '{name}'.")
    return keys[name]
