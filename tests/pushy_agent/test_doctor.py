"""What a doctor finds between a node and its server, each thing that can be wrong made so; over real sockets."""

import shutil
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet import reactor as the_reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.trial.unittest import TestCase

from pushy_agent.background import daemon_thread
from pushy_agent.checks import Examination
from pushy_agent.config import Config, load
from pushy_agent.doctor import Doctor
from pushy_agent.http import SignedClient, Trust
from pushy_protocol.keys import make_rsa_key, private_pem
from tests.pushy_agent.push_server import VALIDATOR_KEY, PushServer, make_node_key
from tests.pushy_agent.test_config import certificate

NODE = "node-1"
TO_THE_SERVER = ["settings", "dns", "tcp", "tls", "http", "clock", "signature"]


class Greeter(Protocol):
    """Speaks first, and no TLS."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.write(b"220 mail.example\r\n")


class DoctorTests(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.reactor: Any = the_reactor
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.server = PushServer(self.reactor)
        self.server.start()
        self.addCleanup(self.server.stop)
        self.off_by = 0.0
        self.lines: list[str] = []
        (self.directory / "client.pem").write_bytes(private_pem(make_node_key(self.server, NODE)))
        (self.directory / "validation.pem").write_bytes(private_pem(VALIDATOR_KEY))

    def config(self, **settings: object) -> Config:
        path = self.directory / "agent.toml"
        all_settings = {
            "server_url": self.server.url,
            "node_name": NODE,
            "client_key": "client.pem",
            "validation_key": "validation.pem",
            "state_dir": "state",
            **settings,
        }
        path.write_text("".join(f'{name} = "{value}"\n' for name, value in all_settings.items()))
        return load(path, {}, lambda: "unused")

    async def examine(self, config: Config | None = None) -> bool:
        config = config or self.config()
        in_thread: Any = partial(daemon_thread, self.reactor)

        def now() -> float:
            return time.time() + self.off_by

        trust = Trust(trusted=config.trusted, verify=config.verify_peer)
        doctor = Doctor(
            Examination(
                config=config,
                requests=SignedClient(trust=trust, in_thread=in_thread, clock=self.reactor, now=now),
                reactor=self.reactor,
                in_thread=in_thread,
                now=now,
                tell=self.lines.append,
                channel_seconds=0.5,
            )
        )
        return await doctor.examine()

    def found(self) -> list[tuple[str, str]]:
        return [(line.split()[0], line.split()[1]) for line in self.lines if not line.startswith(" ")]

    async def fails(self, name: str, *said: str, config: Config | None = None) -> None:
        """That one fails and says so, and what to do; nothing before it does."""
        assert not await self.examine(config)
        failed = self.found().index(("FAIL", name))
        assert [verdict for verdict, _ in self.found()[:failed]] == ["ok"] * failed
        text = "\n".join(self.lines)
        assert all(part in text for part in said), text
        assert "\n                  -> " in text

    async def test_nothing_is_wrong(self) -> None:
        assert await self.examine()
        assert self.found() == [("ok", name) for name in [*TO_THE_SERVER, "terms", "commands", "heartbeat"]]
        assert "protocol 2.x, a heartbeat every 0.1 s" in "\n".join(self.lines)
        assert self.server.received == []
        self.lines.clear()
        self.server.extensions = ["results"]
        assert await self.examine()
        assert "protocol 3.0 (results)" in "\n".join(self.lines)

    async def test_no_such_name(self) -> None:
        url = "https://push.invalid/organizations/acme"
        await self.fails("dns", "no address for push.invalid", "/etc/resolv.conf", config=self.config(server_url=url))

    async def test_nobody_listens(self) -> None:
        port = self.reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        number = port.getHost().port
        await port.stopListening()
        url = f"https://localhost:{number}/organizations/acme"
        await self.fails("tcp", "connection refused", "firewall", config=self.config(server_url=url))

    async def test_tls(self) -> None:
        key = make_rsa_key()
        (self.directory / "key.pem").write_bytes(private_pem(key))
        (self.directory / "ca.pem").write_bytes(certificate(key, "localhost"))
        tls = DefaultOpenSSLContextFactory(str(self.directory / "key.pem"), str(self.directory / "ca.pem"))
        port = self.reactor.listenSSL(0, self.server._site, tls, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        number = port.getHost().port
        url = f"https://localhost:{number}/organizations/acme"
        await self.fails("tls", "self-signed certificate", "ca_file", config=self.config(server_url=url))
        self.lines.clear()
        trusting = self.config(server_url=url, ca_file="ca.pem")
        assert await self.examine(trusting)
        assert "the certificate is for localhost, until" in "\n".join(self.lines)
        self.lines.clear()
        other = evolve(trusting, server_url=url.replace("localhost", "127.0.0.1"))
        await self.fails("tls", "is not for 127.0.0.1", "one of those in its certificate", config=other)
        self.lines.clear()
        careless = self.config(server_url=url, ssl_verify_mode="verify_none")
        assert await self.examine(careless)
        assert "whoever answers is believed" in "\n".join(self.lines)

    async def test_what_answers_speaks_no_tls(self) -> None:
        port = self.reactor.listenTCP(0, Factory.forProtocol(Greeter), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        url = f"https://127.0.0.1:{port.getHost().port}/organizations/acme"
        await self.fails("tls", "wrong version number", "HTTPS port", config=self.config(server_url=url))

    async def test_a_server_in_trouble(self) -> None:
        self.server.http_status = 503
        await self.fails("http", "HTTP 503: out of order", "its log")

    async def test_a_wrong_clock(self) -> None:
        self.off_by = 5000
        await self.fails("clock", "s off ours, at most 300 s", "chrony")

    async def test_another_key(self) -> None:
        (self.directory / "client.pem").write_bytes(private_pem(make_rsa_key()))
        await self.fails("signature", "HTTP 401", "delete the client")

    async def test_an_organization_that_is_none(self) -> None:
        config = self.config(server_url=self.server.url.replace("acme", "other"))
        await self.fails("signature", "HTTP 404", "organization", config=config)

    async def test_terms_that_are_none(self) -> None:
        self.server.lifetime = 0
        await self.fails("terms", "lifetime: expected 1 or more seconds")

    async def test_a_key_that_is_not_admitted(self) -> None:
        self.server.admits = False
        await self.fails("commands", "does not admit our key", "the same server")
        assert self.found()[-1] == ("ok", "heartbeat")

    async def test_a_silent_server(self) -> None:
        self.server.silence()
        self.addCleanup(self.server.speak)
        await self.fails("heartbeat", "nothing has come", "firewall")

    async def test_heartbeats_of_another_server(self) -> None:
        self.server.heartbeat_key = make_rsa_key()
        await self.fails("heartbeat", "signature", "reaches the same server")
