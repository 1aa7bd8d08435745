"""The frame of the API: routes, and what is done for each of them alike.

Size (while reading), authentication, authorization, then the handler; in this order, so that strangers learn nothing.
A handler gets a :class:`Call` and returns a `Response`, or raises.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from attrs import field, frozen
from klein import Klein
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import combinedLogFormatter, datetimeToLogString
from twisted.web.server import Request, Site

from pushyd.identity.authenticate import Signature, authenticate, authenticate_user
from pushyd.identity.authorize import Right, may
from pushyd.identity.interface import Caller, Identity
from pushyd.web.errors import JSON, ApiError, Response, answer_to
from pushyd.web.requests import BoundedRequest, NormalizingResource, accepts, lower_headers, signed_path

IDLE_SECONDS = 120
"""After which a connection without a request is closed."""

FORBIDDEN = "User or client '{name}' does not have access to that action on this server."


@frozen(kw_only=True)
class Call:
    """A request that is allowed: who makes it, and what it says."""

    request: Request = field(repr=False)
    caller: Caller
    body: bytes = field(repr=False)

    @property
    def organization(self) -> str:
        """The organization that it is about."""
        return self.caller.organization


class Handler(Protocol):
    """Answers a call; the parts of its path that vary come by name."""

    def __call__(self, call: Call, **parts: str) -> Awaitable[Response]: ...


class Api:
    """The routes, and the site that serves them."""

    log = Logger()

    def __init__(self, *, identity: Identity, now: Callable[[], float]) -> None:
        """:param now: seconds since the epoch"""
        self.identity = identity
        self._now = now
        self._klein = Klein()
        self._klein.handle_errors(Exception)(self._failed)

    def site(self) -> Site:
        """What serves the API on any endpoint."""
        return Site(
            NormalizingResource(self._klein),
            requestFactory=BoundedRequest,
            logFormatter=self._access_line,
            timeout=IDLE_SECONDS,
            parsePOSTFormSubmission=False,  # every body is JSON, whatever type it is said to have
        )

    def _access_line(self, _timestamp: str, request: Request) -> str:
        # Twisted's timestamp is the reactor's, whose clock is monotonic.
        line: str = combinedLogFormatter(datetimeToLogString(self._now()), request)
        return line

    def open_route(self, method: str, path: str, handler: Callable[[], Response]) -> None:
        """A route for everybody; it learns nothing of the request."""

        def serve(request: Request, **_parts: str) -> bytes:
            return self._write(request, handler())

        self._klein.route(path, methods=[method], endpoint=f"{method} {path}")(serve)

    def route(
        self,
        method: str,
        path: str,
        handler: Callable[..., Awaitable[Response]],
        *,
        right: Right | None,
        content_type: str = JSON,
    ) -> None:
        """A route below ``/organizations/ORG/``, for callers that have `right` (None: the handler decides).

        An empty `path` is the organization itself.
        """

        async def serve(request: Request, organization: str, **parts: str) -> bytes:
            _require_acceptable(request, content_type)
            call = await self._admit(request, organization, right)
            return self._write(request, await handler(call, **parts))

        path = f"/organizations/<organization>/{path}".rstrip("/")
        self._klein.route(path, methods=[method], endpoint=f"{method} {path}")(serve)

    def root_route(
        self, method: str, path: str, handler: Callable[..., Awaitable[Response]], *, right: Right | None
    ) -> None:
        """A route that is about no organization, for users that have `right` (None: the handler decides)."""

        async def serve(request: Request, **parts: str) -> bytes:
            _require_acceptable(request, JSON)
            call = await self._admit(request, None, right)
            return self._write(request, await handler(call, **parts))

        self._klein.route(f"/{path}", methods=[method], endpoint=f"{method} {path}")(serve)

    def stream_route(
        self,
        path: str,
        handler: Callable[..., Awaitable[None]],
        *,
        right: Right,
        content_type: str,
        is_download: bool = False,
    ) -> None:
        """A route below ``/organizations/ORG/`` that is answered piece by piece, by the handler itself.

        :param is_download: a caller that accepts no such type is refused, and HEAD is the handler's affair too
        """

        async def serve(request: Request, organization: str, **parts: str) -> bytes:
            if is_download:
                _require_acceptable(request, content_type)
            call = await self._admit(request, organization, right)
            request.setHeader("Content-Type", content_type)
            if is_download or request.method != b"HEAD":
                await handler(call, **parts)
            return b""

        path = f"/organizations/<organization>/{path}"
        self._klein.route(path, methods=["GET"], endpoint=f"GET {path}")(serve)

    async def require(self, caller: Caller, right: Right) -> None:
        """:raise ApiError: the caller has not that right"""
        if not await may(self.identity, caller, right):
            raise ApiError(403, FORBIDDEN.format(name=caller.name))

    async def _admit(self, request: Request, organization: str | None, right: Right | None) -> Call:
        content = request.content
        body = content.read() if content else b""
        signature = Signature(
            headers=lower_headers(request),
            method=request.method.decode("latin-1"),
            path=signed_path(request),
            body=body,
        )
        if organization is None:
            caller = await authenticate_user(self.identity, signature=signature, now=self._now)
        else:
            caller = await authenticate(self.identity, organization=organization, signature=signature, now=self._now)
        if right is not None:
            await self.require(caller, right)
        return Call(request=request, caller=caller, body=body)

    def _failed(self, request: Request, failure: Failure) -> bytes:
        return self._write(request, answer_to(failure, self.log))

    def _write(self, request: Request, response: Response) -> bytes:
        request.setResponseCode(response.status)
        request.setHeader("Content-Type", response.content_type)
        request.setHeader("Content-Length", str(len(response.body)))
        for name, value in response.headers.items():
            request.setHeader(name, value)
        return response.body


def _require_acceptable(request: Request, content_type: str) -> None:
    if not accepts(request, content_type):
        raise ApiError(406, f"Not acceptable; this is {content_type}.")
