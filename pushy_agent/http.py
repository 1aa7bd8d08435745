"""Signed HTTPS requests to the server: in a thread, bounded in time and size, with causes that an operator understands.

Every way in which a request can fail ends as :class:`Unreachable`, whose text says why: DNS, refused, TLS, silence.
An answer, whatever its status, is no failure here; what it means is for the caller.

It is the standard library's client, although pushy has Twisted's (:mod:`pushy_protocol.https`): an agent asks once an
hour, and Twisted's takes 8 MB of every node's memory all the time. A thread waits instead, for the system's resolver
too; the reactor never does.
"""

import errno
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from pathlib import Path
from typing import NoReturn, cast
from urllib.parse import urlsplit

from attrs import field, frozen
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from pushy_agent.background import InThread
from pushy_agent.clock import Clock
from pushy_protocol import http_signing
from pushy_protocol.answer import MAX_RESPONSE, REQUEST_TIMEOUT, Answer, Unreachable

# OpenSSL's numbers of a certificate that is another host's, and another address's.
_WRONG_NAME = frozenset({62, 64})
_NO_ROUTE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH})


@frozen(kw_only=True)
class Trust:
    """Whom the agent takes for its server: the system's authorities and, besides, the certificates of PEM files.

    :param verify: False believes everybody (`ssl_verify_mode = "verify_none"`)
    """

    trusted: tuple[Path, ...] = ()
    verify: bool = True

    def context(self) -> ssl.SSLContext:
        """The context for one connection: what it has read takes memory that is wanted again.

        :raise OSError: one of the files cannot be read, or has no certificate (an `ssl.SSLError`).
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        context.load_default_certs()
        load_certificates(context, self.trusted)
        return context


def load_certificates(context: ssl.SSLContext, paths: Iterable[Path]) -> None:
    """Trust the certificates of PEM files; a server's own may be among them, without the CA's that signed it.

    :raise OSError: one of the files cannot be read, or has no certificate (an `ssl.SSLError`).
    """
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    for path in paths:
        try:
            context.load_verify_locations(path)
        except OSError as error:
            error.filename = str(path)
            raise


class SignedClient:
    """Makes requests that are signed with a key, each over a connection of its own."""

    def __init__(
        self,
        *,
        trust: Trust,
        in_thread: InThread,
        clock: Clock,
        now: Callable[[], float],
        timeout: float = REQUEST_TIMEOUT,
    ) -> None:
        """:param in_thread: where a request may wait
        :param now: gives the seconds since the epoch
        :param timeout: seconds that a request may take as a whole
        """
        self._trust = trust
        self._in_thread = in_thread
        self._clock = clock
        self._now = now
        self._timeout = timeout

    async def request(self, method: str, url: str, *, user: str, key: RSAPrivateKey, body: bytes = b"") -> Answer:
        """Send a request as `user`, and read the whole answer.

        :raise Unreachable: there is none, in time and within the bounds.
        """
        signature = http_signing.sign(
            private_key=key, user=user, method=method, path=urlsplit(url).path, body=body, now=self._now()
        )
        exchange = Exchange(
            method=method,
            url=url,
            headers={**signature, "Accept": "application/json", "Content-Type": "application/json"},
            body=body,
            timeout=self._timeout,
        )
        answered: Deferred[Answer] = self._in_thread(lambda: exchange.run(self._trust))
        clock = cast("IReactorTime", self._clock)  # of which only callLater is used
        try:
            return await answered.addTimeout(self._timeout, clock, self._too_late)
        finally:
            # A thread that nobody waits for any more, because it is late or our caller leaves, is not left waiting.
            exchange.break_off()

    def _too_late(self, _result: object, _timeout: float) -> NoReturn:
        raise Unreachable(f"no answer within {self._timeout:.0f} s")


@frozen(kw_only=True, eq=False)
class Exchange:
    """One request and its answer; times in seconds. Another thread may break it off."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""
    timeout: float = REQUEST_TIMEOUT

    _wire: "_Wire" = field(init=False, factory=lambda: _Wire())

    def run(self, trust: Trust) -> Answer:
        """Send it, and wait for the whole answer.

        :raise Unreachable: there is none within the bounds; it may take longer than `timeout` only where the server
            sends little by little.
        """
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        try:
            connection = self._connection(host, parts.port, trust.context() if parts.scheme == "https" else None)
            with closing(connection):
                # Redirects are not followed: what is signed is for this server.
                connection.request(self.method, path, self.body or None, {**self.headers, "Connection": "close"})
                response = connection.getresponse()
                body = _read(response)
        except (OSError, HTTPException, ValueError) as error:
            raise Unreachable(explain(error, host)) from error
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(status=response.status, body=body, headers=headers)

    def break_off(self) -> None:
        """Have :meth:`run` end soon, wherever it waits but for a name or a connection. Never waits itself."""
        self._wire.break_off()

    def _connection(self, host: str, port: int | None, context: ssl.SSLContext | None) -> HTTPConnection:
        if context is None:
            connection = HTTPConnection(host, port, timeout=self.timeout)
        else:
            connection = HTTPSConnection(host, port, timeout=self.timeout, context=context)
        # Ours from the first byte on, so that it can be broken off in the handshake too.
        connection.sock = self._wire.connect(host, connection.port, context, self.timeout)
        return connection


