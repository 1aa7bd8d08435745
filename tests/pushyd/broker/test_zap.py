"""ZAP: what is asked is answered, what is none of it is not, and nothing silences it."""

from typing import Any

import zmq
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import DeferredQueue
from twisted.trial.unittest import TestCase
from zmq.utils import z85

from pushy_protocol.keys import CurveKeyPair
from pushy_protocol.zeromq import Connection, Context
from pushyd.broker.zap import DOMAIN, ZAP_ADDRESS, Authenticator
from tests.pushyd.broker.peers import Frames

ADMITTED, UNKNOWN = CurveKeyPair.make().public, CurveKeyPair.make().public


def asking(
    key: bytes,
    *more: bytes,
    version: bytes = b"1.0",
    request_id: bytes = b"1",
    domain: bytes = DOMAIN.encode(),
    mechanism: bytes = b"CURVE",
) -> Frames:
    """A question as ZeroMQ asks it; the empty frame is what a REQ socket would set before it."""
    return [b"", version, request_id, domain, b"127.0.0.1", b"", mechanism, key, *more]


def answer(request_id: bytes, status: bytes, name: bytes = b"") -> Frames:
    text = b"OK" if status == b"200" else b"not admitted"
    return [b"", b"1.0", request_id, status, text, name, b""]


KEY = z85.decode(ADMITTED)


class Zap(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.context = Context(reactor)
        self.addCleanup(self.context.shutdown)
        Authenticator(self.context, lambda key: key == ADMITTED).listen()
        self.asker, self.answers = self.connect()

    def connect(self) -> tuple[Connection, "DeferredQueue[Frames]"]:
        answers: DeferredQueue[Frames] = DeferredQueue()
        asker = Connection(self.context, zmq.DEALER, lambda frames, _: answers.put(frames))
        asker.connect(ZAP_ADDRESS)
        return asker, answers

    async def ask(self, frames: Frames) -> Frames:
        self.asker.send(frames)
        return await self.answers.get()

    async def test_an_admitted_key_gets_its_own_name(self) -> None:
        assert await self.ask(asking(KEY, request_id=b"42")) == answer(b"42", b"200", ADMITTED.encode())

    async def test_any_other_is_refused(self) -> None:
        assert await self.ask(asking(z85.decode(UNKNOWN))) == answer(b"1", b"400")

    async def test_what_is_wrong_in_one_frame_is_refused(self) -> None:
        for frames in (
            asking(KEY, domain=b""),
            asking(KEY, domain=b"another"),
            asking(KEY, mechanism=b"NULL"),
            asking(KEY, mechanism=b"curve"),
            asking(KEY, mechanism=b"PLAIN"),
            asking(KEY[:-1]),
            asking(KEY + b"\0"),
            asking(ADMITTED.encode()),
            asking(b""),
            asking(KEY, b"one more"),
            asking(KEY)[:-1],
        ):
            assert await self.ask(frames) == answer(b"1", b"400"), frames

    async def test_what_is_no_question_gets_no_answer_and_the_next_one_does(self) -> None:
        for number, frames in enumerate(
            (
                [b""],
                [b"x"],
                [b""] * 6,
                [b""] * 100,
                asking(KEY)[:6],
                asking(KEY)[1:],
                asking(KEY, version=b"2.0"),
                asking(KEY, version=b""),
                asking(KEY, *[b"x"] * 100, version=b"\xff"),
            )
        ):
            self.asker.send(frames)
            request_id = b"%d" % number
            question = asking(KEY, request_id=request_id)
            assert await self.ask(question) == answer(request_id, b"200", ADMITTED.encode()), frames

    async def test_each_asker_gets_its_own_answer(self) -> None:
        another, answers = self.connect()
        another.send(asking(z85.decode(UNKNOWN), request_id=b"2"))
        assert await self.ask(asking(KEY)) == answer(b"1", b"200", ADMITTED.encode())
        assert await answers.get() == answer(b"2", b"400")


frames = st.lists(st.sampled_from([*asking(KEY), b"2.0"]) | st.binary(max_size=40), max_size=12)


@settings(deadline=None)
@given(frames=frames)
def test_whatever_is_asked_only_an_admitted_key_is_let_in(frames: Frames) -> None:
    class Silent(Authenticator):
        def __init__(self) -> None:
            self._is_admitted = lambda key: key == ADMITTED
            self._connection: Any = self
            self.sent: list[Frames] = []

        def send(self, answer: Frames) -> None:
            self.sent.append(answer)

    zap = Silent()
    zap._asked(frames, "")
    assert len(zap.sent) <= 1
    for _, _, version, _, status, _, name, metadata in zap.sent:
        assert (version, metadata) == (b"1.0", b"")
        admitted = frames[3:5] != [] and frames[4] == DOMAIN.encode() and frames[7:] == [b"CURVE", KEY]
        assert (status, name) == ((b"200", ADMITTED.encode()) if admitted else (b"400", b""))
