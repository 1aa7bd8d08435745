"""What is said, how, and what is kept until it could be."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from pushy_agent.job import Committed, Exit, Idle, Kind, Say
from pushy_agent.order import Order
from pushy_agent.output import Captured
from pushy_agent.output_spool import OutputSpool
from pushy_agent.sender import RESEND, Sender
from pushy_agent.speaker import Speaker
from pushy_agent.spool import Journal, Spool
from pushy_agent.streams import Streams
from pushy_protocol.messages import decode_from_node
from tests.pushy_agent.test_connection import NOW, make_session
from tests.pushy_agent.test_spool import at_once


class Wire:
    """Records what is sent, as long as it takes anything."""

    def __init__(self) -> None:
        self.takes = True
        self.bodies: list[bytes] = []

    def __call__(self, body: bytes) -> bool:
        if self.takes:
            self.bodies.append(body)
        return self.takes

    @property
    def sent(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(body) for body in self.bodies]


def make_sender(clock: Clock, spool: Spool, directory: Path) -> Sender:
    speaker = Speaker(host="host", incarnation_id="me", now=lambda: NOW)
    outputs = OutputSpool(directory / "output", 1000)
    streams = Streams(clock=clock, speaker=speaker, spool=outputs, in_thread=at_once)
    return Sender(clock=clock, speaker=speaker, spool=spool, streams=streams)


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    journal = Journal(tmp_path / "jobs.journal")
    spool = Spool(journal, at_once)
    spool.open()
    yield spool
    journal.close()


@pytest.fixture
def sender(wire: Wire, clock: Clock, spool: Spool, tmp_path: Path) -> Sender:
    sender = make_sender(clock, spool, tmp_path)
    sender.attach(make_session(), wire)
    return sender


COMMON = {
    "node": "node-1", "client": "host", "org": "acme", "protocol_version": "2.0", "incarnation_id": "me",
    "timestamp": "Tue, 14 Nov 2023 22:13:20 GMT",
}  # fmt: skip
OUTPUT = Exit(status=0, stdout=Captured(head=b"o" * 900), stderr=Captured(head=b"e" * 100))


def test_every_kind_is_a_message(sender: Sender, wire: Wire) -> None:
    for number, kind in enumerate(Kind):
        sender.say(Say(kind=kind, job_id=f"j{number}", reason="why", exit=Exit(status=3)))
        assert wire.sent[-1] == {**COMMON, "type": kind.value, "job_id": f"j{number}", "sequence": number}
        decode_from_node(wire.bodies[-1])


def test_heartbeats(sender: Sender, wire: Wire) -> None:
    sender.beat(Idle())
    sender.beat(Committed(order=Order(job_id="j1", argv=("x",), env={})))
    assert wire.sent == [
        {**COMMON, "type": "heartbeat", "job_id": None, "job_state": "idle", "sequence": 0},
        {**COMMON, "type": "heartbeat", "job_id": "j1", "job_state": "committed", "sequence": 1},
    ]


@pytest.mark.parametrize("extensions", [frozenset(), frozenset({"results"})])
def test_reasons_are_not_told_to_who_has_not_asked(sender: Sender, wire: Wire, extensions: frozenset[str]) -> None:
    sender.attach(make_session(extensions=extensions), wire)
    sender.say(Say(kind=Kind.FAILED, job_id="j1", reason="why", exit=Exit(status=3)))
    assert wire.sent[0]["protocol_version"] == "3.0"
    assert not {"reason", "exit_status", "signal"} & wire.sent[0].keys()


def test_reasons(sender: Sender, wire: Wire) -> None:
    sender.attach(make_session(extensions=frozenset({"reasons"})), wire)
    sender.say(Say(kind=Kind.NACK_COMMIT, job_id="j1", reason="busy"))
    sender.say(Say(kind=Kind.FAILED, job_id="j2", exit=Exit(status=3)))
    sender.say(Say(kind=Kind.FAILED, job_id="j3", reason="agent_stopped", exit=Exit(signal=9)))
    sender.say(Say(kind=Kind.SUCCEEDED, job_id="j4", exit=Exit(status=0)))
    told = [
        {key: message[key] for key in ("reason", "exit_status", "signal") if key in message} for message in wire.sent
    ]
    assert told == [{"reason": "busy"}, {"exit_status": 3}, {"reason": "agent_stopped", "signal": 9}, {}]


def test_outputs_when_captured_and_only_then(sender: Sender, wire: Wire) -> None:
    sender.say(Say(kind=Kind.SUCCEEDED, job_id="j1", exit=OUTPUT))
    sender.say(Say(kind=Kind.SUCCEEDED, job_id="j2", exit=Exit(status=0)))
    sender.say(Say(kind=Kind.FAILED, job_id="j3", exit=evolve(OUTPUT, status=1, stdout=Captured(head=b"\xff"))))
    assert (wire.sent[0]["stdout"], wire.sent[0]["stderr"]) == ("o" * 900, "e" * 100)
    assert "stdout" not in wire.sent[1]
    assert wire.sent[2]["stdout"] == "�"


def test_outputs_are_cut_to_the_body_limit(sender: Sender, wire: Wire) -> None:
    sender.attach(make_session(max_body_size=800), wire)
    sender.say(Say(kind=Kind.SUCCEEDED, job_id="j1", exit=OUTPUT))
    assert 780 <= len(wire.bodies[0]) <= 800
    assert wire.sent[0]["stderr"] == "e" * 100
    assert "bytes left out" in wire.sent[0]["stdout"]


def test_results_are_kept_and_the_rest_is_not(sender: Sender, wire: Wire) -> None:
    wire.takes = False
    sender.say(Say(kind=Kind.SUCCEEDED, job_id="j1"))
    sender.say(Say(kind=Kind.ABORTED, job_id="j2"))
    sender.say(Say(kind=Kind.ABORTED, job_id=None))
    sender.say(Say(kind=Kind.ACK_COMMIT, job_id="j3"))
    sender.beat(Idle())
    sender.flush()
    wire.takes = True
    sender.flush()
    sender.flush()
    assert [(message["type"], message["job_id"], message["sequence"]) for message in wire.sent] == [
        ("succeeded", "j1", 0),
        ("aborted", "j2", 1),
    ]


def test_results_are_kept_between_sessions_and_told_in_the_new_one(sender: Sender, wire: Wire) -> None:
    sender.beat(Idle())
    sender.detach()
    sender.say(Say(kind=Kind.FAILED, job_id="j1", exit=Exit(status=2)))
    sender.beat(Idle())
    assert len(wire.bodies) == 1
    sender.attach(make_session(extensions=frozenset({"reasons"})), wire)
    sender.flush()
    assert (wire.sent[1]["exit_status"], wire.sent[1]["sequence"]) == (2, 0)


RESULTS = frozenset({"results"})
ENDED = Say(kind=Kind.SUCCEEDED, job_id="j1", exit=Exit(status=0))


def results(wire: Wire) -> list[str]:
    return [message["job_id"] for message in wire.sent if message["type"] == "succeeded"]


def test_a_result_is_said_again_until_it_is_acknowledged(
    sender: Sender, wire: Wire, clock: Clock, spool: Spool
) -> None:
    sender.attach(make_session(extensions=RESULTS), wire)
    sender.say(ENDED)
    sender.flush()
    assert results(wire) == ["j1"]
    clock.advance(RESEND)
    sender.flush()
    assert results(wire) == ["j1", "j1"]
    sender.attach(make_session(extensions=RESULTS), wire)
    sender.flush()
    assert results(wire) == ["j1"] * 3
    sender.acknowledged("j1")
    sender.acknowledged("j1")
    clock.advance(RESEND)
    sender.flush()
    assert (results(wire), spool.waiting) == (["j1"] * 3, ())
    assert not sender.say_again("j1")


def test_who_asks_for_a_job_that_is_over_hears_its_result(sender: Sender, wire: Wire) -> None:
    sender.attach(make_session(extensions=RESULTS), wire)
    sender.say(ENDED)
    assert sender.say_again("j1")
    assert results(wire) == ["j1", "j1"]


def make_slow(spool: Spool) -> "list[Deferred[None]]":
    """Have its disk do nothing until what is added to this is fired."""
    disk: list[Deferred[None]] = []

    def slowly(work: Callable[[], Any], /) -> Deferred[Any]:
        disk.append(Deferred())
        return disk[-1].addCallback(lambda _: work())

    spool._in_thread = slowly
    return disk


def test_or_will_as_soon_as_it_is_kept_and_there_is_a_way(sender: Sender, wire: Wire, spool: Spool) -> None:
    sender.attach(make_session(extensions=RESULTS), wire)
    disk = make_slow(spool)
    sender.say(ENDED)
    assert sender.say_again("j1")
    assert results(wire) == []
    wire.takes = False
    disk.pop().callback(None)
    assert sender.say_again("j1")
    wire.takes = True
    sender.flush()
    assert results(wire) == ["j1"]


@pytest.mark.parametrize("extensions", [None, RESULTS])
@pytest.mark.parametrize("job_id", [None, "j1"])
def test_an_abort_that_comes_while_the_result_is_written_is_answered_after_it(
    sender: Sender, wire: Wire, spool: Spool, extensions: frozenset[str] | None, job_id: str | None
) -> None:
    sender.attach(make_session(extensions=extensions), wire)
    disk = make_slow(spool)
    sender.say(ENDED)
    for _ in range(2):  # the server asks until it is answered
        sender.say(Say(kind=Kind.ABORTED, job_id=job_id))
    assert wire.sent == []
    disk.pop().callback(None)
    assert [(message["type"], message["job_id"]) for message in wire.sent] == [
        ("succeeded", "j1"),
        ("aborted", job_id),
    ]
    sender.say(Say(kind=Kind.ABORTED, job_id=job_id))
    assert len(wire.sent) == 3


def test_what_is_told_of_a_job_that_is_over_does_not_change_its_result(
    sender: Sender, wire: Wire, spool: Spool
) -> None:
    sender.attach(make_session(extensions=RESULTS), wire)
    sender.say(ENDED)
    sender.say(Say(kind=Kind.ABORTED, job_id="j1"))
    assert wire.sent[-1]["type"] == "aborted"
    assert spool.waiting == (ENDED,)


def test_results_of_an_earlier_run_are_for_a_server_that_acknowledges(wire: Wire, tmp_path: Path) -> None:
    for extensions, expected in ((None, []), (RESULTS, ["j1"])):
        path = tmp_path / str(extensions) / "jobs.journal"
        journal = Journal(path)
        spool = Spool(journal, at_once)
        spool.open()
        sender = make_sender(Clock(), spool, tmp_path)
        sender.say(ENDED)
        journal.close()
        journal = Journal(path)
        spool = Spool(journal, at_once)
        spool.open()
        sender = make_sender(Clock(), spool, tmp_path)
        sender.attach(make_session(extensions=extensions), wire)
        sender.flush()
        assert results(wire) == expected
        journal.close()


def test_drain_waits_for_acknowledgements_but_not_for_ever(sender: Sender, wire: Wire, clock: Clock) -> None:
    drained: list[object] = []

    def drain() -> None:
        _ = Deferred.fromCoroutine(sender.drain(1)).addCallback(drained.append)

    drain()
    assert len(drained) == 1
    sender.attach(make_session(extensions=RESULTS), wire)
    sender.say(ENDED)
    drain()
    assert len(drained) == 1
    clock.pump([0.1] * 11)
    assert len(drained) == 2
    drain()
    sender.acknowledged("j1")
    clock.advance(0.1)
    assert len(drained) == 3