def _read(response: HTTPResponse) -> bytes:
    body = response.read(MAX_RESPONSE + 1)
    if len(body) > MAX_RESPONSE:
        raise Unreachable(f"the answer has more than {MAX_RESPONSE} bytes")
    if response.length:  # bytes that were announced and have not come
        raise IncompleteRead(body, response.length)
    return body


class _Wire:
    """A socket that one thread waits for, and another may shut down."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._is_broken = False

    def connect(self, host: str, port: int, context: ssl.SSLContext | None, timeout: float) -> socket.socket:
        """Connect, and shake hands where there is a context."""
        connected = socket.create_connection((host, port), timeout)
        try:
            if context is not None:
                connected = context.wrap_socket(connected, server_hostname=host, do_handshake_on_connect=False)
            with self._lock:
                self._socket = connected
                if self._is_broken:
                    connected.shutdown(socket.SHUT_RDWR)  # what comes next fails
            if isinstance(connected, ssl.SSLSocket):
                connected.do_handshake()
        except BaseException:
            connected.close()
            raise
        return connected

    def break_off(self) -> None:
        """End what is waited for."""
        with self._lock:
            self._is_broken = True
            if self._socket is not None:
                with suppress(OSError):  # closed already
                    # The socket's own: that of TLS would change what the other thread is using.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def explain(error: BaseException, host: str) -> str:
    """Why a request failed, in an operator's words."""
    match error:
        case socket.gaierror() | UnicodeError():
            return f"DNS: no address for {host}"
        case OSError(filename=str(path), strerror=text):
            return f"{path}: {text}"
        case ssl.SSLError():
            return f"TLS: {_tls_words(error, host)}"
        case ConnectionRefusedError():
            return "connection refused"
        case TimeoutError():
            return "no connection in time"
        case ConnectionError() | IncompleteRead():  # http.client's RemoteDisconnected is a ConnectionError
            return "the connection was closed before the answer"
        case OSError(errno=number) if number in _NO_ROUTE:
            return "no route to the host"
        case OSError(strerror=str(text)):
            return f"connection failed: {text}"
        case HTTPException():
            return "HTTP: what answers is no web server"
    return f"{type(error).__name__}: {error}"


def _tls_words(error: ssl.SSLError, host: str) -> str:
    match error:
        case ssl.SSLCertVerificationError(verify_code=code) if code in _WRONG_NAME:
            return f"the server's certificate is not for {host}"
        case ssl.SSLCertVerificationError():
            return f"certificate verify failed: {error.verify_message}"
        case ssl.SSLError(reason=str(reason)) if not isinstance(error, ssl.SSLEOFError):
            return reason.lower().replace("_", " ")
    return "the handshake was broken off"
