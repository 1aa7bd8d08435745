"""Bodies of messages: the exact keys of each on the wire, every wrong shape of every field, and hostile bytes."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushy_protocol import messages
from pushy_protocol.messages import (
    Abort,
    Aborted,
    Ack,
    AckCommit,
    AckRun,
    Commit,
    Failed,
    MessageError,
    NackCommit,
    NackRun,
    NodeHeartbeat,
    Output,
    OutputTotal,
    Run,
    ServerHeartbeat,
    Succeeded,
    decode_from_node,
    decode_from_server,
    decode_heartbeat,
    encode,
)
from pushy_protocol.states import AgentState

Json = dict[str, Any]
Decode = Callable[[bytes], object]

NOW = "Sat, 31 Jan 2026 12:00:00 GMT"
JOB = "0123456789abcdef0123456789abcdef"
INCARNATION = "dcd37f50-2d77-4761-895b-33134dbf87d1"

EVERY: Json = {"timestamp": NOW, "sequence": 7}
COMMAND: Json = EVERY | {"server": "push1"}
NODE: Json = EVERY | {
    "node": "web1",
    "client": "web1.example.com",
    "org": "acme",
    "protocol_version": "2.0",
    "incarnation_id": INCARNATION,
    "job_id": JOB,
}
IDLE: Json = NODE | {"job_id": None}

# Every message of sections 5 and 8: how it is read, as our value, and as the JSON of the wire.
FROM_SERVER: list[tuple[Decode, Any, Json]] = [
    (
        decode_heartbeat,
        ServerHeartbeat(**EVERY, server="push1", incarnation_id=INCARNATION),
        EVERY | {"type": "heartbeat", "server": "push1", "incarnation_id": INCARNATION},
    ),
    (
        decode_from_server,
        Commit(**COMMAND, job_id=JOB, command="chef-client"),
        COMMAND | {"type": "commit", "job_id": JOB, "command": "chef-client"},
    ),
    (
        decode_from_server,
        Commit(
            **COMMAND, job_id=JOB, command="c", user="u", dir="/d", env={"A": "1"}, file="base64:eA==", capture=True
        ),
        COMMAND
        | {"type": "commit", "job_id": JOB, "command": "c", "user": "u", "dir": "/d", "env": {"A": "1"}}
        | {"file": "base64:eA==", "capture": True},
    ),
    (
        decode_from_server,
        Commit(**COMMAND, job_id=JOB, command="c", capture=True, output_limit=4096, live=True),
        COMMAND
        | {"type": "commit", "job_id": JOB, "command": "c", "capture": True}
        | {"output_limit": 4096, "live": True},
    ),
    (decode_from_server, Run(**EVERY, job_id=JOB), EVERY | {"type": "run", "job_id": JOB}),
    (decode_from_server, Abort(**EVERY), EVERY | {"type": "abort"}),
    (decode_from_server, Abort(**EVERY, job_id=JOB), EVERY | {"type": "abort", "job_id": JOB}),
    (decode_from_server, Ack(**EVERY), EVERY | {"type": "ack"}),
    (decode_from_server, Ack(**EVERY, job_id=JOB), EVERY | {"type": "ack", "job_id": JOB}),
    (
        decode_from_server,
        Ack(**EVERY, job_id=JOB, offsets={"stdout": 4096, "stderr": 0}),
        EVERY | {"type": "ack", "job_id": JOB, "offsets": {"stdout": 4096, "stderr": 0}},
    ),
]
FROM_NODE: list[tuple[Decode, Any, Json]] = [
    (decode_from_node, value, wire)
    for value, wire in [
        *(
            (NodeHeartbeat(**IDLE, job_state=state), IDLE | {"type": "heartbeat", "job_state": state.value})
            for state in AgentState
        ),
        (
            NodeHeartbeat(**NODE, job_state=AgentState.RUNNING),
            NODE | {"type": "heartbeat", "job_state": "running"},
        ),
        (AckCommit(**NODE), NODE | {"type": "ack_commit"}),
        (NackCommit(**NODE), NODE | {"type": "nack_commit"}),
        (NackCommit(**NODE, reason="busy"), NODE | {"type": "nack_commit", "reason": "busy"}),
        (AckRun(**NODE), NODE | {"type": "ack_run"}),
        (NackRun(**NODE), NODE | {"type": "nack_run"}),
        (NackRun(**NODE, reason="busy"), NODE | {"type": "nack_run", "reason": "busy"}),
        (Succeeded(**NODE), NODE | {"type": "succeeded"}),
        (
            Succeeded(**NODE, stdout="a", stderr=""),
            NODE | {"type": "succeeded", "stdout": "a", "stderr": ""},
        ),
        (
            Succeeded(**NODE, output={"stdout": OutputTotal(bytes=9, dropped=5), "stderr": OutputTotal(bytes=0)}),
            NODE
            | {"type": "succeeded"}
            | {"output": {"stdout": {"bytes": 9, "dropped": 5}, "stderr": {"bytes": 0, "dropped": 0}}},
        ),
        (
            Failed(**NODE, exit_status=3, output={"stderr": OutputTotal(bytes=2**40)}),
            NODE | {"type": "failed", "exit_status": 3, "output": {"stderr": {"bytes": 2**40, "dropped": 0}}},
        ),
        (Failed(**NODE), NODE | {"type": "failed"}),
        (
            Failed(**NODE, stdout="ü", stderr="\0", reason="bad_file", exit_status=3),
            NODE | {"type": "failed", "stdout": "ü", "stderr": "\0", "reason": "bad_file", "exit_status": 3},
        ),
        (Failed(**NODE, signal=9), NODE | {"type": "failed", "signal": 9}),
        (Aborted(**NODE), NODE | {"type": "aborted"}),
        (Aborted(**IDLE), IDLE | {"type": "aborted"}),
        (
            Output(**NODE, channel="stdout", offset=4096, data=b"\xff\x00"),
            NODE | {"type": "output", "channel": "stdout", "offset": 4096, "data": "/wA="},
        ),
    ]
]
EXAMPLES = FROM_SERVER + FROM_NODE
each = pytest.mark.parametrize(
    ("decode", "value", "wire"),
    EXAMPLES,
    ids=[f"{type(value).__name__}-{'-'.join(list(wire)[-2:])}" for _, value, wire in EXAMPLES],
)


def body_of(wire: object) -> bytes:
    return json.dumps(wire).encode()


@each
def test_the_keys_on_the_wire(decode: Decode, value: Any, wire: Json) -> None:
    assert json.loads(encode(value)) == wire


@each
def test_decoding(decode: Decode, value: Any, wire: Json) -> None:
    assert decode(body_of(wire)) == value
    assert decode(encode(value)) == value


@each
def test_unknown_keys_are_ignored(decode: Decode, value: Any, wire: Json) -> None:
    assert decode(body_of(wire | {"from_the_future": {"a": [None]}})) == value


@each
def test_each_is_read_by_its_own_side_only(decode: Decode, value: Any, wire: Json) -> None:
    heartbeats = (decode_heartbeat, decode_from_node)  # both sides have one of that name
    for other in (decode_from_node, decode_from_server, decode_heartbeat):
        if other is decode or (wire["type"] == "heartbeat" and other in heartbeats):
            continue
        with pytest.raises(MessageError, match=r"type|missing required field"):
            other(body_of(wire))


def test_every_type_has_an_example() -> None:
    unions = (messages.ServerCommand, messages.NodeMessage)
    expected = {ServerHeartbeat}.union(*(union.__args__ for union in unions))
    assert {type(value) for _, value, _ in EXAMPLES} == expected


def test_a_node_heartbeat_is_no_server_heartbeat() -> None:
    wire = IDLE | {"type": "heartbeat", "job_state": "idle"}
    with pytest.raises(MessageError, match="`server`"):
        decode_heartbeat(body_of(wire))


# What a field takes, by its name; the rest of JSON's kinds is wrong there.
STRINGS = {"server", "command", "user", "dir", "file", "client", "protocol_version"} | {"stdout", "stderr", "reason"}
SHAPES: dict[str, set[type]] = {
    **{name: {str} for name in STRINGS | {"type", "timestamp", "node", "org", "incarnation_id", "job_id"}},
    **{name: {str} for name in ("job_state", "channel", "data")},
    **{name: {int} for name in ("sequence", "offset", "exit_status", "signal")},
    "env": {dict},
    **{name: {dict} for name in ("offsets", "output")},
    **{name: {bool} for name in ("capture", "live")},
    "output_limit": {int},
}
OPTIONAL = {"user", "dir", "env", "file", "offsets", "stdout", "stderr", "reason", "exit_status", "signal"} | {
    "output",
    "output_limit",
}
SAMPLES: list[Any] = ["text", 1, 1.5, True, None, [], ["a"], {}, {"a": 1}]
# Values of the right kind that are wrong all the same.
WRONG_VALUES: dict[str, list[Any]] = {
    "type": ["", "explode", "HEARTBEAT", "ack-commit", "__class__"],
    "timestamp": ["", "now", "2026-01-31T12:00:00Z", "Sat, 31 Feb 2026 12:00:00 GMT", NOW + "\n", "9" * 100_000],
    "sequence": [-1, 2**63, 10**30],
    "node": ["", "a" * 256],
    "org": ["", "a" * 256],
    "incarnation_id": ["a" * 65],
    "job_id": ["a" * 65, "é" * 33, "\U0001f600" * 17, "a" * 61 + "\U0001f600"],
    "job_state": ["", "IDLE", "dead"],
    "channel": ["", "stdin", "STDOUT"],
    "offset": [-1, 2**63],
    "data": ["!", "AAA", "A" * (4 * 32 * 1024)],
    "exit_status": [-1, 2**32],
    "signal": [0, -9, 128],
    "env": [{"A": 1}, {"A": None}, {"A": ["x"]}],
    "offsets": [{"stdin": 1}, {"stdout": -1}, {"stdout": "1"}, {"stdout": None}],
    "output": [{"stdin": {"bytes": 1}}, {"stdout": 1}, {"stdout": {}}, {"stdout": {"bytes": -1}}]
    + [{"stdout": {"bytes": 1, "dropped": dropped}} for dropped in (-1, "1", None, 2**63)],
    "output_limit": [0, -1, 2**63],
}


def wrong_values(name: str, wire: Json) -> Iterator[Any]:
    nullable = name in OPTIONAL or (name == "job_id" and may_lack_a_job(wire))
    for sample in SAMPLES:
        if type(sample) in SHAPES[name] and name not in {"env", "offsets", "output"}:
            continue
        if (sample is None and nullable) or sample == {}:
            continue
        yield sample
    if name != "incarnation_id" or "node" in wire:  # the server's is of any length
        yield from WRONG_VALUES.get(name, [])


def may_lack_a_job(wire: Json) -> bool:
    return wire["type"] in {"abort", "ack"} or ("node" in wire and wire["type"] != "output")


@each
def test_every_wrong_shape_is_refused_and_the_field_named(decode: Decode, value: Any, wire: Json) -> None:
    for name in wire:
        for wrong in wrong_values(name, wire):
            with pytest.raises(MessageError) as caught:
                decode(body_of(wire | {name: wrong}))
            assert name in str(caught.value), wrong


@each
def test_every_missing_key_is_refused_and_named(decode: Decode, value: Any, wire: Json) -> None:
    required = set(wire) - OPTIONAL - {"capture", "live"}
    if decode is decode_from_server:
        required -= {"server"}  # nothing depends on it
    if decode is decode_heartbeat:
        required -= {"type"}  # there is only one
    if may_lack_a_job(wire):
        required -= {"job_id"}
    for name in wire:
        rest = body_of({key: text for key, text in wire.items() if key != name})
        if name in required:
            with pytest.raises(MessageError, match=f"`{name}`"):
                decode(rest)
        else:
            decode(rest)


@pytest.mark.parametrize("number", ["1" + "0" * 5000, "1e400", "-1e400", "1.0", "NaN", "Infinity", "007"])
def test_numbers_that_no_field_holds_are_refused(number: str) -> None:
    wire = NODE | {"type": "failed", "exit_status": 0}
    for name, value in (("sequence", 7), ("exit_status", 0)):
        body = body_of(wire).replace(f'"{name}": {value}'.encode(), f'"{name}": {number}'.encode())
        assert number.encode() in body
        with pytest.raises(MessageError):
            decode_from_node(body)


@pytest.mark.parametrize("job_id", ["a" * 64, "é" * 32, "\U0001f600" * 16, ""])
def test_a_job_id_may_have_64_bytes(job_id: str) -> None:
    wire = NODE | {"type": "ack_run", "job_id": job_id}
    assert decode_from_node(body_of(wire)) == AckRun(**(NODE | {"job_id": job_id}))


def test_output_may_have_32_kilobytes() -> None:
    most = Output(**NODE, channel="stderr", offset=2**63 - 1, data=b"x" * 32 * 1024)
    assert decode_from_node(encode(most)) == most


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"7",
        b'"heartbeat"',
        b"[]",
        b"{",
        b"{}",
        b'{"type":"aborted"',
        b'{"type":"aborted"}{}',
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b'{"type":"\xff"}',
        b'{"type":"\xed\xa0\x80"}',
        b'{"type":"\\ud800"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"type":"ack_run","x":' + b"[" * 100_000,
    ],
)
def test_what_is_no_object_of_json_is_refused(body: bytes) -> None:
    for decode in (decode_from_node, decode_from_server, decode_heartbeat):
        with pytest.raises(MessageError) as caught:
            decode(body)
        assert str(caught.value)


def only_message_errors(body: bytes) -> None:
    for decode in (decode_from_node, decode_from_server, decode_heartbeat):
        try:
            message = decode(body)
        except MessageError as error:
            str(error).encode()  # it can be logged
        else:
            assert decode(encode(message)) == message


@given(st.binary())
def test_arbitrary_bytes_only_raise_message_errors(body: bytes) -> None:
    only_message_errors(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.sampled_from([*SHAPES]), inner),
    max_leaves=20,
)


@given(JSON)
def test_arbitrary_json_only_raises_message_errors(value: object) -> None:
    only_message_errors(body_of(value))


@given(
    wire=st.sampled_from([wire for _, _, wire in EXAMPLES]),
    changes=st.dictionaries(st.sampled_from([*SHAPES, "more"]), JSON | st.sampled_from(SAMPLES), max_size=3),
    dropped=st.sets(st.sampled_from([*SHAPES]), max_size=2),
)
@settings(max_examples=300)
def test_mutated_messages_only_raise_message_errors(wire: Json, changes: Json, dropped: set[str]) -> None:
    only_message_errors(body_of({key: value for key, value in (wire | changes).items() if key not in dropped}))


@given(
    wire=st.sampled_from([wire for _, _, wire in EXAMPLES]),
    place=st.integers(0, 400),
    junk=st.binary(max_size=8),
    cut=st.integers(0, 8),
)
@settings(max_examples=300)
def test_damaged_messages_only_raise_message_errors(wire: Json, place: int, junk: bytes, cut: int) -> None:
    body = body_of(wire)
    place = min(place, len(body))
    only_message_errors(body[:place] + junk + body[place + cut :])
