"""A push server for the agent's tests, of 2.x or with the extensions that a test gives it: small, but honest.

It checks signatures, admits over ZAP only the CURVE keys of nodes that it has configured, speaks CURVE and HMAC, and
greets whoever connects with an `abort`, or, where it offers `resume`, an agent that names a job with an `ack`. It keeps
its keys and its ports over a restart, and so it does what it stored of outputs, a piece at a time; its address may be
another one then. Jobs are driven by the tests.
"""

import base64
import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import zmq
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall
from twisted.web.http import Request
from twisted.web.server import Site

from pushy_protocol import envelope, http_signing, messages
from pushy_protocol.api import (
    AgentConfig,
    ClientCreated,
    EncodedSessionKey,
    ErrorBody,
    HeartbeatConfig,
    NewClient,
    PushJobsConfig,
    decode,
    encode,
)
from pushy_protocol.keys import CurveKeyPair, check_curve_key, make_rsa_key, parse_public_key, public_pem
from pushy_protocol.messages import Channel, NodeHeartbeat, NodeMessage, Output, ServerCommand
from pushy_protocol.timestamps import format_rfc1123
from pushy_protocol.zeromq import Connection, Context

ORGANIZATION = "acme"
INTERVAL = 0.1
SERVER_KEY = make_rsa_key()
VALIDATOR_KEY = make_rsa_key()

M = TypeVar("M", bound=NodeMessage)


