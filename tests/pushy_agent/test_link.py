"""Conversations and what renews them, on a clock that the tests move."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, capturedLogs, globalLogPublisher

from pushy_agent.bootstrap import BootstrapError, Session
from pushy_agent.conversation import ALIVE_PATIENCE, ANSWER_INTERVALS, SPLAY, Conversation
from pushy_agent.job import Idle, Kind, Say, State
from pushy_agent.link import RETURN_SPLAY, Link
from pushy_agent.spool import Journal, Spool
from pushy_protocol.messages import ALIVE_INTERVALS, Abort, Ack, ServerCommand, ServerHeartbeat, decode_from_node
from tests.pushy_agent.test_connection import make_session
from tests.pushy_agent.test_sender import make_sender
from tests.pushy_agent.test_spool import at_once

STAMP: dict[str, Any] = {"timestamp": "", "sequence": 1}


class FakeChannels:
    """Channels whose both ends the test holds."""

    def __init__(
        self,
        session: Session,
        on_command: Callable[[ServerCommand], None],
        on_heartbeat: Callable[[ServerHeartbeat], None],
    ) -> None:
        if session.heartbeat.out_addr == "bad":
            raise BootstrapError("bad address")
        self.session = session
        self.on_command = on_command
        self.on_heartbeat = on_heartbeat
        self.sent: list[str] = []
        self.refuses = 0
        """How many bodies are not taken."""
        self.is_open = self.is_connected = True

    def send(self, body: bytes) -> bool:
        assert self.is_open
        if self.refuses:
            self.refuses -= 1
            return False
        if self.is_connected:
            self.sent.append(type(decode_from_node(body)).__name__)
        return self.is_connected

    def trouble(self) -> str:
        return "TCP: no connection"

    def close(self) -> None:
        self.is_open = False

    def beat(self, incarnation_id: str = "first") -> None:
        self.on_heartbeat(ServerHeartbeat(server="s", incarnation_id=incarnation_id, **STAMP))

    def answer(self) -> None:
        self.on_command(Abort(**STAMP))


class World:
    """A link with everything around it."""

    def __init__(self, directory: Path) -> None:
        self.clock = Clock()
        self.jitter = 0.5
        journal = Journal(directory / "jobs.journal")
        spool = Spool(journal, at_once)
        spool.open()
        self.close = journal.close
        self.sender = make_sender(self.clock, spool, directory)
        self.asked: list[Deferred[Session]] = []
        self.opened: list[FakeChannels] = []
        self.commands: list[ServerCommand] = []
        self.job_error: Exception | None = None
        self.link = Link(clock=self.clock, jitter=lambda: self.jitter, fetch=self._fetch, converse=self._converse)
        self.link.start()

    def _fetch(self) -> Deferred[Session]:
        self.asked.append(Deferred())
        return self.asked[-1]

    def _open(self, *arguments: Any) -> FakeChannels:
        self.opened.append(FakeChannels(*arguments))
        return self.opened[-1]

    def _job(self) -> State:
        if self.job_error is not None:
            raise self.job_error
        return Idle()

    def _converse(self, session: Session) -> Conversation:
        return Conversation(
            session,
            clock=self.clock,
            jitter=lambda: self.jitter,
            open_channels=self._open,
            sender=self.sender,
            on_command=self.commands.append,
            job=self._job,
        )

    def open_ones(self) -> list[FakeChannels]:
        return [channels for channels in self.opened if channels.is_open]

    def is_online(self) -> bool:
        return self.link.is_online

    def agree(self, **fields: Any) -> FakeChannels:
        """Answer the last question for terms."""
        self.asked[-1].callback(make_session(**fields))
        return self.opened[-1]

    def beat_for(self, seconds: int, **heartbeat: str) -> None:
        """Let time pass, with the server's heartbeat each second."""
        for _ in range(seconds):
            self.clock.advance(1)
            self.opened[-1].beat(**heartbeat)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def test_it_beats_each_interval(world: World) -> None:
    assert not world.is_online()
    channels = world.agree()
    assert world.is_online()
    assert channels.sent == ["NodeHeartbeat"]
    world.beat_for(3)
    assert channels.sent == ["NodeHeartbeat"] * 4


def test_a_heartbeat_that_could_not_be_sent_is_tried_again_soon(world: World) -> None:
    channels = world.agree()
    channels.is_connected = False
    world.clock.advance(1)
    channels.is_connected = True
    world.clock.advance(0.25)
    assert channels.sent == ["NodeHeartbeat"] * 2
    world.clock.advance(0.5)
    assert channels.sent == ["NodeHeartbeat"] * 2
    world.clock.advance(0.25)
    assert channels.sent == ["NodeHeartbeat"] * 3


