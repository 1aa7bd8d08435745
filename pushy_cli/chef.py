"""Chef's own API, as far as the CLI uses it: clients, users, groups, node objects and the search.

A Chef server answers it, and so does pushyd. The shapes of the answers differ a little between versions of Chef, so
they are taken as plain JSON, and checked where something is taken out of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from attrs import frozen

from pushy_cli.api import Requester, garbage
from pushy_cli.errors import FAILED, Conflict, NotFound, NotOffered, missing
from pushy_protocol.api import InvalidRequest, decode, encode

ROWS = 1000
"""Rows of a search that are asked for at once."""

_API_VERSION = "1"
MEMBER_KINDS = ("users", "clients", "groups")

T = TypeVar("T")
Object = Mapping[str, Any]


class NoSuch(NotFound):
    """There is no client, user, group or node with that name."""

    status = FAILED


@frozen(kw_only=True)
class Made:
    """A new client or user; `private_key` is in PEM, None where its public key was given."""

    name: str
    private_key: str | None


class ChefServer:
    """The identities and node objects of one organization. Every method raises :class:`~pushy_cli.errors.CliError`."""

    def __init__(self, transport: Requester) -> None:
        self._transport = transport

    async def clients(self) -> list[str]:
        """The names of the clients."""
        return await self._names("clients")

    async def client(self, name: str) -> Object:
        """One client."""
        return await self._one("client", f"clients/{_quoted(name)}", name)

    async def create_client(self, name: str, public_key: str | None) -> Made:
        """Make a client; without a public key the server makes a pair."""
        return await self._create("clients", {"name": name}, name, public_key)

    async def delete_client(self, name: str) -> None:
        """Delete a client."""
        await self._one("client", f"clients/{_quoted(name)}", name, method="DELETE")

    async def users(self) -> list[str]:
        """The names of the organization's users."""
        rows = await self._offered("users", list[dict[str, Any]])
        return sorted(_text(row.get("user", row), "username") for row in rows)

    async def user(self, name: str) -> Object:
        """One user, of whatever organization."""
        return await self._one("user", f"/users/{_quoted(name)}", name)

    async def create_user(self, name: str, public_key: str | None, *, email: str) -> Made:
        """Make a user, who belongs to no organization yet."""
        body = {"username": name, "display_name": name, "email": email, "first_name": name, "last_name": name}
        return await self._create("/users", body, name, public_key)

    async def delete_user(self, name: str) -> None:
        """Delete a user from the server."""
        await self._one("user", f"/users/{_quoted(name)}", name, method="DELETE")

    async def associate(self, name: str) -> None:
        """Make a user one of the organization's."""
        await self._one("user", "users", name, method="POST", body={"username": name})

    async def dissociate(self, name: str) -> None:
        """Let a user no longer be one of the organization's."""
        await self._one("user", f"users/{_quoted(name)}", name, method="DELETE")

    async def groups(self) -> list[str]:
        """The names of the groups."""
        return await self._names("groups")

    async def group(self, name: str) -> Object:
        """One group and its members."""
        return await self._one("group", f"groups/{_quoted(name)}", name)

    async def create_group(self, name: str) -> None:
        """Make a group without members."""
        await self._one("group", "groups", name, method="POST", body={"groupname": name})

    async def delete_group(self, name: str) -> None:
        """Delete a group; not its members."""
        await self._one("group", f"groups/{_quoted(name)}", name, method="DELETE")

    async def set_members(self, name: str, members: Mapping[str, Sequence[str]]) -> None:
        """Give a group these members and no others.

        :param members: names by kind (`users`, `clients`, `groups`)
        """
        body = {"groupname": name, "actors": {kind: list(members.get(kind, ())) for kind in MEMBER_KINDS}}
        await self._one("group", f"groups/{_quoted(name)}", name, method="PUT", body=body)

    async def nodes(self) -> list[str]:
        """The names of the node objects."""
        return await self._names("nodes")

    async def node(self, name: str) -> Object:
        """One node object."""
        return await self._one("node", f"nodes/{_quoted(name)}", name)

    async def search_nodes(self, query: str) -> list[Object]:
        """The node objects that a query finds.

        :raise Rejected: the query cannot be read.
        """
        return await self._search(query, None)

    async def search(self, query: str) -> list[str]:
        """The names of the nodes that a query finds.

        Nothing else of them is asked for: what a Chef Server has of ten thousand nodes is gigabytes.
        """
        rows = await self._search(query, {"name": ["name"]})
        return [_text(row.get("data"), "name") for row in rows]

    async def _search(self, query: str, part: Object | None) -> list[Object]:
        """Every row, each with `part` of the node (names, and the paths to what goes by them) or the whole node."""
        found: list[Object] = []
        start = 0
        while True:
            path = f"search/node?{urlencode({'q': query, 'start': start, 'rows': ROWS})}"
            answer = await self._offered(path, dict[str, Any], part)
            rows, total = answer.get("rows"), answer.get("total")
            if not isinstance(rows, list) or not isinstance(total, int):
                raise garbage(f"to {path}: expected total and rows")
            found += [row for row in rows if isinstance(row, dict)]  # a row may be null: a node just deleted
            start += len(rows)
            if not rows or start >= total:
                return found

    async def _names(self, kind: str) -> list[str]:
        return sorted(await self._offered(kind, dict[str, Any]))

    async def _offered(self, path: str, shape: type[T], body: Object | None = None) -> T:
        """What is there on every server that has Chef's API: a list, or where to make something."""
        try:
            return await self._ask("GET" if body is None else "POST", path, shape, body)
        except (NotFound, NotOffered) as error:
            what = path.partition("?")[0].lstrip("/")
            raise NotOffered(f"This server has no {what} ({error.what})", "It may be an older push server.") from None

    async def _create(self, path: str, body: dict[str, Any], name: str, public_key: str | None) -> Made:
        body |= {"create_key": True} if public_key is None else {"public_key": public_key}
        answer = await self._offered(path, dict[str, Any], body)
        key = answer.get("chef_key", answer)
        private = key.get("private_key") if isinstance(key, dict) else None
        if public_key is None and not isinstance(private, str):
            raise garbage(f"to POST {path}: expected a private key")
        return Made(name=name, private_key=private if public_key is None else None)

    async def _one(self, kind: str, path: str, name: str, *, method: str = "GET", body: Object | None = None) -> Object:
        try:
            return await self._ask(method, path, dict[str, Any], body)
        except NotFound as error:
            raise NoSuch(missing(kind, name, error), f"See: pushy {kind} list") from None
        except Conflict as error:
            raise Conflict(error.what, f"See: pushy {kind} list") from None

    async def _ask(self, method: str, path: str, shape: type[T], body: Object | None = None) -> T:
        data = b"" if body is None else encode(body)
        answer = await self._transport.exchange(method, path, data, api_version=_API_VERSION)
        try:
            return decode(answer.body or b"{}", shape)
        except InvalidRequest as error:
            raise garbage(f"to {method} {path}: {'; '.join(error.args)}") from None


def member_names(group: Object, kind: str) -> list[str]:
    """A group's members of one kind."""
    names = group.get(kind, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise garbage(f"with a group whose {kind} are no list of names")
    return sorted(names)


def _text(value: object, key: str) -> str:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, str):
        raise garbage(f"with something that has no {key}")
    return found


def _quoted(name: str) -> str:
    return quote(name, safe="")
