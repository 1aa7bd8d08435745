"""The real API on a real port, over the real services and the real store; and clients of it.

Doubles are the channel to the nodes, for which a test says what nodes say, and the feeds. The services' clock is the
test's, and so is the date, which is that of the vectors.
"""

import atexit
import json
import shutil
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, cast

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from treq.client import HTTPClient
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent

from pushy_protocol import messages
from pushy_protocol.api import HeartbeatConfig
from pushy_protocol.http_signing import sign
from pushy_protocol.keys import CurveKeyPair, make_rsa_key, public_pem
from pushy_protocol.timestamps import parse_iso8601
from pushyd.domain.node import HeartbeatRule, NodeRef
from pushyd.feeds import FeedService
from pushyd.identity.local import LocalIdentity
from pushyd.jobs import JobService
from pushyd.live_jobs import LiveJobs
from pushyd.nodes import NodeService
from pushyd.outputs import Outputs
from pushyd.retention import Retention
from pushyd.sessions import Sessions
from pushyd.store.interface import Store
from pushyd.store.output_interface import OutputRules
from pushyd.store.sql import SqlStore
from pushyd.web import agent_config, feeds, identity, jobs, nodes, openapi, output, status
from pushyd.web.app import Api
from tests.pushy_protocol.vectors import vector_key
from tests.pushyd.doubles import RecordingChannel, said
from tests.pushyd.identity.keys import key_of, pem_of

reactor: Any = the_reactor
"""The real one; without types, as Twisted's is a module."""

ORG = "acme"
BELOW = f"/organizations/{ORG}/pushy"
NOW = parse_iso8601("2026-01-31T12:00:00Z")
TODAY = "Sat, 31 Jan 2026 12:00:00 GMT"
MAX_OUTPUT = 2**26
INCARNATION = "6c2f9f1e-0000-4000-8000-000000000001"
SERVER_CURVE = CurveKeyPair.make()
NODE_CURVE = CurveKeyPair.make()


