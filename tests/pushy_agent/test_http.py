"""The agent's requests over real sockets, TLS among them, and what an operator reads of those that fail."""

import errno
import http.client
import socket
import ssl
import threading
from functools import partial
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from pushy_agent.background import daemon_thread
from pushy_agent.http import SignedClient, Trust, explain
from pushy_protocol.answer import REQUEST_TIMEOUT, Unreachable
from tests.pushy_protocol import signed_client_case


class RequestTests(signed_client_case.SignedClientCase):
    def client(self, trusted: tuple[Path, ...], verify: bool) -> SignedClient:
        return SignedClient(
            trust=Trust(trusted=trusted, verify=verify),
            in_thread=partial(daemon_thread, self.reactor),
            clock=self.clock,
            now=lambda: signed_client_case.NOW,
        )

    async def test_no_such_name(self) -> None:
        assert await self.failure("https://no-such-name.invalid/") == "DNS: no address for no-such-name.invalid"
        long = f"{'x' * 70}.invalid"
        assert await self.failure(f"https://{long}/") == f"DNS: no address for {long}"

    async def test_an_answer_that_is_cut_off(self) -> None:
        factory = self.speaker(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        asked = self.failure(f"http://127.0.0.1:{self.listen(factory)}/")
        factory.made.addCallback(lambda speaker: speaker.transport.loseConnection())
        assert await asked == "the connection was closed before the answer"

    async def test_what_is_no_http(self) -> None:
        factory = self.speaker(b"220 mail.example\r\n")
        assert await self.failure(f"http://127.0.0.1:{self.listen(factory)}/") == "HTTP: what answers is no web server"

    async def test_and_for_the_handshake(self) -> None:
        factory = self.speaker()
        asked = self.ask(f"https://127.0.0.1:{self.listen(factory)}/")
        await factory.made
        # In the handshake, or just before it.
        self.clock.advance(REQUEST_TIMEOUT)
        with pytest.raises(Unreachable, match="no answer within 30 s"):
            await asked
        await factory.lost

    async def test_certificates_that_cannot_be_read(self) -> None:
        path = Path("/no/such/ca.pem")
        said = await self.failure(f"https://127.0.0.1:{self.listen(self.speaker())}/", trusted=(path,))
        assert said == f"{path}: No such file or directory"

    async def test_what_is_wrong_with_a_certificate_is_said(self) -> None:
        said = await self.failure(f"https://localhost:{self.serve_tls()[0]}/")
        assert said == "TLS: certificate verify failed: self-signed certificate"

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
