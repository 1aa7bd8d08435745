"""Requests and their errors, against the double of the server in the same reactor, or one that does as a test says."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import define, evolve, field
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent

from pushy_cli import transport
from pushy_cli.api import JobQuery
from pushy_cli.api import PushServer as Api
from pushy_cli.captured import by_node, fetch
from pushy_cli.context import Settings
from pushy_cli.errors import (
    CliError,
    ConfigurationError,
    Conflict,
    Garbage,
    NoAnswer,
    NotFound,
    NotOffered,
    Refused,
    Rejected,
    ServerFault,
    UnknownJob,
    Unreachable,
)
from pushy_cli.output_api import OutputServer
from pushy_cli.tls import Policy
from pushy_cli.transport import Transport
from pushy_protocol.api import JobRequest
from pushy_protocol.keys import make_rsa_key
from tests.pushy_cli.push_server import JOB_ID, Fault, PushServer

KEY = make_rsa_key()
REQUEST = JobRequest(command="uptime", nodes=("web1",))
SETTINGS = Settings(
    server_url="http://127.0.0.1:1/organizations/acme", client_name="admin", client_key=KEY, key_source="admin.pem"
)


# To mypy, zope's interfaces are classes that nobody is an instance of.
REACTOR: Any = reactor


def _client(*policy: Any) -> Any:
    """A client without a pool, so that nothing is left open after a test."""
    agent: Any = Agent(REACTOR, *policy)
    return HTTPClient(agent)


def transport_for(settings: Settings, client: Any = None, clock: Any = REACTOR) -> Transport:
    return Transport(settings, client=client or _client(), clock=clock, now=time.time)


class RequestTests(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
        self.server = PushServer({"admin": KEY.public_key()})
        self.settings = evolve(SETTINGS, server_url=await self.server.listen(REACTOR, None))
        self.addCleanup(self.server.close)
        self.api = Api(transport_for(self.settings))
        self.outputs = OutputServer(transport_for(self.settings))

    async def failure(self, asked: Any, kind: type[CliError]) -> str:
        error = await self.assertFailure(Deferred.fromCoroutine(asked), kind)
        assert type(error) is kind
        assert error.what.isprintable()
        assert error.hint
        return str(error.what)

    async def test_signatures_hold_for_every_path(self) -> None:
        assert (await self.api.start_job(REQUEST)).uri.endswith(JOB_ID)
        assert [job.id for job in await self.api.jobs(JobQuery())] == [JOB_ID]
        assert (await self.api.job(JOB_ID)).command == "uptime"
        self.server.outputs["a b%", "stdout"] = b"\x00\xff"
        assert await self.outputs.output(JOB_ID, "a b%", "stdout") == b"\x00\xff"
        assert await self.outputs.output(JOB_ID, "a b%", "stderr") is None
        assert (await self.api.node_state("näme?#&+")).node_name == "näme?#&+"

    async def test_each_status_has_its_error(self) -> None:
        for fault, kind, said in (
            (
                Fault(status=503, body=b'{"error": ["too \\u001b[2J busy"]}'),
                ServerFault,
                r"too \x1b[2J busy (status 503)",
            ),
            (Fault(status=500, body=b"<html>"), ServerFault, "500 Internal Server Error"),
            (Fault(status=429), ServerFault, "Too Many Requests"),
            (Fault(status=404, body=b'{"error": ["no such organization"]}'), NotFound, "no such organization"),
            (Fault(status=400, body=b'{"error": ["a", "b"]}'), Rejected, "a; b"),
            (Fault(status=413, body=b'{"error": "too large"}'), Rejected, "too large"),
            (Fault(status=401, body=b'{"error": ["who?"]}'), Refused, "'admin' with the key of admin.pem: who?"),
            (Fault(status=403, body=b'{"error": 3}'), Refused, "403 Forbidden"),
            (Fault(status=405), NotOffered, "405 Method Not Allowed"),
            (Fault(status=409, body=b'{"error": ["it has ended"]}'), Conflict, "it has ended"),
            (Fault(status=302), Garbage, "302 Found"),
            (Fault(status=799), Garbage, "799 unknown status"),
            (Fault(status=200, body=b"<html>"), Garbage, "invalid JSON"),
            (Fault(status=200, body=b"\xff"), Garbage, "is no push server"),
            (Fault(status=200, body=b'{"uri": 3}'), Garbage, "uri: expected a string"),
            (Fault(status=201, body=b'{"uri": "https://x/jobs/../x"}'), Garbage, "does not end in an id"),
        ):
            self.server.faults.append(fault)
            assert said in await self.failure(self.api.start_job(REQUEST), kind)

    async def test_an_unknown_job(self) -> None:
        assert JOB_ID in await self.failure(self.api.job(JOB_ID), UnknownJob)

    async def test_answers_have_a_largest_size(self) -> None:
        self.patch(transport, "MAX_RESPONSE_BYTES", 10)
        self.server.faults.append(Fault(status=200, body=b"[" + b" " * 10 + b"]"))
        assert "more than 10 bytes" in await self.failure(self.api.jobs(JobQuery()), Garbage)
        assert await self.api.jobs(JobQuery()) == []

    async def test_what_was_captured_is_gathered(self) -> None:
        self.server.add_job(JOB_ID, {"status": "complete"})
        nodes = [f"n{number}" for number in range(20)]
        for node in nodes[:19]:
            self.server.outputs[node, "stdout"] = b"same" if node != "n7" else b"other \xff"
        progress: list[tuple[int, int]] = []
        texts = await fetch(
            self.outputs, JOB_ID, nodes, at_once=3, on_progress=lambda done, total: progress.append((done, total))
        )
        assert {channel: {text: sorted(who) for text, who in same.items()} for channel, same in texts.items()} == {
            "stdout": {b"same": sorted(set(nodes[:19]) - {"n7"}), b"other \xff": ["n7"]},
            "stderr": {},
        }
        assert progress == [(done, 40) for done in range(1, 41)]
        assert by_node(texts, ["n7", "n8", "n19", *nodes])["n7"] == {"stdout": "other \ufffd"}

    async def test_one_that_cannot_be_fetched_ends_it(self) -> None:
        self.server.add_job(JOB_ID, {"status": "complete"})
        self.server.faults.extend([None, Fault(status=500), Fault(status=0), Fault(status=0)])
        await self.failure(fetch(self.outputs, JOB_ID, ["a", "b"], at_once=4), ServerFault)

    async def test_nothing_to_fetch(self) -> None:
        assert await fetch(self.outputs, JOB_ID, [], at_once=4) == {"stdout": {}, "stderr": {}}

    async def test_who_speaks_another_protocol(self) -> None:
        port = REACTOR.listenTCP(0, Factory.forProtocol(_Greeter), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        for scheme, said in (("https", "does not speak TLS as we do"), ("http", "Cannot reach")):
            url = f"{scheme}://127.0.0.1:{port.getHost().port}/organizations/acme"
            client = _client(Policy(trusted=(), verify=True))
            asked = transport_for(evolve(SETTINGS, server_url=url), client).request("GET", "pushy/jobs")
            assert said in await self.failure(asked, NoAnswer)


class _Greeter(Protocol):
    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.write(b"220 smtp.example.com ESMTP\r\n")
        transport.loseConnection()


@define
class _Silent:
    """A client whose requests never end, unless they are cancelled."""

    asked: list[Deferred[Any]] = field(factory=list)

    def request(self, method: str, url: str, **arguments: object) -> Deferred[Any]:
        # Twisted tells of a cancelled request in many ways; this is one.
        self.asked.append(Deferred(lambda deferred: deferred.errback(_Wrapped([Failure(CancelledError())]))))
        return self.asked[-1]


class _Wrapped(Exception):
    def __init__(self, reasons: Sequence[Failure]) -> None:
        super().__init__("wrapped")
        self.reasons = reasons


class TimeTests(TestCase):
    def test_a_request_ends_in_time(self) -> None:
        clock = Clock()
        asked = Deferred.fromCoroutine(transport_for(SETTINGS, _Silent(), clock).request("GET", "pushy/jobs"))
        clock.advance(29.9)
        self.assertNoResult(asked)
        clock.advance(0.1)
        error = self.failureResultOf(asked, Unreachable).value
        assert str(error) == "Cannot reach http://127.0.0.1:1: no answer within 30 s"

    def test_a_cancelled_request_is_not_taken_for_an_absent_server(self) -> None:
        clock = Clock()
        asked = Deferred.fromCoroutine(transport_for(SETTINGS, _Silent(), clock).request("GET", "pushy/jobs"))
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        assert not clock.getDelayedCalls()

    def test_an_error_that_nobody_thought_of(self) -> None:
        client = _Failing(ValueError("odd"))
        asked = Deferred.fromCoroutine(transport_for(SETTINGS, client, Clock()).request("GET", "pushy/jobs"))
        error = self.failureResultOf(asked, Unreachable).value
        assert str(error) == "Cannot reach http://127.0.0.1:1: ValueError: odd"


@define
class _Failing:
    error: Exception

    def request(self, method: str, url: str, **arguments: object) -> Deferred[Any]:
        return succeed(None).addCallback(lambda _: Failure(self.error))


class PolicyTests(TestCase):
    def test_a_file_without_a_certificate(self) -> None:
        path = Path(self.mktemp())
        path.write_text("nothing")
        error = self.assertRaises(ConfigurationError, Policy, trusted=[path], verify=True)
        assert str(path) in str(error)
