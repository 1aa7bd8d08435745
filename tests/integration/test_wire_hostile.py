"""Section 5 of protocol.md, of what must be dropped: it has no effect, and costs nobody but its sender anything.

A message that must have no effect is followed, on the same connection, by one that has: when that one is through, so
is the first.
"""

import json
import re
import uuid
from collections.abc import Callable, Mapping

import pytest

from tests.integration.push_channel_2x import rfc_1123, seal
from tests.integration.push_client_2x import PushClient
from tests.integration.wire_2x import AVAILABLE, UNKNOWN_JOB, Wire, job_complete, run_complete, run_start, told

SETTINGS = {"max_body_size": 4096, "heartbeat_interval": 500}
SKEW_SECONDS = 300


def body(node: PushClient, job: str, **extra: object) -> bytes:
    return json.dumps({**node.body("succeeded", job), **extra}).encode()


def signed(node: PushClient, content: bytes) -> list[bytes]:
    return seal(content, node.config.session_key)


def with_header(node: PushClient, job_id: str, old: bytes, new: bytes) -> list[bytes]:
    header, content = signed(node, body(node, job_id))
    assert old in header
    return [header.replace(old, new), content]


def without(node: PushClient, job_id: str, key: str) -> list[bytes]:
    content = node.body("succeeded", job_id)
    del content[key]
    return signed(node, json.dumps(content).encode())


Hostile = Callable[[PushClient, str], list[bytes]]
HOSTILE: Mapping[str, Hostile] = {
    "a signature of another key": lambda node, job: seal(body(node, job), b"k" * 32),
    "no signature": lambda node, job: [b"Version:2.0;SigningMethod:hmac_sha256;Signature:", body(node, job)],
    "a signature that is no base64": lambda node, job: with_header(node, job, b"Signature:", b"Signature:!"),
    "a signature of another body": lambda node, job: [signed(node, body(node, job))[0], body(node, job)],
    "another version": lambda node, job: with_header(node, job, b"Version:2.0", b"Version:9.0"),
    "a method that is not for this channel": lambda node, job: with_header(node, job, b"hmac_sha256", b"rsa2048_sha1"),
    "a method that is none": lambda node, job: with_header(node, job, b"hmac_sha256", b"none"),
    "a header of bytes": lambda node, job: [b"\xff\xfe\x00", body(node, job)],
    "an empty header": lambda node, job: [b"", body(node, job)],
    "a header that is too large": lambda node, job: with_header(node, job, b"Signature:", b"Signature:" + b"\n" * 2048),
    "a body alone": lambda node, job: signed(node, body(node, job))[1:],
    "a header alone": lambda node, job: signed(node, body(node, job))[:1],
    "an empty message": lambda node, job: [b""],
    "a third frame": lambda node, job: [*signed(node, body(node, job)), b""],
    "a hundred frames": lambda node, job: [*signed(node, body(node, job)), *[b"x"] * 98],
    "a body that is too large": lambda node, job: signed(node, body(node, job, stdout="x" * 4096)),
    "a clock that is slow": lambda node, job: signed(node, body(node, job, timestamp=rfc_1123(-SKEW_SECONDS - 5))),
    "a clock that is fast": lambda node, job: signed(node, body(node, job, timestamp=rfc_1123(SKEW_SECONDS + 5))),
    "a timestamp that is none": lambda node, job: signed(node, body(node, job, timestamp="now")),
    "a timestamp of another kind": lambda node, job: signed(node, body(node, job, timestamp="2026-01-31T12:00:00Z")),
    "no timestamp": lambda node, job: without(node, job, "timestamp"),
    "no type": lambda node, job: without(node, job, "type"),
    "an unknown type": lambda node, job: signed(node, body(node, job, type="shutdown")),
    "a type that is a list": lambda node, job: signed(node, body(node, job, type=["succeeded"])),
    "a type of the server": lambda node, job: signed(node, body(node, job, type="commit")),
    "another organization": lambda node, job: signed(node, body(node, job, org="other")),
    "a job that is a number": lambda node, job: signed(node, body(node, job, job_id=7)),
    "a job of 65 bytes": lambda node, job: signed(node, body(node, "a" * 65)),
    "a sequence that is text": lambda node, job: signed(node, body(node, job, sequence="1")),
    "output that is a number": lambda node, job: signed(node, body(node, job, stdout=1)),
    "an empty body": lambda node, job: signed(node, b""),
    "no JSON": lambda node, job: signed(node, b"{" + body(node, job)),
    "a list": lambda node, job: signed(node, b"[" + body(node, job) + b"]"),
    "deep nesting": lambda node, job: signed(node, b"[" * 2000 + b"]" * 2000),
    "no UTF-8": lambda node, job: signed(node, body(node, job, client="x").replace(b'"x"', b'"\xff"')),
}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_message_is_as_if_it_had_not_come(wire: Wire, hostile: str) -> None:
    """It says that the job has succeeded; a server that took it would have the node crashed, as it is only ready."""
    node = wire.joined()
    job = wire.running(node)
    node.send(HOSTILE[hostile](node, job.id))
    node.say("ack_run", job.id)
    node.say("succeeded", job.id)
    expected = [run_start(node), run_complete(node, "success"), job_complete("complete")]
    assert told(job.feed.rest()) == expected
    assert wire.knife.node_state(node.name) == AVAILABLE


