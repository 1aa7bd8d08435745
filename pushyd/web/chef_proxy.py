"""With a Chef Server as identity: Chef's own API below an organization, asked of the Chef Server in the caller's name.

What a caller sent goes on as it is, with the caller's signature, which holds for any server: so the Chef Server decides
what the caller may see and change, not we. It must be known here first, so that strangers cannot use us to reach a
server that they do not reach themselves. What is not below an organization is not served.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from twisted.web.server import Request

from pushy_protocol.http_signing import canonical_path
from pushyd.web.app import Api, Call
from pushyd.web.errors import ApiError, Response
from pushyd.web.requests import lower_headers

PATHS: Mapping[str, tuple[str, ...]] = {
    "": ("GET", "PUT"),
    "clients": ("GET", "POST"),
    "clients/<name>": ("GET", "PUT", "DELETE"),
    "clients/<name>/keys": ("GET", "POST"),
    "clients/<name>/keys/<key>": ("GET", "PUT", "DELETE"),
    "groups": ("GET", "POST"),
    "groups/<name>": ("GET", "PUT", "DELETE"),
    "nodes": ("GET", "POST"),
    "nodes/<name>": ("GET", "PUT", "DELETE"),
    "principals/<name>": ("GET",),
    "search": ("GET",),
    "search/<index>": ("GET", "POST"),
    "users": ("GET", "POST"),
    "users/<name>": ("GET", "DELETE"),
}
"""What goes on to the Chef Server, below ``/organizations/ORG``, and with which methods."""

_AT_ROOT = ("users", "users/<name>", "users/<name>/keys", "users/<name>/keys/<key>", "organizations")
_TO_CHEF = ("accept", "content-type", "x-chef-version")
_FROM_CHEF = ("location", "x-ops-server-api-version")


class Answered(Protocol):
    """An answer of the Chef Server; header names are in lower case."""

    @property
    def status(self) -> int: ...

    @property
    def body(self) -> bytes: ...

    @property
    def headers(self) -> Mapping[str, str]: ...


class Forward(Protocol):
    """Asks the Chef Server; see :meth:`pushyd.identity.chef_http.ChefHttp.forward`."""

    def __call__(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Awaitable[Answered]: ...


def add_routes(api: Api, *, forward: Forward, changed: Callable[[], None]) -> None:
    """Serve it.

    :param changed: called when something may have been changed
    """

    async def handle(call: Call, **_parts: str) -> Response:
        method = call.request.method.decode("latin-1")
        answer = await forward(method, _target(call.request), _to_chef(call.request), call.body)
        if method not in {"GET", "HEAD"} and answer.status < 300:
            changed()
        return Response(
            status=answer.status,
            body=answer.body,
            content_type=answer.headers.get("content-type", "application/json"),
            headers={name: answer.headers[name] for name in _FROM_CHEF if name in answer.headers},
        )

    for path, methods in PATHS.items():
        for method in methods:
            api.route(method, path, handle, right=None)
    for path in _AT_ROOT:
        for method in ("GET", "POST", "PUT", "DELETE"):
            api.open_route(method, f"/{path}", _elsewhere)


def _target(request: Request) -> str:
    """Path and query, in one form: a Chef Server need not know doubled slashes, which are not signed either.

    :raise ApiError: the path is none, and behind a server's name would make another one of it
    """
    path, mark, query = request.uri.decode("latin-1").partition("?")
    if not path.startswith("/"):
        raise ApiError(400, "expected a path")
    return canonical_path(path) + mark + query


def _to_chef(request: Request) -> dict[str, str]:
    headers = lower_headers(request)
    return {name: value for name, value in headers.items() if name in _TO_CHEF or name.startswith("x-ops-")}


def _elsewhere() -> Response:
    raise ApiError(404, "Users and organizations are on the Chef Server; ask it.")
