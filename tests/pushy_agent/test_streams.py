"""Outputs and the results that wait for them, with a clock that the test turns and a server that stores what it may."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from pushy_agent.job import Committed, Exit, Idle, Kind, Say
from pushy_agent.order import Order
from pushy_agent.output_spool import OutputSpool
from pushy_agent.sender import Sender
from pushy_agent.speaker import Speaker
from pushy_agent.spool import MAX_WAITING, Journal, Spool
from pushy_agent.stream import LIVE_PACE, PACE
from pushy_agent.streams import HOLD, Streams
from pushy_protocol.messages import OutputTotal
from tests.pushy_agent.test_connection import NOW, make_session
from tests.pushy_agent.test_spool import at_once

EXTENSIONS = frozenset({"results", "resume", "reasons", "output"})
LIMIT = 1000


class World:
    """An agent's memory and voice, as many runs of them as a test wants, and a server at the other end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = Clock()
        self.link = True
        self.takes = True
        self.stored: dict[str, dict[str, bytes]] = {}
        self.said: list[dict[str, Any]] = []
        self.journal = Journal(directory / "jobs.journal")
        self.again()

    def again(self) -> tuple[str, ...]:
        """The next run; the one before has been killed. The jobs that it lost."""
        self.journal.close()
        self.journal = Journal(self.directory / "jobs.journal")
        self.spool = Spool(self.journal, at_once)
        interrupted = self.spool.open()
        self.speaker = Speaker(host="host", incarnation_id="me", now=lambda: NOW)
        outputs = OutputSpool(self.directory / "output", 100 * LIMIT, seconds=self.clock.seconds)
        self.streams = Streams(clock=self.clock, speaker=self.speaker, spool=outputs, in_thread=at_once)
        self.streams.open()
        self.sender = Sender(clock=self.clock, speaker=self.speaker, spool=self.spool, streams=self.streams)
        return interrupted

    def connect(self, extensions: frozenset[str] | None = EXTENSIONS) -> None:
        self.sender.attach(make_session(extensions=extensions), self._send)

    def _send(self, body: bytes) -> bool:
        if not self.link:
            return False
        message = msgspec.json.decode(body)
        if message["type"] != "output":
            self.said.append(message)
        elif self.takes:
            channels = self.stored.setdefault(message["job_id"], {"stdout": b"", "stderr": b""})
            before = channels[message["channel"]]
            if message["offset"] <= len(before):
                channels[message["channel"]] = before[: message["offset"]] + base64.b64decode(message["data"])
        return True

    def acknowledge(self, job_id: str) -> None:
        """The server says how far it is."""
        stored = self.stored.get(job_id, {"stdout": b"", "stderr": b""})
        # mypy takes the names for any text.
        self.sender.stored(job_id, {name: len(data) for name, data in stored.items()})  # type: ignore[misc]

    def run(self, job_id: str, output: bytes, *, ends: bool = True, **more: Any) -> None:
        """A job that writes something, and ends."""
        at_once_done(self.spool.begin(job_id))
        limits = {"capture_limit": LIMIT, **more}
        order = Order(job_id=job_id, argv=("x",), env={}, capture=True, streamed=True, **limits)
        stdout, _ = self.streams.begin(order)
        stdout.add(output)
        if ends:
            self.sender.say(Say(kind=Kind.SUCCEEDED, job_id=job_id, exit=Exit(status=0)))

    def beat(self, seconds: float) -> None:
        """Time passes, and the server is there."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            self.sender.flush()
            self.sender.beat(Idle())

    @property
    def results(self) -> list[tuple[str, str]]:
        return [(each["type"], each["job_id"]) for each in self.said if each["type"] != "heartbeat"]

    def heartbeat(self) -> tuple[str, str | None]:
        """The state and the job of the last one."""
        last = next(each for each in reversed(self.said) if each["type"] == "heartbeat")
        return last["job_state"], last["job_id"]

    @property
    def spooled(self) -> list[str]:
        return sorted(path.name for path in (self.directory / "output").iterdir())


def at_once_done(work: Any) -> None:
    with pytest.raises(StopIteration):
        work.send(None)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.connect()
    yield world
    world.streams.stop()
    world.journal.close()


def test_the_result_comes_after_the_output(world: World) -> None:
    world.run("j1", b"output")
    assert world.stored["j1"]["stdout"] == b"output"
    assert world.results == []
    world.sender.beat(Idle())
    assert world.heartbeat() == ("running", "j1")
    world.acknowledge("j1")
    assert world.results == [("succeeded", "j1")]
    assert world.said[-1]["output"] == {"stdout": {"bytes": 6, "dropped": 0}, "stderr": {"bytes": 0, "dropped": 0}}
    world.sender.beat(Idle())
    assert world.heartbeat() == ("idle", None)
    assert world.spooled == []


def test_what_the_agent_does_meanwhile_is_what_it_says(world: World) -> None:
    world.run("j1", b"output")
    world.sender.beat(Committed(order=Order(job_id="j2", argv=("x",), env={})))
    assert world.heartbeat() == ("committed", "j2")


def test_the_result_does_not_wait_for_ever(world: World) -> None:
    world.takes = False
    world.run("j1", b"output")
    world.beat(HOLD - 1)
    assert world.results == []
    world.beat(2)
    assert world.results == [("succeeded", "j1")]
    assert world.heartbeat() == ("idle", None)
    # The output is not given up.
    world.sender.acknowledged("j1")
    world.takes = True
    world.clock.advance(1)
    world.sender.greeted()
    world.acknowledge("j1")
    assert world.stored["j1"]["stdout"] == b"output"
    assert world.spooled == []
    assert world.results == [("succeeded", "j1")]


def test_while_the_server_is_away_the_result_waits_with_the_output(world: World) -> None:
    world.link = False
    world.run("j1", b"output")
    world.clock.advance(100 * HOLD)
    world.link = True
    world.beat(1)
    assert (world.stored["j1"]["stdout"], world.results) == (b"output", [])
    world.acknowledge("j1")
    assert world.results == [("succeeded", "j1")]


def test_a_stop_waits_for_a_while_and_says_the_result(world: World) -> None:
    world.takes = False
    world.run("j1", b"output")
    drained: list[object] = []
    _ = Deferred.fromCoroutine(world.sender.drain(2)).addCallback(drained.append)
    world.clock.pump([0.1] * 8)
    assert world.results == []
    world.clock.pump([0.1] * 4)
    assert world.results == [("succeeded", "j1")]
    world.sender.acknowledged("j1")
    world.clock.pump([0.1])
    assert drained == [None]


@pytest.mark.parametrize("is_live", [True, False])
def test_output_is_gathered_by_the_pace_of_the_job(world: World, is_live: bool) -> None:
    pace = LIVE_PACE if is_live else PACE
    at_once_done(world.spool.begin("j1"))
    order = Order(job_id="j1", argv=("x",), env={}, capture=True, streamed=True, live=is_live)
    stdout, stderr = world.streams.begin(order)
    stdout.add(b"one")
    assert world.stored["j1"]["stdout"] == b"one"
    stdout.add(b"two")
    stderr.add(b"error")
    world.acknowledge("j1")
    world.clock.advance(0.9 * pace)
    assert world.stored["j1"] == {"stdout": b"one", "stderr": b""}
    world.clock.advance(0.2 * pace)
    assert world.stored["j1"] == {"stdout": b"onetwo", "stderr": b"error"}
    # A full piece does not wait.
    stdout.add(b"x" * 40_000)
    assert len(world.stored["j1"]["stdout"]) > 6


def test_what_a_killed_agent_had_written_arrives_when_it_returns(world: World) -> None:
    world.run("j1", b"seen", ends=False)
    world.acknowledge("j1")
    assert world.again() == ("j1",)
    totals = world.streams.totals("j1")
    assert totals is not None
    assert totals["stdout"] == OutputTotal(bytes=4)
    world.sender.say(Say(kind=Kind.FAILED, job_id="j1", reason="agent_restarted", exit=Exit(output=totals)))
    world.connect()
    world.acknowledge("j1")
    assert world.stored["j1"]["stdout"] == b"seen"
    assert world.results == [("failed", "j1")]
    assert world.spooled == []


def test_an_output_whose_job_is_over_goes_on_after_a_restart(world: World) -> None:
    world.link = False
    world.run("j1", b"x" * 5000)
    world.again()
    world.link = True
    world.connect()
    world.beat(1)
    assert world.heartbeat() == ("running", "j1")
    world.acknowledge("j1")
    assert len(world.stored["j1"]["stdout"]) == LIMIT + len("\n[... 4000 bytes left out ...]\n")
    assert world.said[-1]["output"]["stdout"]["dropped"] == 4000


def test_an_output_that_the_disk_lost_holds_nothing(world: World) -> None:
    world.link = False
    world.run("j1", b"output")
    for path in (world.directory / "output").glob("*/*"):
        path.write_bytes(b"")
    world.link = True
    world.beat(2)
    assert world.results == [("succeeded", "j1")]
    assert world.spooled == []


def test_outputs_that_nobody_takes_are_given_up(world: World) -> None:
    world.takes = False
    for number in range(MAX_WAITING + 3):
        world.run(f"j{number}", b"output")
    assert len(world.spooled) == MAX_WAITING
    assert f"j{MAX_WAITING + 2}.{LIMIT}" in world.spooled


def test_more_than_all_outputs_may_have_is_left_out_and_said(world: World) -> None:
    world.takes = False
    for number in range(MAX_WAITING):
        world.run(f"j{number}", b"x" * 5000)
    world.takes = True
    world.run("last", b"y" * 200_000, capture_limit=1_000_000)
    world.beat(1)
    world.acknowledge("last")
    world.acknowledge("last")
    text = world.stored["last"]["stdout"]
    assert b" bytes left out: the outputs that wait for the server have reached 100000 bytes ...]\n" in text


def test_names_of_jobs_are_no_paths(world: World) -> None:
    world.takes = False
    for job_id in ("..", "a/../../b", "", "ü%2F\0"):
        world.run(job_id, b"output")
    assert len(world.spooled) == 4
    world.again()
    assert all(world.streams.totals(job_id) for job_id in ("..", "a/../../b", "", "ü%2F\0"))
    (world.directory / "output" / "strange").mkdir()
    world.again()


def test_two_point_x_sees_none_of_it(world: World) -> None:
    world.connect(None)
    world.run("j1", b"output")
    assert world.stored == {}
    assert world.said[-1]["stdout"] == "output"
    assert "output" not in world.said[-1]
    assert world.spooled == []