def test_a_new_connection_that_the_server_has_noticed_is_beaten_over_at_once(world: World) -> None:
    channels = world.agree()
    channels.on_command(Ack(**STAMP))
    assert channels.sent == ["NodeHeartbeat"] * 2
    channels.on_command(Ack(**STAMP, job_id="j1"))
    assert channels.sent == ["NodeHeartbeat"] * 2


def test_commands_are_passed_on(world: World) -> None:
    world.agree().answer()
    assert [type(command) for command in world.commands] == [Abort]


def test_failures_are_tried_again_after_ever_longer_pauses(world: World) -> None:
    for pause in (0.5, 1, 2, 4, 8, 16, 30, 30):
        questions = len(world.asked)
        world.asked[-1].errback(BootstrapError("connection refused"))
        world.clock.advance(pause - 0.01)
        assert len(world.asked) == questions
        world.clock.advance(0.02)
        assert len(world.asked) == questions + 1


def test_the_pause_is_short_again_after_a_conversation(world: World) -> None:
    for _ in range(4):
        world.asked[-1].errback(BootstrapError("x"))
        world.clock.advance(60)
    world.agree(lifetime=100).answer()
    world.beat_for(100)
    world.asked[-1].errback(BootstrapError("x"))
    questions = len(world.asked)
    world.clock.advance(0.51)
    assert len(world.asked) == questions + 1


def test_addresses_that_are_none_are_a_failure_like_others(world: World) -> None:
    heartbeat = make_session().heartbeat
    world.asked[-1].callback(make_session(heartbeat=type(heartbeat)(out_addr="bad", command_addr="", interval=1)))
    assert not world.is_online()
    world.clock.advance(0.6)
    world.agree()
    assert world.is_online()


def test_a_bug_in_asking_does_not_end_the_link(world: World) -> None:
    events: list[Any] = []
    observer = cast("ILogObserver", events.append)
    globalLogPublisher.addObserver(observer)
    try:
        world.asked[-1].errback(RuntimeError("bug"))
        world.job_error = RuntimeError("another")
        world.clock.advance(0.6)
        world.agree()
        world.job_error = None
        world.clock.advance(1)
    finally:
        globalLogPublisher.removeObserver(observer)
    bugs = [event["log_failure"].getErrorMessage() for event in events if "log_failure" in event]
    assert bugs == ["bug", "another"]
    assert world.opened[-1].sent == ["NodeHeartbeat"]


def test_no_answer_on_the_command_channel(world: World) -> None:
    first = world.agree()
    world.beat_for(ANSWER_INTERVALS)
    # Told as a failure: a server that lets nobody in is not asked at once.
    assert len(world.asked) == 1
    world.clock.advance(0.51)
    assert len(world.asked) == 2
    assert first in world.open_ones()
    second = world.agree()
    assert first not in world.open_ones()
    second.answer()
    world.beat_for(ANSWER_INTERVALS + 1)
    assert len(world.asked) == 2


def test_a_command_channel_that_is_dead(world: World) -> None:
    channels = world.agree(extensions=frozenset({"alive"}))
    patience = ALIVE_PATIENCE * ALIVE_INTERVALS
    for _ in range(2):
        channels.answer()
        world.beat_for(patience)
        assert len(world.asked) == 1
    world.beat_for(1)
    assert len(world.asked) == 2


@pytest.mark.parametrize("extensions", [None, frozenset({"results"})])
def test_one_of_a_server_that_does_not_say_that_it_lives(world: World, extensions: frozenset[str] | None) -> None:
    channels = world.agree(extensions=extensions)
    channels.answer()
    world.beat_for(2 * ALIVE_PATIENCE * ALIVE_INTERVALS)
    assert len(world.asked) == 1


def test_a_silent_server_is_told_nothing_and_asked_for_terms(world: World) -> None:
    channels = world.agree()
    channels.answer()
    world.clock.pump([1, 1, 1])
    assert channels.sent == ["NodeHeartbeat"] * 4
    world.clock.advance(1)
    assert not world.is_online()
    # Not at once: all other agents have noticed it in the same moment.
    assert len(world.asked) == 1
    world.clock.advance(SPLAY / 2)
    assert len(world.asked) == 2
    assert channels.sent == ["NodeHeartbeat"] * 4


def test_a_server_that_is_back_is_not_asked(world: World) -> None:
    world.agree().answer()
    world.clock.pump([1] * 4)
    world.beat_for(40)
    assert world.is_online()
    assert len(world.asked) == 1
    world.clock.pump([1] * 4)
    assert not world.is_online()
    world.beat_for(int(SPLAY / 2), incarnation_id="second")
    assert len(world.asked) == 2


def test_one_that_is_back_while_it_is_asked_is_heard(world: World) -> None:
    world.agree().answer()
    world.clock.pump([1] * 4)
    world.clock.advance(SPLAY / 2)
    assert len(world.asked) == 2
    with capturedLogs() as logged:
        world.beat_for(3)
    assert world.is_online()
    assert [event["log_format"] for event in logged] == ["The server's heartbeat is back"]


