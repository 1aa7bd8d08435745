"""What is said, how, and what is kept until it could be."""

from typing import Any

import msgspec
import pytest
from attrs import evolve

from pushy_agent.job import Committed, Exit, Idle, Kind, Say
from pushy_agent.order import Order
from pushy_agent.output import Captured
from pushy_agent.sender import Sender
from pushy_protocol.messages import decode_from_node
from tests.pushy_agent.test_connection import NOW, make_session


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


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def sender(wire: Wire) -> Sender:
    sender = Sender(host="host", incarnation_id="me", now=lambda: NOW)
    sender.attach(make_session(), wire)
    return sender


COMMON = {
    "node": "node-1", "client": "host", "org": "acme", "protocol_version": "2.0", "incarnation_id": "me",
    "timestamp": "Tue, 14 Nov 2023 22:13:20 GMT",
}  # fmt: skip
OUTPUT = Exit(status=0, stdout=Captured(head=b"o" * 900), stderr=Captured(head=b"e" * 100))


def test_every_kind_is_a_message(sender: Sender, wire: Wire) -> None:
    for number, kind in enumerate(Kind):
        sender.say(Say(kind=kind, job_id="j1", reason="why", exit=Exit(status=3)))
        assert wire.sent[-1] == {**COMMON, "type": kind.value, "job_id": "j1", "sequence": number}
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
    sender.say(Say(kind=Kind.FAILED, job_id="j1", exit=Exit(status=3)))
    sender.say(Say(kind=Kind.FAILED, job_id="j1", reason="agent_stopped", exit=Exit(signal=9)))
    sender.say(Say(kind=Kind.SUCCEEDED, job_id="j1", exit=Exit(status=0)))
    told = [
        {key: message[key] for key in ("reason", "exit_status", "signal") if key in message} for message in wire.sent
    ]
    assert told == [{"reason": "busy"}, {"exit_status": 3}, {"reason": "agent_stopped", "signal": 9}, {}]


def test_outputs_when_captured_and_only_then(sender: Sender, wire: Wire) -> None:
    sender.say(Say(kind=Kind.SUCCEEDED, job_id="j1", exit=OUTPUT))
    sender.say(Say(kind=Kind.SUCCEEDED, job_id="j1", exit=Exit(status=0)))
    sender.say(Say(kind=Kind.FAILED, job_id="j1", exit=evolve(OUTPUT, status=1, stdout=Captured(head=b"\xff"))))
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
