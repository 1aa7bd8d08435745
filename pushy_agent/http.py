"""Signed HTTP requests to the server, bounded in time and size, with causes that an operator understands.

Every way in which a request can fail ends as :class:`Unreachable`, whose text says why: DNS, refused, TLS, silence.
An answer, whatever its status, is no failure here; what it means is for the caller.
"""

from collections.abc import Callable
from typing import Any, NoReturn, cast
from urllib.parse import urlsplit

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from OpenSSL import SSL
from service_identity import VerificationError
from treq.client import HTTPClient
from twisted.internet import error as errors
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent

from pushy_agent.clock import Clock
from pushy_agent.tls import Policy
from pushy_protocol import http_signing
from pushy_protocol.api import ErrorBody, InvalidRequest, decode

REQUEST_TIMEOUT = 30.0
"""Seconds for a whole request: name, connection, TLS, answer."""

MAX_RESPONSE = 256 * 1024
"""Bytes of an answer's body; a node's configuration has some 1,500."""


class Unreachable(Exception):
    """There is no answer; the text says why."""


@frozen(kw_only=True)
class Answer:
    """An answer of the server."""

    status: int
    body: bytes

    def error(self) -> str:
        """Its status and what the server says of it, in one line."""
        try:
            said = decode(self.body, ErrorBody).error
        except InvalidRequest:
            said = self.body[:200].decode(errors="replace")
        text = said if isinstance(said, str) else "; ".join(said)
        return f"HTTP {self.status}: {' '.join(text.split())[:500] or 'no text'}"


def make_client(reactor: object, policy: Policy) -> HTTPClient:
    """An HTTP client that checks certificates by `policy`, with a new connection for each request."""
    return HTTPClient(cast("IAgent", Agent(reactor, policy, connectTimeout=REQUEST_TIMEOUT)))


class SignedClient:
    """Makes requests that are signed (version 1.3) with a key."""

    def __init__(self, client: HTTPClient, clock: Clock, now: Callable[[], float]) -> None:
        """:param now: gives the seconds since the epoch"""
        self._client = client
        self._clock = clock
        self._now = now

    async def request(self, method: str, url: str, *, user: str, key: RSAPrivateKey, body: bytes = b"") -> Answer:
        """Send a request as `user`, and read the whole answer.

        :raise Unreachable: there is none, in time and within the bounds.
        """
        headers = http_signing.sign(
            private_key=key, user=user, method=method, path=urlsplit(url).path, body=body, now=self._now()
        )
        headers |= {"Accept": "application/json", "Content-Type": "application/json"}
        clock = cast("IReactorTime", self._clock)  # of which only callLater is used
        exchange = Deferred.fromCoroutine(self._exchange(method, url, headers, body))
        try:
            return await exchange.addTimeout(REQUEST_TIMEOUT, clock, _too_late)
        except (CancelledError, Unreachable):
            raise
        except Exception as error:
            if isinstance(_cause(error), CancelledError):  # by our caller, in Twisted's wrapping
                raise CancelledError from error
            # What fails in a request is told by some dozen classes of several libraries.
            raise Unreachable(explain(error, urlsplit(url).hostname or "")) from error

    async def _exchange(self, method: str, url: str, headers: dict[str, str], body: bytes) -> Answer:
        # Redirects are not followed: what is signed is for this server.
        response = await self._client.request(
            method,
            url,
            headers=Headers({name: [value] for name, value in headers.items()}),
            data=body or None,
            allow_redirects=False,
            unbuffered=True,
            reactor=cast("Any", self._clock),  # of which it uses callLater, for a timeout that we do not set
        )
        return Answer(status=response.code, body=await _read(response))


def explain(error: BaseException, host: str) -> str:
    """Why a request failed, in an operator's words."""
    match _cause(error):
        case errors.DNSLookupError():
            return f"DNS: no address for {host}"
        case errors.ConnectionRefusedError():
            return "connection refused"
        case errors.NoRouteError():
            return "no route to the host"
        case errors.TimeoutError():
            return f"no connection within {REQUEST_TIMEOUT:.0f} s"
        case VerificationError():
            return f"TLS: the server's certificate is not for {host}"
        case SSL.Error(args=details):
            return f"TLS: {_openssl_words(details)}"
        case errors.ConnectionClosed():
            return "the connection was closed before the answer"
        case errors.ConnectError() as cause:
            return f"connection failed: {cause}"
        case cause:
            return f"{type(cause).__name__}: {cause}"


def _cause(error: BaseException) -> BaseException:
    """What Twisted wraps in lists of Failures: the first that is more than the loss of the connection."""
    causes = [reason.value for reason in getattr(error, "reasons", ())]
    if not causes:
        return error
    telling = [cause for cause in causes if not isinstance(cause, errors.ConnectionClosed)]
    return _cause((telling or causes)[0])


def _too_late(_result: object, timeout: float) -> NoReturn:
    raise Unreachable(f"no answer within {timeout:.0f} s")


class _Body(Protocol):
    """Collects a body; `done` fires with it. Too much of it, or a cancelled `done`, closes the connection."""

    def __init__(self) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._close())
        self._data = bytearray()

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > MAX_RESPONSE and not self.done.called:
            self.done.errback(Unreachable(f"the answer has more than {MAX_RESPONSE} bytes"))
            self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(bytes(self._data))
        else:
            self.done.errback(reason)

    def _close(self) -> None:
        self._data.clear()
        if self.transport is not None:
            transport: Any = self.transport  # which mypy takes from zope's interface
            transport.loseConnection()


def _read(response: Any) -> Deferred[bytes]:
    body = _Body()
    response.deliverBody(body)
    return body.done


def _openssl_words(details: tuple[Any, ...]) -> str:
    # A list of (library, function, reason); empty where the peer just left.
    reasons = [str(entry[-1]) for entry in details[0]] if details else []
    return "; ".join(reasons) or "the handshake was broken off"
