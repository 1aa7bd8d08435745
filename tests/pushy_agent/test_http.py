"""Requests over real sockets, TLS among them, and what an operator reads of those that fail."""

import errno
import http.client
import shutil
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from pushy_agent.background import daemon_thread
from pushy_agent.http import SignedClient, Trust, explain
from pushy_protocol import http_signing
from pushy_protocol.answer import MAX_RESPONSE, REQUEST_TIMEOUT, Answer, Unreachable
from pushy_protocol.keys import make_rsa_key, private_pem
from tests.pushy_agent.test_config import certificate

KEY = make_rsa_key()
NOW = 1_700_000_000.0


class Page(Resource):
    """Answers with whatever a function makes of a request."""

    isLeaf = True

    def __init__(self, answer: Callable[[Request], Any]) -> None:
        super().__init__()
        self.render = answer  # type: ignore[method-assign]  # for all methods


class Speaker(Protocol):
    """Speaks first, and no TLS; then nothing."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.write(self.factory.said)
        self.factory.made.callback(self)

    def connectionLost(self, reason: object = None) -> None:
        self.factory.lost.callback(None)


class Requests(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.reactor: Any = the_reactor
        self.clock = Clock()
        self.seen: list[Request] = []
        self.bodies: list[bytes] = []
        self.answer: Any = b"answer"

    def _render(self, request: Request) -> Any:
        self.seen.append(request)
        self.bodies.append(request.content.read())  # type: ignore[union-attr]  # gone once it is answered
        return self.answer

    def serve(self, tls: Any = None, render: Callable[[Request], Any] | None = None) -> int:
        return self.listen(Site(Page(render or self._render)), tls)

    def listen(self, factory: Any, tls: Any = None) -> int:
        if tls is None:
            port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        else:
            port = self.reactor.listenSSL(0, factory, tls, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    def speaker(self, said: bytes = b"") -> Any:
        factory: Any = Factory.forProtocol(Speaker)
        factory.said, factory.made, factory.lost = said, Deferred(), Deferred()
        return factory

    def ask(
        self, url: str, *, trusted: tuple[Path, ...] = (), verify: bool = True, **request: Any
    ) -> "Deferred[Answer]":
        client = SignedClient(
            trust=Trust(trusted=trusted, verify=verify),
            in_thread=partial(daemon_thread, self.reactor),
            clock=self.clock,
            now=lambda: NOW,
        )
        return Deferred.fromCoroutine(client.request(request.pop("method", "GET"), url, user="u", key=KEY, **request))

    async def failure(self, url: str, **request: Any) -> str:
        with pytest.raises(Unreachable) as raised:
            await self.ask(url, **request)
        return str(raised.value)

    async def test_a_signed_request(self) -> None:
        port = self.serve()
        answer = await self.ask(f"http://127.0.0.1:{port}/a//b?c=d", method="POST", body=b'{"x":1}')
        assert answer == Answer(status=200, body=b"answer")
        assert answer.headers["content-length"] == "6"
        [request] = self.seen
        assert (request.uri, self.bodies) == (b"/a//b?c=d", [b'{"x":1}'])
        headers = {
            name.decode().lower(): values[0].decode() for name, values in request.requestHeaders.getAllRawHeaders()
        }
        signed = http_signing.parse(headers)
        assert signed.version == "1.3"
        signed.check_content(b'{"x":1}')
        signed.check_clock(NOW)
        signed.check_signature(method="POST", path="/a/b", public_keys=[KEY.public_key()])

    async def test_a_redirect_is_not_followed(self) -> None:
        def redirect(request: Request) -> bytes:
            request.redirect(b"http://127.0.0.1:1/")
            return b""

        assert (await self.ask(f"http://127.0.0.1:{self.serve(render=redirect)}/")).status == 302

    async def test_refused(self) -> None:
        port = self.reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        number = port.getHost().port
        await port.stopListening()
        assert await self.failure(f"http://127.0.0.1:{number}/") == "connection refused"

    async def test_no_such_name(self) -> None:
        assert await self.failure("https://no-such-name.invalid/") == "DNS: no address for no-such-name.invalid"
        long = f"{'x' * 70}.invalid"
        assert await self.failure(f"https://{long}/") == f"DNS: no address for {long}"

    async def test_too_long_an_answer(self) -> None:
        self.answer = b"x" * (MAX_RESPONSE + 1)
        url = f"http://127.0.0.1:{self.serve()}/"
        assert await self.failure(url) == f"the answer has more than {MAX_RESPONSE} bytes"

    async def test_an_answer_that_is_cut_off(self) -> None:
        factory = self.speaker(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        asked = self.failure(f"http://127.0.0.1:{self.listen(factory)}/")
        factory.made.addCallback(lambda speaker: speaker.transport.loseConnection())
        assert await asked == "the connection was closed before the answer"

    async def test_what_is_no_http(self) -> None:
        factory = self.speaker(b"220 mail.example\r\n")
        assert await self.failure(f"http://127.0.0.1:{self.listen(factory)}/") == "HTTP: what answers is no web server"

    async def test_the_timeout_holds_for_the_body_too(self) -> None:
        begun: Deferred[None] = Deferred()

        def begin(request: Request) -> int:
            request.write(b"x")
            self.seen.append(request)
            begun.callback(None)
            return NOT_DONE_YET

        asked = self.ask(f"http://127.0.0.1:{self.serve(render=begin)}/")
        await begun
        closed = self.seen[0].notifyFinish()
        self.clock.advance(REQUEST_TIMEOUT)
        with pytest.raises(Unreachable, match="no answer within 30 s"):
            await asked
        await closed.addErrback(lambda failure: None)

    async def test_and_for_the_handshake(self) -> None:
        factory = self.speaker()
        asked = self.ask(f"https://127.0.0.1:{self.listen(factory)}/")
        await factory.made
        # In the handshake, or just before it.
        self.clock.advance(REQUEST_TIMEOUT)
        with pytest.raises(Unreachable, match="no answer within 30 s"):
            await asked
        await factory.lost

    async def test_cancelling_is_no_failure_of_the_network(self) -> None:
        begun: Deferred[None] = Deferred()

        def begin(request: Request) -> int:
            self.seen.append(request)
            begun.callback(None)
            return NOT_DONE_YET

        asked = self.ask(f"http://127.0.0.1:{self.serve(render=begin)}/")
        await begun
        closed = self.seen[0].notifyFinish()
        asked.cancel()
        with pytest.raises(CancelledError):
            await asked
        await closed.addErrback(lambda failure: None)

    async def test_tls(self) -> None:
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        (directory / "key.pem").write_bytes(private_pem(KEY))
        (directory / "certificate.pem").write_bytes(certificate(KEY, "localhost"))
        trusted = (directory / "certificate.pem",)
        port = self.serve(DefaultOpenSSLContextFactory(str(directory / "key.pem"), str(trusted[0])))
        url = f"https://localhost:{port}/"
        assert (await self.ask(url, trusted=trusted)).status == 200
        assert (await self.ask(url, verify=False)).status == 200
        assert (await self.ask(f"https://127.0.0.1:{port}/", verify=False)).status == 200
        assert await self.failure(url) == "TLS: certificate verify failed: self-signed certificate"
        wrong_name = await self.failure(f"https://127.0.0.1:{port}/", trusted=trusted)
        assert wrong_name == "TLS: the server's certificate is not for 127.0.0.1"
        gone = await self.failure(url, trusted=(directory / "gone.pem",))
        assert gone == f"{directory / 'gone.pem'}: No such file or directory"

    async def test_tls_with_a_server_that_has_none(self) -> None:
        port = self.listen(self.speaker(b"220 mail.example\r\n"))
        assert await self.failure(f"https://127.0.0.1:{port}/") == "TLS: wrong version number"

    async def test_nothing_is_left_of_requests(self) -> None:
        url = f"http://127.0.0.1:{self.serve()}/"

        def count() -> int:
            return len(list(Path("/proc/self/fd").iterdir()))

        await self.ask(url)
        before = count()
        for _ in range(20):
            await self.ask(url)
        # The server closes its side a turn later.
        while count() > before:
            await self.turn()
        while [thread for thread in threading.enumerate() if thread.name == "request"]:
            await self.turn()

    def turn(self) -> "Deferred[None]":
        done: Deferred[None] = Deferred()
        self.reactor.callLater(0.01, done.callback, None)
        return done


def test_causes() -> None:
    for error, said in (
        (socket.gaierror(socket.EAI_NONAME, "odd"), "DNS: no address for push.example"),
        (OSError(errno.EHOSTUNREACH, "odd"), "no route to the host"),
        (TimeoutError(), "no connection in time"),
        (ConnectionResetError(), "the connection was closed before the answer"),
        (http.client.RemoteDisconnected(""), "the connection was closed before the answer"),
        (OSError(errno.ENETDOWN, "odd"), "connection failed: odd"),
        (ssl.SSLEOFError(), "TLS: the handshake was broken off"),
        (RuntimeError("odd"), "RuntimeError: odd"),
    ):
        assert explain(error, "push.example") == said
