"""The HTTP side of the double: routes, signatures, versions of the server API, rights, and answers as Chef gives them.

What is asked, how it is answered and with which status is Chef's published server API; its texts are those of a Chef
Infra Server. :class:`Mood` has it answer as servers do on bad days.
"""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from attrs import define, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from demo.chef import identities, nodes
from demo.chef.answers import Answer, Refusal, refusal
from demo.chef.data import Organization, World
from pushy_protocol.http_signing import MalformedSigning, SignedRequest, SigningError, parse
from pushy_protocol.keys import parse_public_key

VERSIONS = range(3)
_VERSION_HEADER = "X-Ops-Server-API-Version"


@define(kw_only=True)
class Mood:
    """How it answers.

    :param versions: of the server API that it speaks; None is a Chef Server of before there were any
    :param signatures: versions of the signature that it takes
    :param delay: seconds before each answer
    :param until: what each answer waits for
    :param instead: what it answers instead: a status and a body, by the request's path
    :param redirect: where it sends everybody
    :param breaks_off: closes the connection within the answer
    :param denied: requests that it denies, by who asks and the last but one or last part of the path
    """

    versions: range | None = VERSIONS
    signatures: frozenset[str] = frozenset({"1.0", "1.1", "1.3"})
    delay: float = 0.0
    until: Deferred[None] | None = None
    instead: Callable[[str], tuple[int, bytes] | None] = lambda path: None
    redirect: str | None = None
    breaks_off: bool = False
    denied: frozenset[tuple[str, str]] = frozenset()


@frozen(kw_only=True)
class Seen:
    """A request that came in."""

    method: str
    path: str
    user: str
    version: str


