"""One signed HTTP request and its answer, or an error that a person understands.

A request is signed (version 1.3), ends within a bounded time and brings at most a bounded answer; redirects are not
followed, because a signature holds for one path. Nothing is tried again here. What paths and bodies mean is for
:mod:`pushy_cli.api`.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

from attrs import frozen
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.protocol import Protocol as BodyProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IAgent, IResponse

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
Take = Callable[[bytes], None]


class Client(Protocol):
    """What of treq's client is used."""

    def request(self, method: str, url: str, **arguments: object) -> Deferred[IResponse]: ...


@frozen(kw_only=True)
class Answer:
    """What a request brought; the headers' names are in lower case."""

    body: bytes
    headers: Mapping[str, str]


@frozen(kw_only=True)
class Head:
    """What is known of an answer before its body; the headers' names are in lower case."""

    status: int
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
        response = await self._bounded(
            self._settings.request_timeout, lambda _: self._send(method, path, body, headers, lambda _: take)
        )
        shown = redacted(bytes(answer)) if accept == _JSON else f"{len(answer)} bytes"
        self._trace(f"< {response.code} {shown}".rstrip())
        if not 200 <= response.code < 300:
            raise refusal(response.code, bytes(answer), origin=self.origin, settings=self._settings)
        return Answer(body=bytes(answer), headers=_headers(response))

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
        failed: list[Exception] = []

        def sort(response: IResponse) -> Take:
            if not 200 <= response.code < 300:
                return lambda chunk: self._add(refused, chunk)
            head = Head(status=response.code, headers=_headers(response))
            take: Take | None = None
            try:
                take = begin(head)
            except Exception as error:
                failed.append(error)

            def take_chunk(chunk: bytes) -> None:
                if take is None:
                    raise failed[0]  # which closes the connection
                try:
                    take(chunk)
                except Exception as error:
                    failed.append(error)
                    raise

            return take_chunk

        def read(heard: Callable[[], None]) -> Awaitable[IResponse]:
            return self._send("GET", path, b"", headers, sort, heard)

        try:
            response = await self._bounded(silence, read)
        finally:
            if failed:  # it was not the connection
                raise failed[0]
        self._trace(f"< {response.code} (the stream has ended)")
        if not 200 <= response.code < 300:
            raise refusal(response.code, bytes(refused), origin=self.origin, settings=self._settings)

    async def _bounded(self, seconds: float, work: Callable[[Callable[[], None]], Awaitable[IResponse]]) -> IResponse:
        """Do `work`, for at most so many seconds since it last called what it is given.

        :raise CliError: no answer came, or it broke off.
        """
        timer = self._clock.callLater(seconds, lambda: working.cancel())

        def heard() -> None:
            nonlocal timer
            timer.cancel()
            timer = self._clock.callLater(seconds, working.cancel)

        async def begin() -> IResponse:
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
        sort: Callable[[IResponse], Take],
        heard: Callable[[], None] = lambda: None,
    ) -> IResponse:
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
        take = sort(response)

        def take_chunk(chunk: bytes) -> None:
            heard()
            take(chunk)

        await _deliver(response, take_chunk)
        return response

    def _add(self, body: bytearray, chunk: bytes) -> None:
        if len(body) + len(chunk) > MAX_RESPONSE_BYTES:
            raise Garbage(f"{self.origin} answered with more than {MAX_RESPONSE_BYTES} bytes", "Ask for less at once.")
        body += chunk


class _Body(BodyProtocol):
    """Gives a body's pieces to `take`; `done` fires at its end. Cancelling it, or an error, closes the connection."""

    def __init__(self, take: Take) -> None:
        self.done: Deferred[None] = Deferred(lambda _: self._close())
        self._take = take

    def dataReceived(self, data: bytes) -> None:
        if self.done.called:
            return
        try:
            self._take(data)
        except Exception:
            self.done.errback(Failure())
            self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(None)
        else:
            self.done.errback(reason)

    def _close(self) -> None:
        transport: Any = self.transport  # which mypy takes from zope's interface
        if transport is not None:
            transport.loseConnection()


def _deliver(response: Any, take: Take) -> Deferred[None]:
    body = _Body(take)
    response.deliverBody(body)
    return body.done


def _headers(response: IResponse) -> dict[str, str]:
    return {
        name.decode("latin-1").lower(): b", ".join(values).decode("latin-1")
        for name, values in response.headers.getAllRawHeaders()
    }