class PushServer:
    """The server; `received` has every message of nodes but heartbeats, in order, `bodies` has all as they came."""

    address = "127.0.0.1"
    """Where it listens."""
    name: str | None = None
    """How nodes are told to reach it, where not by its address."""
    tls: Any = None
    """Makes the contexts of TLS, where it is to be spoken."""
    max_body_size = 65536
    extensions: list[str] | None = None
    lifetime = 3600
    admits = True
    heartbeat_key = SERVER_KEY

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._curve = CurveKeyPair.make()
        self._session_keys: dict[str, bytes] = {}
        self._admitted: dict[bytes, str] = {}
        self._site = Site(self._routes().resource())
        self._http_port = 0
        self._ports = ["0", "0"]
        self._waiting: list[tuple[Callable[[NodeMessage], bool], Deferred[Any]]] = []
        self.clients: dict[str, RSAPublicKey] = {f"{ORGANIZATION}-validator": VALIDATOR_KEY.public_key()}
        self.received: list[NodeMessage] = []
        self.bodies: list[bytes] = []
        self.outputs: dict[str, dict[Channel, bytearray]] = {}
        self.takes_output: Callable[[Output], bool] = lambda output: True
        self.heartbeats: list[NodeHeartbeat] = []
        self.http_status: int | None = None
        self.requests: list[str] = []

    # Life

    def start(self) -> None:
        """Begin, as a new incarnation; the second time on the ports of the first."""
        self.incarnation_id = str(uuid.uuid4())
        self._sequence = 0
        self._peers: dict[str, bytes] = {}
        if self.tls is None:
            listening = self._reactor.listenTCP(self._http_port, self._site, interface=self.address)
        else:
            listening = self._reactor.listenSSL(self._http_port, self._site, self.tls, interface=self.address)
        self._listening: IListeningPort = listening
        self._http_port = self._listening.getHost().port
        self._context = Context(self._reactor)
        self._zap = Connection(self._context, zmq.ROUTER, self._zap_asked)
        self._zap.bind("inproc://zeromq.zap.01")
        self._router = Connection(self._context, zmq.ROUTER, self._message_received)
        self._router.serve_curve(self._curve, "test")
        self._publisher = Connection(self._context, zmq.PUB)
        bound = [
            socket.bind(f"tcp://{self.address}:{port}")
            for socket, port in zip((self._router, self._publisher), self._ports, strict=True)
        ]
        self._ports = [address.rpartition(":")[2] for address in bound]
        self._beats = LoopingCall(self.publish)
        self._beats.clock = self._reactor
        _ = self._beats.start(INTERVAL)

    async def stop(self) -> None:
        """Go away: nothing answers any more."""
        self._beats.stop()
        self._context.shutdown()
        await self._listening.stopListening()  # type: ignore[misc]  # zope's interface has no types

    @property
    def url(self) -> str:
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://{self._host}:{self._http_port}/organizations/{ORGANIZATION}"

    @property
    def _host(self) -> str:
        return self.name or self.address

    # What tests do

    def silence(self) -> None:
        """Publish no heartbeat."""
        self._beats.stop()

    def speak(self) -> None:
        """Publish heartbeats again."""
        _ = self._beats.start(INTERVAL)

    def publish(self) -> None:
        body = messages.encode(
            messages.ServerHeartbeat(server="test", incarnation_id=self.incarnation_id, **self._stamp())
        )
        self._publisher.send([envelope.sign_rsa(self.heartbeat_key, body), body])

    def send(self, node: str, kind: Callable[..., ServerCommand], **fields: Any) -> None:
        """Send a command to a node that is connected."""
        body = messages.encode(kind(**self._stamp(), **fields))
        self.send_frames(node, [envelope.SessionSigner(self._session_keys[node]).sign(body), body])

    def send_frames(self, node: str, frames: list[bytes]) -> None:
        assert self._router.send([self._peers[node], *frames])

    def expect(self, kind: type[M], **fields: Any) -> "Deferred[M]":
        """The next message of that kind and with those fields: one that came, or the first to come."""

        def matches(message: NodeMessage) -> bool:
            return isinstance(message, kind) and all(getattr(message, key) == value for key, value in fields.items())

        waiting: Deferred[M] = Deferred()
        for message in self.received:
            if matches(message):
                self.received.remove(message)
                waiting.callback(message)  # type: ignore[arg-type]  # of that kind, as matches() saw
                return waiting
        self._waiting.append((matches, waiting))
        return waiting

    # Channels

    def _stamp(self) -> dict[str, Any]:
        self._sequence += 1
        return {"timestamp": format_rfc1123(time.time()), "sequence": self._sequence}

    def _zap_asked(self, frames: list[bytes], _peer: str) -> None:
        identity, empty, version, request_id, *_, key = frames
        node = self._admitted.get(key) if self.admits else None
        status = [b"200", b"OK", node.encode()] if node else [b"400", b"unknown key", b""]
        self._zap.send([identity, empty, version, request_id, *status, b""])

    def _message_received(self, frames: list[bytes], peer: str) -> None:
        identity, header, body = frames
        assert len(body) <= self.max_body_size
        envelope.SessionSigner(self._session_keys[peer]).verify(header, body)
        message = messages.decode_from_node(body)
        assert message.node == peer
        self.bodies.append(body)
        is_new = self._peers.get(peer) != identity
        self._peers[peer] = identity
        if is_new:
            resumes = message.job_id is not None and "resume" in (self.extensions or ())
            self.send(peer, messages.Ack if resumes else messages.Abort)
        if isinstance(message, NodeHeartbeat):
            self.heartbeats.append(message)
        elif isinstance(message, Output):
            self._store(peer, message)
        else:
            self.received.append(message)
        for waiting in self._waiting:
            matches, found = waiting
            if matches(message):
                self._waiting.remove(waiting)
                if message in self.received:
                    self.received.remove(message)
                found.callback(message)
                return

    def _store(self, node: str, output: Output) -> None:
        stored = self.outputs.setdefault(output.job_id, {"stdout": bytearray(), "stderr": bytearray()})
        channel = stored[output.channel]
        if self.takes_output(output) and output.offset <= len(channel):
            channel += output.data[len(channel) - output.offset :]
        offsets = {name: len(data) for name, data in stored.items()}
        self.send(node, messages.Ack, job_id=output.job_id, offsets=offsets)

    # HTTP

    def _routes(self) -> Klein:
        app = Klein()

        @app.route(f"/organizations/{ORGANIZATION}/pushy/config/<node>", methods=["GET"], endpoint="config")
        def config(request: Request, node: str) -> bytes:
            return self._answer(request, lambda user, _body: self._config(request, user, node))

        @app.route(f"/organizations/{ORGANIZATION}/clients", methods=["POST"], endpoint="clients")
        def clients(request: Request) -> bytes:
            return self._answer(request, lambda user, body: self._create_client(request, user, body))

        return app

    def _answer(self, request: Request, make: Callable[[str, bytes], object]) -> bytes:
        self.requests.append(request.method.decode())
        request.setHeader("content-type", "application/json")
        if self.http_status is not None:
            request.setResponseCode(self.http_status)
            return encode(ErrorBody(error=["out of order"]))
        try:
            user, body = self._authenticate(request)
            return encode(make(user, body))
        except http_signing.SigningError as error:
            request.setResponseCode(error.status)
            return encode(ErrorBody(error=[str(error)]))

    def _authenticate(self, request: Request) -> tuple[str, bytes]:
        headers = {
            name.decode().lower(): values[0].decode() for name, values in request.requestHeaders.getAllRawHeaders()
        }
        assert request.content is not None
        body = request.content.read()
        signed = http_signing.parse(headers)
        signed.check_content(body)
        signed.check_clock(time.time())
        key = self.clients.get(signed.user)
        if key is None:
            raise http_signing.SigningError(f"Failed to authenticate as '{signed.user}'.")
        signed.check_signature(method=request.method.decode(), path=request.uri.decode(), public_keys=[key])
        return signed.user, body

    def _config(self, request: Request, user: str, node: str) -> AgentConfig:
        assert user == node
        curve_key = request.args[b"ccpk"][0]
        session_key = self._session_keys.setdefault(node, uuid.uuid4().bytes + uuid.uuid4().bytes)
        self._admitted[check_curve_key(curve_key.decode())] = node
        encrypted = self.clients[node].encrypt(session_key, padding.PKCS1v15())
        return AgentConfig(
            host=self._host,
            node=node,
            organization=ORGANIZATION,
            push_jobs=PushJobsConfig(
                heartbeat=HeartbeatConfig(
                    command_addr=f"tcp://{self._host}:{self._ports[0]}",
                    out_addr=f"tcp://{self._host}:{self._ports[1]}",
                    interval=INTERVAL,
                )
            ),
            public_key=public_pem(SERVER_KEY.public_key()),
            curve_public_key=self._curve.public,
            encoded_session_key=EncodedSessionKey(method="hmac_sha256", key=base64.b64encode(encrypted).decode()),
            lifetime=self.lifetime,
            max_message_skew=300,
            max_body_size=self.max_body_size,
            incarnation_id=self.incarnation_id,
            extensions=self.extensions,
        )

    def _create_client(self, request: Request, user: str, body: bytes) -> object:
        assert user == f"{ORGANIZATION}-validator"
        client = decode(body, NewClient)
        assert client.public_key is not None
        if client.name in self.clients:
            request.setResponseCode(409)
            return ErrorBody(error=["Client already exists"])
        self.clients[client.name] = parse_public_key(client.public_key.encode())
        request.setResponseCode(201)
        return ClientCreated(uri=f"{self.url}/clients/{client.name}")


def make_node_key(server: PushServer, node: str) -> RSAPrivateKey:
    """A key for a node that the server knows."""
    key = make_rsa_key()
    server.clients[node] = key.public_key()
    return key


def struct_fields(message: msgspec.Struct) -> dict[str, Any]:
    """A message's fields as they are on the wire."""
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(message))
    return decoded
