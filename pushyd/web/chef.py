"""What the routes of Chef's own API share: the version of the server API, links, names, keys and refusals.

Version 0 gives a new key as `private_key`, beside the principal; from version 1 on keys are things of their own.
Version 2, which today's knife asks for, differs from 1 in nothing that is served here.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from attrs import evolve, frozen
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from twisted.web.server import Request

from pushy_protocol import api as shapes
from pushy_protocol.keys import KeyFormatError, parse_public_key, private_pem, public_pem
from pushyd.background import shielded
from pushyd.identity.authorize import Right
from pushyd.identity.interface import Directory, Principal
from pushyd.store.interface import DEFAULT_KEY, IdentityStore
from pushyd.web.app import Api, Call
from pushyd.web.errors import ApiError, Response, json_response
from pushyd.web.requests import base_url

VERSIONS = range(3)
"""The versions of the server API."""

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.:-]{1,255}\Z")]

ROTATE_BY_KEYS = "Since Server API v1, all keys must be updated via the keys endpoint."

_VERSION_HEADER = "X-Ops-Server-API-Version"

Handler = Callable[..., Awaitable[Response]]


@frozen(kw_only=True)
class NewKey:
    """A key that a request brings, or that was made for it (then with its private half). Both are PEM."""

    public: str
    private: str | None


class Chef:
    """Chef's API over ours: its routes and what they need."""

    def __init__(
        self, api: Api, directory: Directory, *, host: str, make_key: Callable[[], Awaitable[RSAPrivateKey]]
    ) -> None:
        """:param host: HOST:PORT of this server, for callers that name none; `make_key` must not block"""
        self._api = api
        self._directory = directory
        self._host = host
        self._make_key = make_key

    @property
    def kept(self) -> IdentityStore:
        """What there is."""
        return self._directory.kept

    async def change(self, made: Awaitable[int]) -> None:
        """Wait for a change of it, which is carried to its end even where the caller goes away meanwhile."""
        await shielded(self._directory.change(made))

    async def principals(self, organization: str, name: str) -> Sequence[Principal]:
        """Everyone of that name, as authentication sees it."""
        return await self._directory.principals(organization, name)

    def route(self, method: str, path: str, handler: Handler, *, right: Right | None = None) -> None:
        """A route below an organization; without `right` for all that belong to it."""
        self._api.route(method, path, _versioned(handler), right=right)

    def root_route(self, method: str, path: str, handler: Handler, *, right: Right | None = None) -> None:
        """A route outside of organizations; without `right` for all users."""
        self._api.root_route(method, path, _versioned(handler), right=right)

    async def require(self, call: Call, right: Right) -> None:
        """:raise ApiError: the caller has not that right"""
        await self._api.require(call.caller, right)

    def root_url(self, call: Call, *parts: str) -> str:
        """The URL of something outside of organizations."""
        return "/".join([base_url(call.request, self._host), *(quote(part, safe=":") for part in parts)])

    def url(self, call: Call, *parts: str) -> str:
        """The URL of something in the caller's organization."""
        return self.root_url(call, "organizations", call.organization, *parts)

    async def key(self, given: str | None, *, make: bool) -> NewKey | None:
        """The key that a request gives, or one that is made for it.

        :raise InvalidRequest: what it gives is no key, or it wants both
        """
        if given is not None and make:
            raise shapes.InvalidRequest("public_key: expected none where a key is to be made")
        if given is not None:
            try:
                return NewKey(public=public_pem(parse_public_key(given.encode())), private=None)
            except (KeyFormatError, UnicodeEncodeError) as error:
                raise shapes.InvalidRequest(f"public_key: {error}") from None
        if not make:
            return None
        made = await self._make_key()
        return NewKey(public=public_pem(made.public_key()), private=private_pem(made).decode())

    async def first_key(self, call: Call, given: str | None, *, create: bool) -> NewKey | None:
        """The key of a new principal: in version 0 it always has one."""
        return await self.key(given, make=create or (given is None and api_version(call.request) == 0))

    def created(self, call: Call, uri: str, key: NewKey | None) -> Response:
        """The answer to a new principal."""
        body: dict[str, Any] = {"uri": uri}
        if key and api_version(call.request) == 0:
            body |= {"private_key": key.private} if key.private else {}
        elif key:
            body["chef_key"] = key_shape(DEFAULT_KEY, key.public) | {"uri": f"{uri}/keys/{DEFAULT_KEY}"}
            body["chef_key"] |= {"private_key": key.private} if key.private else {}
        return json_response(body, status=201, headers={"Location": uri})


def key_shape(name: str, public_key: str) -> dict[str, str]:
    """A key as the API shows it. Ours do not expire."""
    return {"name": name, "public_key": public_key, "expiration_date": "infinity"}


class UnknownVersion(Exception):
    """A version of the server API that there is not."""


def api_version(request: Request) -> int:
    """The version of the server API that a request asks for; 0 where it asks for none.

    :raise UnknownVersion: it is none of :data:`VERSIONS`
    """
    asked = request.getHeader(_VERSION_HEADER) or "0"
    for version in VERSIONS:
        if asked == str(version):
            return version
    raise UnknownVersion(asked)


def _versioned(handler: Handler) -> Handler:
    async def handle(call: Call, **parts: str) -> Response:
        try:
            version = api_version(call.request)
        except UnknownVersion as error:
            return _with_version(_unknown_version(str(error)), str(error), -1)
        return _with_version(await handler(call, **parts), str(version), version)

    return handle


def _unknown_version(asked: str) -> Response:
    body = {
        "error": "invalid-x-ops-server-api-version",
        "message": f"Specified version {asked} not supported",
        "min_api_version": VERSIONS[0],
        "max_api_version": VERSIONS[-1],
    }
    return json_response(body, status=406)


def _with_version(response: Response, asked: str, answered: int) -> Response:
    """The answer with the header by which Chef's clients find a version that both speak."""
    header = {
        "min_version": str(VERSIONS[0]),
        "max_version": str(VERSIONS[-1]),
        "request_version": asked,
        "response_version": str(answered),
    }
    return evolve(response, headers={**response.headers, _VERSION_HEADER: shapes.encode(header).decode()})


@contextmanager
def refusing(kind: type[Exception], status: int, text: str) -> Iterator[None]:
    """Answer what is raised within, if it is of this kind, so."""
    try:
        yield
    except kind:
        raise ApiError(status, text) from None
