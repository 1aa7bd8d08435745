"""What whoever makes signed requests has to do, over real sockets: both clients are held to it."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from twisted.internet import protocol
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from pushy_protocol import http_signing
from pushy_protocol.answer import MAX_RESPONSE, REQUEST_TIMEOUT, Answer, Unreachable
from pushy_protocol.keys import make_rsa_key, private_pem
from tests.pushy_agent.test_config import certificate

KEY = make_rsa_key()
NOW = 1_700_000_000.0


class Client(Protocol):
    """What makes the requests."""

    async def request(self, method: str, url: str, *, user: str, key: RSAPrivateKey, body: bytes = b"") -> Answer:
        """The answer."""


class Page(Resource):
    """Answers with whatever a function makes of a request."""

    isLeaf = True

    def __init__(self, answer: Callable[[Request], Any]) -> None:
        super().__init__()
        self.render = answer  # type: ignore[method-assign]  # for all methods


class Speaker(protocol.Protocol):
    """Speaks first, and no TLS; then nothing."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.write(self.factory.said)
        self.factory.made.callback(self)

    def connectionLost(self, reason: object = None) -> None:
        self.factory.lost.callback(None)


class SignedClientCase(TestCase):
    """The requests; a subclass gives the client."""

    timeout = 20

    def setUp(self) -> None:
        self.reactor: Any = the_reactor
        self.clock = Clock()
        self.seen: list[Request] = []
        self.bodies: list[bytes] = []
        self.answer: Any = b"answer"

    def _render(self, request: Request) -> Any:
        request.setHeader("X-Said-By", "the server")
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
        factory: Any = protocol.Factory.forProtocol(Speaker)
        factory.said, factory.made, factory.lost = said, Deferred(), Deferred()
        return factory

    def client(self, trusted: tuple[Path, ...], verify: bool) -> Client:
        """One that is at :data:`NOW`, and takes the seconds of its timeout from `clock`."""
        raise NotImplementedError

    def ask(
        self, url: str, *, trusted: tuple[Path, ...] = (), verify: bool = True, **request: Any
    ) -> "Deferred[Answer]":
        client = self.client(trusted, verify)
        return Deferred.fromCoroutine(client.request(request.pop("method", "GET"), url, user="u", key=KEY, **request))

    async def failure(self, url: str, **request: Any) -> str:
        with pytest.raises(Unreachable) as raised:
            await self.ask(url, **request)
        return str(raised.value)

    async def test_a_signed_request(self) -> None:
        port = self.serve()
        answer = await self.ask(f"http://127.0.0.1:{port}/a//b?c=d", method="POST", body=b'{"x":1}')
        assert answer == Answer(status=200, body=b"answer")
        assert answer.headers["x-said-by"] == "the server"
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
        port = self.reactor.listenTCP(0, protocol.Factory(), interface="127.0.0.1")
        number = port.getHost().port
        await port.stopListening()
        assert await self.failure(f"http://127.0.0.1:{number}/") == "connection refused"

    async def test_too_long_an_answer(self) -> None:
        self.answer = b"x" * (MAX_RESPONSE + 1)
        url = f"http://127.0.0.1:{self.serve()}/"
        assert await self.failure(url) == f"the answer has more than {MAX_RESPONSE} bytes"

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

    def serve_tls(self) -> tuple[int, Path]:
        """A port, and the server's certificate, which is for localhost."""
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        (directory / "key.pem").write_bytes(private_pem(KEY))
        (directory / "certificate.pem").write_bytes(certificate(KEY, "localhost"))
        tls = DefaultOpenSSLContextFactory(str(directory / "key.pem"), str(directory / "certificate.pem"))
        return self.serve(tls), directory / "certificate.pem"

    async def test_tls(self) -> None:
        port, own = self.serve_tls()
        trusted = (own,)
        url = f"https://localhost:{port}/"
        assert (await self.ask(url, trusted=trusted)).status == 200
        assert (await self.ask(url, verify=False)).status == 200
        assert (await self.ask(f"https://127.0.0.1:{port}/", verify=False)).status == 200
        assert (await self.failure(url)).startswith("TLS: certificate verify failed")
        wrong_name = await self.failure(f"https://127.0.0.1:{port}/", trusted=trusted)
        assert wrong_name == "TLS: the server's certificate is not for 127.0.0.1"

    async def test_tls_with_a_server_that_has_none(self) -> None:
        port = self.listen(self.speaker(b"220 mail.example\r\n"))
        assert await self.failure(f"https://127.0.0.1:{port}/") == "TLS: wrong version number"