@frozen(kw_only=True)
class Answer:
    """What came back. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json", self
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        """What an error says; nothing else may be in it."""
        told = self.json
        assert list(told) == ["error"], told
        return told["error"]

    @property
    def refusal(self) -> tuple[int, Any]:
        """The status and the text of an error that says one thing."""
        (text,) = self.error
        return self.status, text


class Connection(Protocol):
    """A connection on which a test writes what it likes."""

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.closed: Deferred[None] = Deferred()
        self._waiting: list[tuple[Callable[[bytes], bool], Deferred[None]]] = []

    def write(self, *pieces: bytes) -> None:
        self.transport.write(b"".join(pieces))

    async def until(self, there: Callable[[bytes], bool]) -> bytes:
        """Wait for what was received to be so; fails where the connection ends before."""
        if not there(self.received):
            waiting: Deferred[None] = Deferred()
            self._waiting.append((there, waiting))
            await waiting
        return self.received

    async def answer(self) -> Answer:
        """The next whole answer."""
        await self.until(lambda received: _split(received) is not None)
        found = _split(self.received)
        assert found is not None
        answer, self.received = found
        return answer

    async def close(self) -> None:
        """Say that nothing more will come, and wait for the server to hang up: then nothing is left of it there."""
        if not self.closed.called:
            self.transport.loseWriteConnection()
        await self.closed

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        for entry in list(self._waiting):
            there, waiting = entry
            if there(self.received):
                self._waiting.remove(entry)
                waiting.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed.callback(None)
        for _, waiting in self._waiting:
            waiting.errback(AssertionError(f"the connection ended after {self.received!r}"))
        self._waiting = []


def _split(received: bytes) -> tuple[Answer, bytes] | None:
    """The first answer of what was received, and what came after it; None where it is not whole."""
    head, blank, rest = received.partition(b"\r\n\r\n")
    if not blank:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status = int(first.split(" ")[1])
    length = int(headers.get("content-length", "0"))
    if len(rest) < length:
        return None
    return Answer(status=status, headers=headers, body=rest[:length]), rest[length:]


class ApiTestCase(TestCase):
    """Serves the API for each test."""

    timeout = 10

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
        self.now = NOW
        self.clock = Clock()
        self.store = await self.make_store()
        self.identity = LocalIdentity(self.store, seconds=self.clock.seconds, believed_seconds=0)
        self.sessions = Sessions(secret=bytes(32), store=self.store)
        await self.sessions.load()
        self.channel = RecordingChannel()
        self.nodes = NodeService(
            clock=self.clock,
            sessions=self.sessions,
            rule=HeartbeatRule(interval=1.0, window=4, threshold=0.6),
            rehab_seconds=1.0,
            check_seconds=4,
        )
        self.feeds = FeedService(
            store=self.store,
            clock=self.clock,
            now=lambda: self.now,
            wait_complete_seconds=5,
            expiry_seconds=60,
        )
        self.outputs = Outputs(
            store=self.store,
            feeds=self.feeds,
            acknowledge=self.nodes.acknowledge,
            clock=self.clock,
            rules=OutputRules(max_output=MAX_OUTPUT, max_job_output=2**32, min_free_disk=0),
        )
        self.live = LiveJobs(
            store=self.store,
            nodes=self.nodes,
            feeds=self.feeds,
            outputs=self.outputs,
            clock=self.clock,
            now=lambda: self.now,
        )
        self.jobs = JobService(
            store=self.store,
            live=self.live,
            clock=self.clock,
            now=lambda: self.now,
            voting_timeout=60,
            default_run_timeout=3600,
            max_body_size=65536,
            max_output=MAX_OUTPUT,
        )
        self.nodes.connect(self.channel, self.live, lambda node, job_id: None, self.outputs.received)
        self.addCleanup(self.live.stop)
        self.api = self.make_api()
        self.port = reactor.listenTCP(0, self.api.site(), interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        self.host = f"127.0.0.1:{self.port.getHost().port}"
        pool = HTTPConnectionPool(reactor)
        self.addCleanup(pool.closeCachedConnections)
        self.client = HTTPClient(cast("IAgent", Agent(reactor, pool=pool)))

    async def make_store(self) -> Store:
        """A store with the organizations and the principals of the tests."""
        directory = mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        path = shutil.copy(await _template(), f"{directory}/pushyd.sqlite")
        store = SqlStore(url=f"sqlite:///{path}", reactor=reactor)
        # At once: its threads keep a process alive whose test could not be set up.
        self.addCleanup(lambda: Deferred.fromCoroutine(store.close()))
        await store.open()
        return store

    def make_api(self, **offered: Any) -> Api:
        """The API with all its routes; `offered` changes what nodes are offered."""
        api = Api(identity=self.identity, now=lambda: self.now)
        status.add_routes(
            api,
            incarnation_id=INCARNATION,
            online_nodes=self.nodes.online_count,
            live_jobs=self.live.ids,
        )
        openapi.add_routes(api)
        retention = Retention(store=self.store, clock=self.clock, now=lambda: self.now, days=0, count=0)
        self.addCleanup(retention.stop)
        jobs.add_routes(api, jobs=self.jobs, retention=retention, host="push.example:10003")
        output.OutputRoutes(jobs=self.jobs, outputs=self.outputs, feeds=self.feeds, clock=self.clock).add_to(api)
        feeds.FeedRoutes(
            feeds=self.feeds,
            jobs=self.jobs,
            outputs=self.outputs,
            clock=self.clock,
            now=lambda: self.now,
            keep_alive_seconds=15,
        ).add_to(api)
        nodes.add_routes(api, nodes=self.nodes)
        agent_config.add_routes(
            api,
            sessions=self.sessions,
            nodes=self.store,
            offer=agent_config.Offer(**{**OFFER, **offered}),
            admitted=lambda node, caller: None,
        )
        identity.add_routes(
            api,
            directory=self.identity,
            nodes=self.store,
            sessions=self.sessions,
            host="push.example:10003",
            make_key=_make_key,
        )
        return api

    @contextmanager
    def logged(self) -> Iterator[list[LogEvent]]:
        """What is logged meanwhile."""
        events: list[LogEvent] = []
        observer = cast("ILogObserver", events.append)
        globalLogPublisher.addObserver(observer)
        try:
            yield events
        finally:
            globalLogPublisher.removeObserver(observer)

    async def call(
        self,
        method: str,
        path: str,
        *,
        by: str | None = "alice",
        key: RSAPrivateKey | None = None,
        body: bytes = b"",
        query: str = "",
        version: str = "1.3",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """A request, signed with the key of `by` (None: not signed)."""
        signed = {} if by is None else self.signed(method, path, by=by, key=key, body=body, version=version)
        sent = signed | dict(headers or {})
        response = await self.client.request(
            method,
            f"http://{self.host}{path}{query}",
            headers=Headers({name: [value] for name, value in sent.items()}),
            data=body or None,
        )
        return Answer(
            status=response.code,
            headers={
                name.decode().lower(): values[-1].decode() for name, values in response.headers.getAllRawHeaders()
            },
            body=await response.content(),
        )

    async def get(self, path: str, **how: Any) -> Answer:
        return await self.call("GET", path, **how)

    async def post(self, path: str, value: object, **how: Any) -> Answer:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return await self.call("POST", path, body=body, **how)

    async def start_job(self, *names: str, **wanted: Any) -> str:
        """Start a job; its id."""
        answer = await self.post(f"{BELOW}/jobs", {"command": "true", "nodes": names or ("web1",), **wanted})
        assert answer.status == 201, answer
        return str(answer.json["uri"]).rpartition("/")[2]

    def signed(
        self,
        method: str,
        path: str,
        *,
        by: str = "alice",
        key: RSAPrivateKey | None = None,
        body: bytes = b"",
        version: str = "1.3",
    ) -> dict[str, str]:
        """The headers that sign a request."""
        private = key or principal_key(by)
        return sign(private_key=private, user=by, method=method, path=path, body=body, now=self.now, version=version)

    async def connect(self) -> Connection:
        """A bare connection."""
        host, port = self.port.getHost().host, self.port.getHost().port
        connection: Connection = await connectProtocol(HostnameEndpoint(reactor, host, port), Connection())
        self.addCleanup(lambda: Deferred.fromCoroutine(connection.close()))
        return connection

    async def raw(
        self, method: bytes, target: bytes, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """A request whose target is sent as it stands."""
        connection = await self.connect()
        connection.write(head(method, target, {"Host": self.host, **(headers or {})}, len(body)), body)
        return await connection.answer()

    def node_says(self, name: str, kind: type[messages.NodeMessage], job_id: str | None = None, **fields: Any) -> None:
        """A message of a node, as the broker hands it on."""
        node = NodeRef(ORG, name)
        session = self.sessions.of(node)
        assert session is not None
        self.nodes.on_message(session, b"route of " + name.encode(), said(kind, node, job_id, **fields))

    async def bring_up(self, *names: str) -> None:
        """Make nodes available."""
        for name in names:
            await self.sessions.admit(NodeRef(ORG, name), curve_key=CurveKeyPair.make().public, version="2.0")
            self.node_says(name, messages.NodeHeartbeat)
            self.node_says(name, messages.Aborted)


OFFER: dict[str, Any] = {
    "server_name": "push.example",
    "heartbeat": HeartbeatConfig(
        out_addr="tcp://push.example:10000", command_addr="tcp://push.example:10002", interval=1.0
    ),
    "public_key": public_pem(vector_key().public_key()),
    "curve_public_key": SERVER_CURVE.public,
    "lifetime": 3600,
    "max_message_skew": 300,
    "max_body_size": 65536,
    "incarnation_id": INCARNATION,
    "names_must_match": True,
}


def principal_key(name: str) -> RSAPrivateKey:
    """The key of a principal; that of alice made the vectors."""
    return vector_key() if name == "alice" else key_of(name)


def head(method: bytes, target: bytes, headers: Mapping[str, str], length: int | None) -> bytes:
    """The head of a request; its length is not said where it is None."""
    lines = [f"{name}: {value}".encode("latin-1") for name, value in headers.items()]
    if length is not None:
        lines.append(b"Content-Length: %d" % length)
    return b"\r\n".join([method + b" " + target + b" HTTP/1.1", *lines, b"", b""])


def session_key(config: Mapping[str, Any], private_key: RSAPrivateKey) -> bytes:
    """The session key within a node's configuration."""
    encoded = config["encoded_session_key"]
    assert encoded["method"] == "hmac_sha256"
    return private_key.decrypt(b64decode(encoded["key"], validate=True), padding.PKCS1v15())