class ChefDouble(Resource):
    """All of it, to be served by a `Site`."""

    isLeaf = True

    def __init__(self, world: World, *, reactor: Any, now: Callable[[], float]) -> None:
        """:param now: seconds since the epoch"""
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's
        self.world = world
        self.mood = Mood()
        self.seen: list[Seen] = []
        self.most_at_once = 0
        self._at_once = 0
        self._awaited: list[Deferred[None]] = []
        self._reactor = reactor
        self._now = now

    async def came(self) -> None:
        """Wait for the next request."""
        awaited: Deferred[None] = Deferred()
        self._awaited.append(awaited)
        await awaited

    def render(self, request: Request) -> int:
        """Answer, later."""
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        answered = Deferred.fromCoroutine(self._serve(request))
        _ = answered.addBoth(self._served)
        _ = request.notifyFinish().addErrback(lambda _: answered.cancel())
        _ = answered.addErrback(lambda failure: failure.trap(CancelledError))
        return NOT_DONE_YET

    def _served(self, result: Any) -> Any:
        self._at_once -= 1
        return result

    async def _serve(self, request: Request) -> None:
        path = request.uri.partition(b"?")[0].decode("latin-1")
        headers = {
            name.decode().lower(): values[-1].decode() for name, values in request.requestHeaders.getAllRawHeaders()
        }
        method = request.method.decode()
        self.seen.append(
            Seen(
                method=method,
                path=path,
                user=headers.get("x-ops-userid", ""),
                version=headers.get(_VERSION_HEADER.lower(), "0"),
            )
        )
        awaited, self._awaited = self._awaited, []
        for one in awaited:
            one.callback(None)
        if self.mood.until:
            await self.mood.until
        if self.mood.delay:
            await deferLater(self._reactor, self.mood.delay)
        if self.mood.redirect is not None:
            request.setHeader("Location", self.mood.redirect + path)
            answer = Answer(status=301, body=b"<html>Moved</html>", content_type="text/html")
        elif (instead := self.mood.instead(path)) is not None:
            answer = Answer(status=instead[0], body=instead[1], content_type="text/html")
        else:
            try:
                answer = self._answer(method, path, headers, request)
            except Refusal as error:
                answer = error.answer
        request.setResponseCode(answer.status)
        request.setHeader("Content-Type", answer.content_type)
        for name, value in answer.headers.items():
            request.setHeader(name, value)
        if self.mood.breaks_off:
            request.setHeader("Content-Length", str(len(answer.body) + 1))
            request.write(answer.body)
            request.channel.forceAbortClient()
            return
        request.setHeader("Content-Length", str(len(answer.body)))
        if method != "HEAD":
            request.write(answer.body)
        request.finish()

    def _answer(self, method: str, path: str, headers: dict[str, str], request: Request) -> Answer:
        content: Any = request.content
        body: bytes = content.read()
        parts = [unquote(part) for part in path.split("/") if part]
        if parts == ["server_api_version"] and self.mood.versions:
            return Answer.of({"min_api_version": self.mood.versions[0], "max_api_version": self.mood.versions[-1]})
        version = self._version(headers)
        organization, rest = self._organization(parts)
        caller = self._authenticate(method, path, headers, body, organization)
        if {(caller.name, part) for part in parts[-2:]} & self.mood.denied:
            raise refusal(403, "missing read permission")
        if organization is None:
            raise refusal(404, f"There is nothing at {path} for {method}")
        call = identities.Call(
            world=self.world,
            organization=organization,
            caller=caller,
            method=method,
            parts=tuple(rest),
            version=version,
            base=f"https://{headers.get('host', 'localhost')}/organizations/{organization.name}",
        )
        kind = rest[0] if rest else ""
        answer = nodes.answer(call, request.args or {}, body) if kind in nodes.KINDS else identities.answer(call, body)
        if self.mood.versions is None:
            return answer
        said = {
            "min_version": str(self.mood.versions[0]),
            "max_version": str(self.mood.versions[-1]),
            "request_version": str(version),
            "response_version": str(version),
        }
        return Answer(
            status=answer.status, body=answer.body, headers={**answer.headers, _VERSION_HEADER: json.dumps(said)}
        )

    def _version(self, headers: dict[str, str]) -> int:
        asked = headers.get(_VERSION_HEADER.lower(), "0")
        if self.mood.versions is None:
            return 0
        if asked.isdigit() and int(asked) in self.mood.versions:
            return int(asked)
        body = {
            "error": "invalid-x-ops-server-api-version",
            "message": f"Specified version {asked} not supported",
            "min_api_version": self.mood.versions[0],
            "max_api_version": self.mood.versions[-1],
        }
        raise Refusal(Answer.of(body, status=406))

    def _organization(self, parts: list[str]) -> tuple[Organization | None, list[str]]:
        if parts[:1] != ["organizations"] or len(parts) < 2:
            return None, parts
        found = self.world.organizations.get(parts[1])
        if found is None:
            if parts[2:3] == ["principals"]:
                body = {"not_found": "org", "error": f"Cannot find org {parts[1]}"}
                raise Refusal(Answer.of(body, status=404))
            raise refusal(404, f"organization '{parts[1]}' does not exist.")
        return found, parts[2:]

    def _authenticate(
        self, method: str, path: str, headers: dict[str, str], body: bytes, organization: Organization | None
    ) -> identities.Caller:
        try:
            signed = parse(headers)
            if signed.version not in self.mood.signatures:
                raise MalformedSigning("Unsupported authentication protocol version")
            signed.check_content(body)
            signed.check_clock(self._now())
            return self._caller(signed, method, path, organization)
        except SigningError as error:
            raise refusal(error.status, str(error)) from None

    def _caller(
        self, signed: SignedRequest, method: str, path: str, organization: Organization | None
    ) -> identities.Caller:
        name = signed.user
        as_user = self.world.users.get(name, {})
        as_client = organization.clients.get(name, {}) if organization else {}
        if not as_user and not as_client:
            raise SigningError(
                f"Failed to authenticate as '{name}'. Ensure that your node_name and client key are correct."
            )
        keys = [(pem, is_user) for owned, is_user in ((as_user, True), (as_client, False)) for pem in owned.values()]
        parsed = [parse_public_key(pem.encode()) for pem, _ in keys]
        key = signed.check_signature(method=method, path=path, public_keys=parsed)
        is_user = keys[parsed.index(key)][1]
        return identities.Caller(name=name, is_user=is_user)
