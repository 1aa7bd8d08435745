"""One signed HTTP request and its answer, or an error that a person understands.

A request is signed (version 1.3), ends within a bounded time and brings at most a bounded answer; redirects are not
followed, because a signature holds for one path. Nothing is tried again here. What paths and bodies mean is for
:mod:`pushy_cli.api`.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, cast
from urllib.parse import urlsplit

from attrs import frozen
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.iweb import IAgent, IResponse

from pushy_cli.bodies import Head, Reading, Take, deliver, head_of
from pushy_cli.clock import Clock
from pushy_cli.context import Settings
from pushy_cli.errors import CliError, Garbage
from pushy_cli.faults import no_answer, refusal
from pushy_cli.proxy import ProxyEndpoints, proxy_for
from pushy_cli.redact import redacted
from pushy_cli.tls import Policy
from pushy_protocol.http_signing import sign

MAX_RESPONSE_BYTES = 65 * 1024 * 1024
"""The largest answer that is held: the output of a node has at most 64 MiB, the states of 100,000 nodes some 10 MB."""

CONNECTIONS = 8
"""Connections that are kept open to the server, so how many requests make sense at once."""

_JSON = "application/json"


class Client(Protocol):
    """What of treq's client is used."""

    def request(self, method: str, url: str, **arguments: object) -> Deferred[IResponse]: ...


@frozen(kw_only=True)
class Answer:
    """What a request brought; the headers' names are in lower case."""

    body: bytes
    headers: Mapping[str, str]


def make_client(reactor: object, settings: Settings, environment: Mapping[str, str]) -> HTTPClient:
    """An HTTP client that checks certificates as the settings say and keeps connections open.

    :param environment: may name proxies (`HTTPS_PROXY`, `NO_PROXY`...)
    """
    pool = HTTPConnectionPool(reactor, persistent=True)
    pool.maxPersistentPerHost = CONNECTIONS
    policy = Policy(trusted=settings.trusted, verify=settings.verify_tls)
    timeout = settings.request_timeout
    if proxy := proxy_for(settings.server_url, environment):
        agent = Agent.usingEndpointFactory(reactor, ProxyEndpoints(reactor, proxy, policy, timeout), pool)
    else:
        agent = Agent(reactor, policy, connectTimeout=timeout, pool=pool)
    return HTTPClient(cast("IAgent", agent))