def test_a_node_cannot_speak_for_another(wire: Wire) -> None:
    victim, attacker = wire.joined(), wire.joined()
    job = wire.running(victim)
    for key in (attacker.config.session_key, victim.config.session_key):
        for kind in ("succeeded", "heartbeat", "aborted"):
            content = attacker.body(kind, job.id, node=victim.name, job_state="idle", incarnation_id=str(uuid.uuid4()))
            if kind != "heartbeat":
                del content["job_state"]
            attacker.send(seal(json.dumps(content).encode(), key))
    attacker.heartbeat("running", UNKNOWN_JOB)
    attacker.expect("abort")
    victim.say("ack_run", job.id)
    victim.say("succeeded", job.id)
    expected = [run_start(victim), run_complete(victim, "success"), job_complete("complete")]
    assert told(job.feed.rest()) == expected


def test_garbage_of_one_node_costs_no_other_anything_and_one_line_of_the_log(wire: Wire) -> None:
    neighbour, noisy = wire.joined(), wire.joined()
    job = wire.running(neighbour)
    garbage = [make(noisy, job.id) for make in HOSTILE.values()]
    for _ in range(100):
        for frames in garbage:
            noisy.send(frames)
    noisy.heartbeat("running", UNKNOWN_JOB)
    noisy.expect("abort")
    assert wire.fleet.server
    dropped = re.findall(rf"\b{noisy.name}\b.*\bdropped\b.*", wire.fleet.server.said())
    assert len(dropped) == 1, dropped
    assert wire.knife.node_state(neighbour.name)[0] == "online"
    neighbour.say("ack_run", job.id)
    neighbour.say("succeeded", job.id)
    expected = [run_start(neighbour), run_complete(neighbour, "success"), job_complete("complete")]
    assert told(job.feed.rest()) == expected


@pytest.mark.parametrize("sequence", [0, 2**31, 2**53])
def test_nothing_depends_on_the_sequence(wire: Wire, sequence: int) -> None:
    """A 2.x client starts it anew when it reconfigures."""
    node = wire.joined()
    job = wire.running(node)
    node.say("ack_run", job.id, sequence=sequence)
    node.say("succeeded", job.id, sequence=0)
    assert told(job.feed.rest())[-2:] == [run_complete(node, "success"), job_complete("complete")]


def test_a_job_of_64_bytes_is_named_and_unknown(wire: Wire) -> None:
    node = wire.joined()
    node.heartbeat("running", "ä" * 32)
    node.expect("abort")


def test_a_clock_within_the_skew_is_good_enough(wire: Wire) -> None:
    node = wire.joined()
    job = wire.running(node)
    node.say("ack_run", job.id, timestamp=rfc_1123(-SKEW_SECONDS + 10))
    node.say("succeeded", job.id, timestamp=rfc_1123(SKEW_SECONDS - 10))
    assert told(job.feed.rest())[-2:] == [run_complete(node, "success"), job_complete("complete")]
