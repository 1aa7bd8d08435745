"""Requests over real sockets, TLS among them, and what an operator reads of those that fail."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectionLost, DNSLookupError, NoRouteError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from pushy_protocol import http_signing
from pushy_protocol.https import MAX_RESPONSE, REQUEST_TIMEOUT, Answer, SignedClient, Unreachable, explain, make_client
from pushy_protocol.keys import make_rsa_key, private_pem
from pushy_protocol.tls import Policy
from tests.pushy_agent.test_config import certificate

KEY = make_rsa_key()
NOW = 1_700_000_000.0


class Page(Resource):
    """Answers with whatever a function makes of a request."""

    isLeaf = True

    def __init__(self, answer: Callable[[Request], Any]) -> None:
        super().__init__()
        self.render = answer  # type: ignore[method-assign]  # for all methods


class Greeter(Protocol):
    """Speaks first, and no TLS."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.write(b"220 mail.example\r\n")


class RequestTests(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.reactor: Any = the_reactor
        self.clock = Clock()
        self.seen: list[Request] = []
        self.answer: Any = b"answer"

    def _render(self, request: Request) -> Any:
        self.seen.append(request)
        return self.answer

    def serve(self, tls: Any = None) -> int:
        return self.listen(Site(Page(self._render)), tls)

    def listen(self, factory: Any, tls: Any = None) -> int:
        if tls is None:
            port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        else:
            port = self.reactor.listenSSL(0, factory, tls, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    def ask(
        self, url: str, *, trusted: tuple[Path, ...] = (), verify: bool = True, **request: Any
    ) -> "Deferred[Answer]":
        client = SignedClient(
            make_client(self.reactor, Policy(trusted=trusted, verify=verify)), self.clock, lambda: NOW
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
        [request] = self.seen
        headers = {
            name.decode().lower(): values[0].decode() for name, values in request.requestHeaders.getAllRawHeaders()
        }
        signed = http_signing.parse(headers)
        assert signed.version == "1.3"
        signed.check_content(b'{"x":1}')
        signed.check_clock(NOW)
        signed.check_signature(method="POST", path="/a/b", public_keys=[KEY.public_key()])

    async def test_a_redirect_is_not_followed(self) -> None:
        port = self.serve()

        def redirect(request: Request) -> bytes:
            request.redirect(b"http://127.0.0.1:1/")
            return b""

        self._render = redirect  # type: ignore[method-assign]  # for this server
        port = self.serve()
        assert (await self.ask(f"http://127.0.0.1:{port}/")).status == 302

    async def test_refused(self) -> None:
        port = self.reactor.listenTCP(0, Site(Page(self._render)), interface="127.0.0.1")
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

        self._render = begin  # type: ignore[method-assign]  # for this server
        asked = self.ask(f"http://127.0.0.1:{self.serve()}/")
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

        self._render = begin  # type: ignore[method-assign]  # for this server
        asked = self.ask(f"http://127.0.0.1:{self.serve()}/")
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
        assert await self.failure(url) == "TLS: certificate verify failed"
        wrong_name = await self.failure(f"https://127.0.0.1:{port}/", trusted=trusted)
        assert wrong_name == "TLS: the server's certificate is not for 127.0.0.1"

    async def test_tls_with_a_server_that_has_none(self) -> None:
        port = self.listen(Factory.forProtocol(Greeter))
        assert await self.failure(f"https://127.0.0.1:{port}/") == "TLS: wrong version number"


def test_error_of_an_answer() -> None:
    assert Answer(status=401, body=b'{"error":["a","b"]}').error() == "HTTP 401: a; b"
    assert Answer(status=413, body=b'{"error":"too long"}').error() == "HTTP 413: too long"
    assert Answer(status=502, body=b"<html>\n bad   gateway").error() == "HTTP 502: <html> bad gateway"
    assert Answer(status=500, body=b"").error() == "HTTP 500: no text"


def test_causes() -> None:
    for error, said in (
        (DNSLookupError("x"), "DNS: no address for push.example"),
        (NoRouteError(), "no route to the host"),
        (ConnectionLost(), "the connection was closed before the answer"),
        (ConnectError("odd"), "connection failed: An error occurred while connecting: odd."),
        (SSL.Error([]), "TLS: the handshake was broken off"),
        (RuntimeError("odd"), "RuntimeError: odd"),
    ):
        assert explain(error, "push.example") == said