async def _make_key() -> RSAPrivateKey:
    return make_rsa_key()


_made: list[Path] = []


async def _template() -> Path:
    """A database with who there is; it is made once and copied for each test."""
    if not _made:
        directory = mkdtemp()
        atexit.register(shutil.rmtree, directory)
        path = Path(directory) / "template.sqlite"
        store = SqlStore(url=f"sqlite:///{path}", reactor=reactor)
        await store.open()
        await _populate(store)
        await store.close()
        _made.append(path)
    return _made[0]


async def _populate(store: Store) -> None:
    for organization in (ORG, "other"):
        await store.create_organization(organization, f"guid of {organization}")
        await store.create_group(organization, "admins")
    users: Sequence[tuple[str, list[str]]] = [("alice", [ORG]), ("rita", [ORG]), ("sam", ["other"]), ("twin", [ORG])]
    for name, organizations in users:
        await store.create_user(name, public_pem(principal_key(name).public_key()), organizations)
    for name in ("web1", "web2", "web1.example.com", f"{ORG}-validator"):
        pem = public_pem(vector_key().public_key()) if name == "web1.example.com" else pem_of(name)
        await store.create_client(ORG, name, pem)
    await store.create_client(ORG, "twin", pem_of("twin as client"))
    await store.create_client("other", "web9", pem_of("web9"))
    await store.add_to_group(ORG, "admins", "user", "alice")
