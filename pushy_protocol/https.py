"""Signed HTTP requests to the server, bounded in time and size, with causes that an operator understands.

Every way in which a request can fail ends as :class:`Unreachable`, whose text says why: DNS, refused, TLS, silence.
An answer, whatever its status, is no failure here; what it means is for the caller.
"""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Protocol, cast
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from OpenSSL import SSL
from service_identity import VerificationError
from treq.client import HTTPClient
from twisted.internet import error as errors
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol as BodyProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone, _HTTP11ClientFactory
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent

from pushy_protocol import http_signing
from pushy_protocol.answer import MAX_RESPONSE as MAX_RESPONSE
from pushy_protocol.answer import REQUEST_TIMEOUT as REQUEST_TIMEOUT
from pushy_protocol.answer import Answer as Answer
from pushy_protocol.answer import Unreachable as Unreachable
from pushy_protocol.tls import Policy


class Clock(Protocol):
    """What of a reactor is used beside connections."""

    def callLater(self, delay: float, callable: Callable[..., Any], /, *args: object) -> Any:  # noqa: A002
        """Call after `delay` seconds."""


class _QuietFactory(_HTTP11ClientFactory):
    """Does not log each connection that begins and ends."""

    noisy = False


class _Pool(HTTPConnectionPool):
    """Makes quiet connections; Twisted has no other way to say so."""

    _factory = _QuietFactory


def make_client(
    reactor: object, policy: Policy, *, connections: int = 0, connect_timeout: float = REQUEST_TIMEOUT
) -> HTTPClient:
    """An HTTP client that checks certificates by `policy`.

    :param connections: how many are kept open to a server between requests; without any, each request makes its own
    """
    pool = _Pool(reactor, persistent=connections > 0)  # type: ignore[no-untyped-call]  # Twisted's
    pool.maxPersistentPerHost = connections
    return HTTPClient(cast("IAgent", Agent(reactor, policy, connectTimeout=connect_timeout, pool=pool)))


class SignedClient:
    """Makes requests that are signed with a key."""

    def __init__(
        self,
        client: HTTPClient,
        clock: Clock,
        now: Callable[[], float],
        *,
        timeout: float = REQUEST_TIMEOUT,
        version: str = "1.3",
    ) -> None:
        """:param now: gives the seconds since the epoch
        :param timeout: seconds that a request may take as a whole
        :param version: of the signatures
        """
        self._client = client
        self._clock = clock
        self._now = now
        self._timeout = timeout
        self._version = version

    async def request(
        self,
        method: str,
        url: str,
        *,
        user: str,
        key: RSAPrivateKey,
        body: bytes = b"",
        server_api_version: str = "0",
        headers: Mapping[str, str] | None = None,
        max_response: int = MAX_RESPONSE,
    ) -> Answer:
        """Send a request as `user`, and read the whole answer.

        :param headers: others than those of the signature
        :raise Unreachable: there is none, in time and within the bounds.
        """
        signature = http_signing.sign(
            private_key=key,
            user=user,
            method=method,
            path=urlsplit(url).path,
            body=body,
            now=self._now(),
            version=self._version,
            server_api_version=server_api_version,
        )
        sent = {**signature, "Accept": "application/json", "Content-Type": "application/json", **(headers or {})}
        return await self.send(method, url, headers=sent, body=body, max_response=max_response)

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes = b"", max_response: int = MAX_RESPONSE
    ) -> Answer:
        """Send a request with these headers, which may have a signature of somebody else, and read the whole answer.

        :raise Unreachable: there is none, in time and within the bounds.
        """
        clock = cast("IReactorTime", self._clock)  # of which only callLater is used
        exchange = Deferred.fromCoroutine(self._exchange(method, url, headers, body, max_response))
        try:
            return await exchange.addTimeout(self._timeout, clock, _too_late)
        except (CancelledError, Unreachable):
            raise
        except Exception as error:
            if isinstance(_cause(error), CancelledError):  # by our caller, in Twisted's wrapping
                raise CancelledError from error
            # What fails in a request is told by some dozen classes of several libraries.
            raise Unreachable(explain(error, urlsplit(url).hostname or "")) from error

    async def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, max_response: int
    ) -> Answer:
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
        return Answer(
            status=response.code,
            body=await _read(response, max_response),
            headers={
                name.decode("latin-1").lower(): values[-1].decode("latin-1")
                for name, values in response.headers.getAllRawHeaders()
            },
        )


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
            return "no connection in time"
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


class _Body(BodyProtocol):
    """Collects a body; `done` fires with it. Too much of it, or a cancelled `done`, closes the connection."""

    def __init__(self, limit: int) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._close())
        self._data = bytearray()
        self._limit = limit

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > self._limit and not self.done.called:
            self.done.errback(Unreachable(f"the answer has more than {self._limit} bytes"))
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


def _read(response: Any, limit: int) -> Deferred[bytes]:
    body = _Body(limit)
    response.deliverBody(body)
    return body.done


def _openssl_words(details: tuple[Any, ...]) -> str:
    # A list of (library, function, reason); empty where the peer just left.
    reasons = [str(entry[-1]) for entry in details[0]] if details else []
    return "; ".join(reasons) or "the handshake was broken off"
