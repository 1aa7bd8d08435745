"""One signed HTTP request and its answer, or an error that a person understands.

A request is signed (version 1.3), ends within a bounded time and brings at most a bounded answer; redirects are not
followed, because a signature holds for one path. Nothing is tried again here. What paths and bodies mean is for
:mod:`pushy_cli.api`.
"""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Protocol, cast
from urllib.parse import urlsplit

from OpenSSL import SSL
from service_identity import VerificationError
from treq.client import HTTPClient
from treq.content import collect
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.error import ConnectionRefusedError as Refusal
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.iweb import IAgent, IResponse

from pushy_cli.clock import Clock
from pushy_cli.context import Settings
from pushy_cli.errors import (
    CliError,
    Garbage,
    NoAnswer,
    NotFound,
    Refused,
    Rejected,
    ServerFault,
    Unreachable,
    Untrusted,
)
from pushy_cli.redact import redacted
from pushy_cli.render import plain
from pushy_cli.tls import Policy
from pushy_protocol import api
from pushy_protocol.http_signing import sign

MAX_RESPONSE_BYTES = 64 * 1024 * 1024
"""The largest answer that is read; the states of 100,000 nodes have some 10 MB."""

CONNECTIONS = 8
"""Connections that are kept open to the server, so how many requests make sense at once."""

_JSON = "application/json"
_MAX_TEXT = 500
_BUSY = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
_WRONG = {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE}


class Client(Protocol):
    """What of treq's client is used."""

    def request(self, method: str, url: str, **arguments: object) -> Deferred[IResponse]: ...


def make_client(reactor: object, settings: Settings) -> HTTPClient:
    """An HTTP client that checks certificates as the settings say and keeps connections open."""
    pool = HTTPConnectionPool(reactor, persistent=True)
    pool.maxPersistentPerHost = CONNECTIONS
    policy = Policy(trusted=settings.trusted, verify=settings.verify_tls)
    agent = Agent(reactor, policy, connectTimeout=settings.request_timeout, pool=pool)
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
        self._trace = trace
        parts = urlsplit(settings.server_url)
        self._path = parts.path
        self.origin = f"{parts.scheme}://{parts.netloc}"

    async def request(self, method: str, path: str, body: bytes = b"", *, accept: str = _JSON) -> bytes:
        """The body of the answer to a request.

        :param path: below the organization's URL, without a slash in front; percent-encoded
        :raise CliError: there is none, or it is an error.
        """
        if self._trace:
            self._trace(f"> {method} {self._settings.server_url}/{path} {redacted(body)}".rstrip())
        exchange = Deferred.fromCoroutine(self._exchange(method, path, body, accept))
        # Not Deferred.addTimeout: a request that is cancelled ends in one of several errors, not all of which it knows.
        timer = self._clock.callLater(self._settings.request_timeout, exchange.cancel)
        try:
            status, answer = await exchange
        except CliError:
            raise
        except Exception as error:
            # Twisted wraps what happened within a connection in a list of Failures.
            causes = [reason.value for reason in getattr(error, "reasons", ())] or [error]
            if not timer.active():
                causes = [ConnectTimeout()]
            elif any(isinstance(cause, CancelledError) for cause in causes):
                raise CancelledError from error
            raise self._no_answer(causes) from error
        finally:
            if timer.active():
                timer.cancel()
        if self._trace:
            self._trace(f"< {status} {redacted(answer) if accept == _JSON else f'{len(answer)} bytes'}")
        if not 200 <= status < 300:
            raise self._error(status, answer)
        return answer

    async def _exchange(self, method: str, path: str, body: bytes, accept: str) -> tuple[int, bytes]:
        full_path = f"{self._path}/{path}"
        headers = sign(
            private_key=self._settings.client_key,
            user=self._settings.client_name,
            method=method,
            path=full_path,
            body=body,
            now=self._now(),
        )
        headers["Accept"] = accept
        if body:
            headers["Content-Type"] = _JSON
        response = await self._client.request(
            method,
            f"{self.origin}{full_path}",
            headers=headers,
            data=body or None,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._clock,
        )
        chunks: list[bytes] = []
        size = 0

        def take(chunk: bytes) -> None:
            nonlocal size
            size += len(chunk)
            if size > MAX_RESPONSE_BYTES:
                raise Garbage(
                    f"{self.origin} answered with more than {MAX_RESPONSE_BYTES} bytes", "Ask for less at once."
                )
            chunks.append(chunk)

        await collect(response, take)
        return response.code, b"".join(chunks)

    def _no_answer(self, causes: Sequence[BaseException]) -> CliError:
        """The error for a connection or an exchange that failed."""
        for cause in causes:
            if isinstance(cause, VerificationError):
                return Untrusted(
                    f"The certificate of {self.origin} is for another name",
                    "Use the name that is in its certificate as the server's URL.",
                )
            if isinstance(cause, SSL.Error) and "certificate verify failed" in str(cause):
                return Untrusted(
                    f"The certificate of {self.origin} is signed by nobody who is trusted here",
                    "If the server is yours, name its CA's certificate with --ca-file, PUSHY_CA_FILE or ca_file.",
                )
        never_sent = any(isinstance(cause, DNSLookupError | Refusal) for cause in causes)
        return (Unreachable if never_sent else NoAnswer)(
            f"Cannot reach {self.origin}: {_reason(causes, self._settings.request_timeout)}",
            "Check the server's URL, the network, and that pushyd runs there.",
        )

    def _error(self, status: int, body: bytes) -> CliError:
        """The error for an answer that is one."""
        text = _error_text(body)
        phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "unknown status"
        said = text or f"{status} {phrase}"
        name = self._settings.client_name
        if status == HTTPStatus.UNAUTHORIZED:
            return Refused(
                f"The server does not accept '{name}' with the key of {self._settings.key_source}: {said}",
                "Check the client's name, that this is its key, and this machine's clock.",
            )
        if status == HTTPStatus.FORBIDDEN:
            return Refused(
                f"The server does not allow this to '{name}': {said}",
                "An administrator can add it to group pushy_job_writers (to run) or pushy_job_readers (to look).",
            )
        if status == HTTPStatus.NOT_FOUND:
            return NotFound(f"{self.origin}: {said}", "Check the organization in the server's URL.")
        if 500 <= status < 600 or status in _BUSY:
            return ServerFault(
                f"{self.origin} is at fault: {said} (status {status})", "Try again, and look into the server's log."
            )
        if status in _WRONG:
            return Rejected(f"The server refuses the request: {said}", "Mend the request, or look into its help.")
        return Garbage(f"{self.origin} answered with status {status} {phrase}", "Check the server's URL.")


def _reason(causes: Sequence[BaseException], timeout: float) -> str:
    """In a few words, why there was no answer."""
    for cause in causes:
        match cause:
            case ConnectTimeout():
                return f"no answer within {timeout:g} s"
            case DNSLookupError():
                return "its name is not known"
            case Refusal():
                return "connection refused"
            case SSL.Error():
                return "it does not speak TLS as we do"
            case ConnectError():
                return str(cause).rstrip(".")
    if any(isinstance(cause, ConnectionClosed) for cause in causes):
        return "the connection was closed before there was an answer"
    return f"{type(causes[0]).__name__}: {causes[0]}"


def _error_text(body: bytes) -> str:
    """What an error's body says; nothing where it is not in the API's form."""
    try:
        said = api.decode(body[: 64 * 1024], api.ErrorBody).error
    except api.InvalidRequest:
        return ""
    return plain(said if isinstance(said, str) else "; ".join(said))[:_MAX_TEXT]