def test_one_that_is_back_is_asked_soon_and_not_after_the_whole_pause(world: World) -> None:
    world.agree().answer()
    world.clock.pump([1] * 4)
    world.clock.advance(SPLAY / 2)
    for _ in range(8):
        world.asked[-1].errback(BootstrapError("x"))
        world.clock.advance(60)
    asked = len(world.asked)
    world.jitter = 0.99  # of a pause that has its full length by now
    world.asked[-1].errback(BootstrapError("x"))
    world.jitter = 0.5
    world.beat_for(2)
    assert world.is_online()
    world.beat_for(int(RETURN_SPLAY / 2) - 1)
    assert len(world.asked) == asked
    world.beat_for(1)
    assert len(world.asked) == asked + 1
    world.agree().answer()
    world.beat_for(int(RETURN_SPLAY))
    assert len(world.asked) == asked + 1


def test_a_pause_that_is_over_by_then_is_not_ended_again(world: World) -> None:
    world.agree().answer()
    world.clock.pump([1] * 4)
    world.clock.advance(SPLAY / 2)
    world.asked[-1].errback(BootstrapError("x"))
    world.beat_for(2)  # longer than this pause
    asked = len(world.asked)
    world.asked[-1].errback(BootstrapError("x"))
    world.link.stop()
    assert len(world.asked) == asked
    assert world.clock.getDelayedCalls() == []


def test_a_result_waits_until_the_heartbeat_is_back(world: World) -> None:
    channels = world.agree()
    world.clock.pump([1] * 4)
    world.sender.say(Say(kind=Kind.SUCCEEDED, job_id="j1"))
    assert "Succeeded" not in channels.sent
    world.beat_for(1)
    assert not world.is_online()
    world.beat_for(1)
    assert world.is_online()
    world.clock.advance(1)
    assert channels.sent[-2:] == ["Succeeded", "NodeHeartbeat"]


def test_no_heartbeat_overtakes_a_result(world: World) -> None:
    channels = world.agree()
    world.beat_for(1)
    world.sender.say(Say(kind=Kind.ACK_RUN, job_id="j1"))
    # A connection comes to be just after the result was refused.
    channels.refuses = 2
    channels.sent.clear()
    world.sender.say(Say(kind=Kind.SUCCEEDED, job_id="j1"))
    world.beat_for(1)
    assert (channels.sent, channels.refuses) == ([], 0)
    world.beat_for(1)
    assert channels.sent[:2] == ["Succeeded", "NodeHeartbeat"]


def test_a_restarted_server_is_asked_after_a_splay(world: World) -> None:
    channels = world.agree()
    channels.answer()
    world.beat_for(int(SPLAY / 2), incarnation_id="second")
    assert len(world.asked) == 1
    world.beat_for(2, incarnation_id="second")
    assert len(world.asked) == 2
    # While the terms are read the old conversation goes on.
    assert channels in world.open_ones()
    new = world.agree(incarnation_id="second")
    assert channels not in world.open_ones()
    new.answer()
    world.beat_for(40, incarnation_id="second")
    assert len(world.asked) == 2


@pytest.mark.parametrize(("jitter", "seconds"), [(0.0, 100), (0.5, 95)])
def test_terms_are_read_anew_when_their_lifetime_ends(world: World, jitter: float, seconds: int) -> None:
    world.jitter = jitter
    world.agree(lifetime=100).answer()
    world.beat_for(seconds - 1)
    assert len(world.asked) == 1
    world.beat_for(1)
    assert len(world.asked) == 2


def test_stop(world: World) -> None:
    channels = world.agree()
    world.link.stop()
    assert channels not in world.open_ones()
    assert not world.is_online()
    assert world.clock.getDelayedCalls() == []
    world.link.stop()


def test_stop_while_asking_and_while_waiting(tmp_path: Path) -> None:
    asking = World(tmp_path / "asking")
    asking.link.stop()
    waiting = World(tmp_path / "waiting")
    waiting.asked[-1].errback(BootstrapError("x"))
    waiting.link.stop()
    for each in (asking, waiting):
        each.close()
    assert asking.clock.getDelayedCalls() == waiting.clock.getDelayedCalls() == []


def test_renew_ends_a_conversation_or_a_pause(world: World) -> None:
    world.link.renew("nobody speaks yet")
    assert len(world.asked) == 1
    world.asked[-1].errback(BootstrapError("x"))
    world.link.renew("asked for")
    assert len(world.asked) == 2
    world.agree().answer()
    world.link.renew("asked for")
    assert len(world.asked) == 3
    world.agree()
    assert len(world.open_ones()) == 1