class Transport:
    """Sends requests to the organization's URL in the name of the settings' client."""

    def __init__(
        self,
        settings: Settings,
        *,
        client: Client,
        clock: Clock,
        now: Callable[[], float],
        trace: Callable[[str], None] | None = None,
    ) -> None:
        """:param now: gives the seconds since the epoch, for signatures
        :param trace: takes a line on each request and answer, without secrets
        """
        self._settings = settings
        self._client = client
        self._clock = clock
        self._now = now
        self._trace = trace or (lambda line: None)
        parts = urlsplit(settings.server_url)
        self._path = parts.path
        self.origin = f"{parts.scheme}://{parts.netloc}"

    async def request(self, method: str, path: str, body: bytes = b"", *, accept: str = _JSON) -> bytes:
        """The body of the answer to a request.

        :param path: below the organization's URL, without a slash in front; percent-encoded
        :raise CliError: there is none, or it is an error.
        """
        return (await self.exchange(method, path, body, accept=accept)).body

    async def exchange(
        self, method: str, path: str, body: bytes = b"", *, accept: str = _JSON, api_version: str = "0"
    ) -> Answer:
        """The same, with the answer's headers.

        :param path: as above, or with a slash in front: from the server's root
        :param api_version: of Chef's own API (`X-Ops-Server-API-Version`)
        """
        answer = bytearray()

        def take(chunk: bytes) -> None:
            self._add(answer, chunk)

        headers = {"Accept": accept, "X-Ops-Server-API-Version": api_version}
        head = await self._bounded(
            self._settings.request_timeout, lambda _: self._send(method, path, body, headers, lambda _: take)
        )
        shown = redacted(bytes(answer)) if accept == _JSON else f"{len(answer)} bytes"
        self._trace(f"< {head.status} {shown}".rstrip())
        if not head.is_good:
            raise refusal(head.status, bytes(answer), origin=self.origin, settings=self._settings)
        return Answer(body=bytes(answer), headers=head.headers)

    async def stream(
        self, path: str, begin: Callable[[Head], Take], *, headers: Mapping[str, str], silence: float
    ) -> None:
        """Read an answer as it comes, until the server ends it.

        :param begin: is told of an answer that is no error, and says who is given its bytes; what either raises ends
            the reading
        :param headers: of the request, with what is accepted
        :param silence: seconds without a byte after which the connection counts as lost
        :raise CliError: there is no such thing, or the connection was lost.
        """
        refused = bytearray()
        reading = Reading(begin)

        def sort(head: Head) -> Take:
            return reading.reader(head) if head.is_good else lambda piece: self._add(refused, piece)

        def read(heard: Callable[[], None]) -> Awaitable[Head]:
            return self._send("GET", path, b"", headers, sort, heard)

        try:
            head = await self._bounded(silence, read)
        finally:
            if reading.failed is not None:  # it was not the connection
                raise reading.failed
        self._trace(f"< {head.status} (the stream has ended)")
        if not head.is_good:
            raise refusal(head.status, bytes(refused), origin=self.origin, settings=self._settings)

    async def _bounded(self, seconds: float, work: Callable[[Callable[[], None]], Awaitable[Head]]) -> Head:
        """Do `work`, for at most so many seconds since it last called what it is given.

        :raise CliError: no answer came, or it broke off.
        """
        timer = self._clock.callLater(seconds, lambda: working.cancel())

        def heard() -> None:
            nonlocal timer
            timer.cancel()
            timer = self._clock.callLater(seconds, working.cancel)

        async def begin() -> Head:
            return await work(heard)

        # Not Deferred.addTimeout: a request that is cancelled ends in one of several errors, not all of which it knows.
        working = Deferred.fromCoroutine(begin())
        try:
            return await working
        except CliError:
            raise
        except Exception as error:
            # Twisted wraps what happened within a connection in a list of Failures.
            causes = [reason.value for reason in getattr(error, "reasons", ())] or [error]
            if not timer.active():
                causes = [ConnectTimeout()]
            elif any(isinstance(cause, CancelledError) for cause in causes):
                raise CancelledError from error
            raise no_answer(causes, origin=self.origin, seconds=seconds) from error
        finally:
            if timer.active():
                timer.cancel()

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        sort: Callable[[Head], Take],
        heard: Callable[[], None] = lambda: None,
    ) -> Head:
        """Send a signed request, and give every piece of the answer's body to what `sort` says."""
        full_path = path if path.startswith("/") else f"{self._path}/{path}"
        self._trace(f"> {method} {self.origin}{full_path} {redacted(body)}".rstrip())
        signed = sign(
            private_key=self._settings.client_key,
            user=self._settings.client_name,
            method=method,
            path=full_path,
            body=body,
            now=self._now(),
            server_api_version=headers.get("X-Ops-Server-API-Version", "0"),
        )
        if body:
            signed["Content-Type"] = _JSON
        response = await self._client.request(
            method,
            f"{self.origin}{full_path}",
            headers={**signed, **headers},
            data=body or None,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._clock,
        )
        head = head_of(response)
        take = sort(head)

        def take_chunk(chunk: bytes) -> None:
            heard()
            take(chunk)

        await deliver(response, take_chunk)
        return head

    def _add(self, body: bytearray, chunk: bytes) -> None:
        if len(body) + len(chunk) > MAX_RESPONSE_BYTES:
            raise Garbage(f"{self.origin} answered with more than {MAX_RESPONSE_BYTES} bytes", "Ask for less at once.")
        body += chunk
