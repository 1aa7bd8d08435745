"""What a socket's events say of a connection that does not come to be."""

from typing import Any

import zmq
from twisted.internet import reactor as the_reactor
from twisted.trial.unittest import TestCase

from pushy_agent.clock import sleep
from pushy_agent.connection import Wire
from pushy_agent.monitor import Monitor
from pushy_protocol.keys import CurveKeyPair
from pushy_protocol.zeromq import Connection, Context

SERVER, OURS, OTHER = CurveKeyPair.make(), CurveKeyPair.make(), CurveKeyPair.make()


class MonitorTests(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.reactor: Any = the_reactor
        self.context = Context(self.reactor)
        self.addCleanup(self.context.shutdown)
        self.zap = Connection(self.context, zmq.ROUTER, self._asked)
        self.zap.bind("inproc://zeromq.zap.01")
        self.router = Connection(self.context, zmq.ROUTER)
        self.router.serve_curve(SERVER, "test")
        self.address = self.router.bind("tcp://127.0.0.1:0")

    def _asked(self, frames: list[bytes], _peer: str) -> None:
        identity, empty, version, request_id, *_, key = frames
        status = b"200" if zmq.utils.z85.encode(key) == OURS.public.encode() else b"400"
        self.zap.send([identity, empty, version, request_id, status, b"", b"", b""])

    async def trouble(self, keys: CurveKeyPair, server_key: str, expected: str) -> str:
        """What is said once it is what is expected; the test's timeout bounds it."""
        wire = Wire(self.context, zmq.DEALER)
        wire.use_curve(keys, server_key)
        monitor = wire.monitor = Monitor(wire.socket, self.address)
        assert monitor.trouble() == f"{self.address}: TCP: no connection"
        wire.connect(self.address)
        while expected not in monitor.trouble():
            await sleep(self.reactor, 0.01)
        return monitor.trouble()

    async def test_connected(self) -> None:
        said = await self.trouble(OURS, SERVER.public, "succeeded")
        assert said == f"{self.address}: connected, and the handshake succeeded"

    async def test_not_admitted(self) -> None:
        assert "does not admit our key (ZAP status 400)" in await self.trouble(OTHER, SERVER.public, "refused")

    async def test_another_server(self) -> None:
        await self.trouble(OURS, OTHER.public, "CURVE: the handshake failed")
