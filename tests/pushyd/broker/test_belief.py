"""Whatever comes into the command channel: nothing raises, and only what the node signed is ever heard."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from pushy_protocol.keys import CurveKeyPair
from pushy_protocol.timestamps import parse_rfc1123
from pushy_protocol.zeromq import Context
from pushyd.broker.command import _LOGGED_PEERS, CommandChannel
from pushyd.domain.node import NodeRef
from pushyd.sessions import Session, Sessions
from tests.pushyd.broker.peers import OTHER_WEB1, WEB1, WEB2, Frames, IdleReactor, body_of, signed
from tests.pushyd.doubles import NOW, MemoryStore, begin

MAX_BODY_SIZE = 4096

# A channel holds nothing that an example could spoil for the next one.
shared = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Bench:
    """A channel that frames are put into by hand."""

    def __init__(self) -> None:
        self.context = Context(IdleReactor())
        self.heard: list[tuple[NodeRef, bytes, Any]] = []
        self.now = NOW
        self.sessions = Sessions(secret=b"secret", store=MemoryStore())
        self.admitted = {node: self.admit(node) for node in (WEB1, WEB2, OTHER_WEB1)}
        self.channel = CommandChannel(
            context=self.context,
            keys=CurveKeyPair.make(),
            sessions=self.sessions,
            on_message=lambda session, *heard: self.heard.append((session.node, *heard)),
            now=lambda: self.now,
            server_name="push.example.org",
            max_body_size=MAX_BODY_SIZE,
            max_time_skew=300.0,
        )

    def admit(self, node: NodeRef) -> Session:
        keys = CurveKeyPair.make()
        admitting: Deferred[Session] = begin(self.sessions.admit(node, curve_key=keys.public, version="2.0"))
        session = admitting.result
        assert isinstance(session, Session)
        return session

    def put(self, frames: Frames, node: NodeRef | None = WEB1) -> list[tuple[NodeRef, bytes, Any]]:
        """What is heard of frames that come from a node, or from somebody without a key."""
        self.heard.clear()
        self.channel._received(frames, self.admitted[node].registration.curve_key if node else "")
        return self.heard


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.context.shutdown()


GOOD = body_of(WEB1)
KEYS = list(msgspec.json.decode(GOOD))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=5,
)
nodes = st.sampled_from([WEB1, WEB2, OTHER_WEB1, None])


@shared
@given(frames=st.lists(st.binary(max_size=200), max_size=6), node=nodes)
def test_random_frames_are_not_heard(bench: Bench, frames: Frames, node: NodeRef | None) -> None:
    assert bench.put(frames, node) == []


@shared
@given(body=st.binary(max_size=500) | json_values.map(msgspec.json.encode))
def test_random_bodies_are_not_heard_though_they_are_signed(bench: Bench, body: bytes) -> None:
    assert bench.put([b"route", *signed(bench.admitted[WEB1], body)]) == []


@shared
@given(key=st.sampled_from(KEYS), value=json_values)
def test_with_any_key_changed_it_is_heard_as_from_its_node_or_not(bench: Bench, key: str, value: object) -> None:
    body = msgspec.json.encode({**msgspec.json.decode(GOOD), key: value})
    for node, route, message in bench.put([b"route", *signed(bench.admitted[WEB1], body)]):
        assert (node, route) == (WEB1, b"route")
        assert (message.org, message.node) == WEB1
        assert abs(parse_rfc1123(message.timestamp) - NOW) <= 300


@shared
@given(data=st.data())
def test_with_any_byte_changed_after_the_signature_it_is_not_heard(bench: Bench, data: st.DataObject) -> None:
    frames = [b"route", *signed(bench.admitted[WEB1], GOOD)]
    which = data.draw(st.sampled_from([1, 2]))
    place = data.draw(st.integers(0, len(frames[which]) - 1))
    # Newlines in a signature mean nothing.
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte not in {frames[which][place], 10}))
    frames[which] = frames[which][:place] + bytes([byte]) + frames[which][place + 1 :]
    assert bench.put(frames) == []


@shared
@given(cut=st.integers(0, len(GOOD) - 1), extra=st.binary(min_size=1, max_size=10))
def test_cut_off_or_continued_it_is_not_heard(bench: Bench, cut: int, extra: bytes) -> None:
    header, _ = signed(bench.admitted[WEB1], GOOD)
    assert bench.put([b"route", header, GOOD[:cut]]) == []
    assert bench.put([b"route", header, GOOD + extra]) == []


def test_from_any_other_peer_it_is_not_heard(bench: Bench) -> None:
    frames = [b"route", *signed(bench.admitted[WEB1], GOOD)]
    for node in (WEB2, OTHER_WEB1, None):
        assert bench.put(frames, node) == []
    ((node, route, _),) = bench.put(frames)
    assert (node, route) == (WEB1, b"route")


def test_that_many_peers_are_refused_does_not_fill_the_memory(bench: Bench) -> None:
    for number in range(_LOGGED_PEERS + 100):
        bench.channel._log_refusal(str(number), "garbage")
    assert len(bench.channel._logged) <= _LOGGED_PEERS
