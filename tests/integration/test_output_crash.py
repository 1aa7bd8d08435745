"""Output while the server is killed, again and again, and while its disk is full: every byte once, in order."""

import base64
import contextlib
import os
import random
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from demo.fleet import Fleet
from demo.processes import wait_until
from tests import postgres
from tests.integration.knife_2x import Feed
from tests.integration.push_client_3 import OutputClient, deliver, totals
from tests.integration.wire_2x import Wire

KILLS = {True: int(os.environ.get("PUSHY_TEST_KILLS", "6")), False: 2}
"""How often the server is killed over SQLite, and over PostgreSQL."""

NODES = 4
SETTINGS: Mapping[str, object] = {"heartbeat_interval": 500, "down_threshold": 0.05}
LIMIT = 16_000_000


@pytest.fixture(params=["sqlite", "postgresql"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    settings = dict(SETTINGS)
    if request.param == "postgresql":
        server: postgres.Server = request.getfixturevalue("postgres_server")
        settings["database_url"] = server.create_database()
    fleet = Fleet(tmp_path, settings)
    fleet.start_server()
    yield fleet
    fleet.close()


@contextlib.contextmanager
def wired(fleet: Fleet) -> Iterator[Wire]:
    with contextlib.closing(Wire(fleet)) as wire:
        yield wire


def running(wire: Wire, nodes: list[OutputClient], **options: object) -> str:
    job = wire.knife.start("chef-client", [node.name for node in nodes], capture_output=True, **options)
    for node in nodes:
        node.expect("commit")
        node.say("ack_commit", job)
    for node in nodes:
        node.expect("run")
        node.heartbeat("running", job)
        node.say("ack_run", job)
    return job


def read(wire: Wire, job: str, node: OutputClient, channel: str = "stdout") -> bytes:
    answer = wire.knife.output(job, node.name, channel)
    assert answer.status == 200, answer
    return answer.body


class Killer:
    """Kills the server and starts it again, once, when its time has come; its nodes connect anew."""

    def __init__(self, fleet: Fleet, nodes: list[OutputClient], seconds: float) -> None:
        self._fleet = fleet
        self._nodes = nodes
        self._at = time.monotonic() + seconds
        self.has_killed = False

    def look(self) -> None:
        if not self.has_killed and time.monotonic() >= self._at:
            self.kill()

    def kill(self) -> None:
        self.has_killed = True
        assert self._fleet.server
        self._fleet.server.kill()
        for node in self._nodes:
            node.disconnect()
        self._fleet.start_server()
        for node in self._nodes:
            node.connect()


def test_every_byte_is_there_once_whatever_is_killed(fleet: Fleet) -> None:
    dice = random.Random(11)
    with wired(fleet) as wire:
        nodes = [wire.join(wire.make(OutputClient)) for _ in range(NODES)]
        job = running(wire, nodes, output_limit=LIMIT)
        texts = {node: {"stdout": b"", "stderr": b""} for node in nodes}
        for _ in range(KILLS[fleet.settings.get("database_url") is None]):
            killer = Killer(fleet, nodes, dice.uniform(0.0, 0.3))
            for node, before in texts.items():
                # Each says more, and begins about where it was last told that the server is.
                texts[node] = {
                    channel: text + dice.randbytes(dice.randrange(90_000)) for channel, text in before.items()
                }
                stored = {channel: max(0, len(text) - dice.randrange(2) * 50_000) for channel, text in before.items()}
                chunk = dice.choice((1_000, 7_777, 32_768))
                deliver(node, job, texts[node], stored=stored, between=killer.look, chunk=chunk)
            if not killer.has_killed:
                killer.kill()
        for node, said in texts.items():
            deliver(node, job, said)
        feed = wire.feed(job, query="?output=true")  # while the job lives: later there is only a summary
        for node, said in texts.items():
            node.say("succeeded", job, output=totals(said))
        wait_until(lambda: wire.knife.job(job)["status"] == "complete" or None, "complete", seconds=20)
        for node, said in texts.items():
            assert {channel: read(wire, job, node, channel) for channel in said} == said
        assert told_by(feed) == {
            (node.name, channel): text for node, said in texts.items() for channel, text in said.items()
        }


def told_by(feed: Feed) -> dict[tuple[str, str], bytes]:
    """What the feed says of outputs; each goes on where it was."""
    told: dict[tuple[str, str], bytes] = {}
    for event in feed.rest(within=20):
        if event.name == "output":
            stream = str(event.data["node"]), str(event.data["channel"])
            text = told.get(stream, b"")
            assert event.data["offset"] == len(text)
            told[stream] = text + base64.b64decode(str(event.data["data"]))
    return told


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Leave only so many bytes of it free."""
    filler = disk / "filler"
    free = os.statvfs(disk)
    size = max(0, free.f_bavail * free.f_frsize - leave)
    with filler.open("wb") as file:
        file.write(bytes(size))
    return filler


@pytest.mark.parametrize("floor", [4_000_000, 0], ids=["below the floor", "no space left"])
def test_a_full_disk_stops_the_output_and_not_the_job(small_disk: Path, floor: int) -> None:
    fleet = Fleet(small_disk / "fleet", {**SETTINGS, "min_free_disk": floor})
    fleet.start_server()
    try:
        with wired(fleet) as wire:
            node, other = (wire.join(wire.make(OutputClient)) for _ in range(2))
            job = running(wire, [node, other], output_limit=LIMIT)
            begun = {"stdout": random.Random(1).randbytes(100_000)}
            deliver(node, job, begun)
            filler = fill(small_disk, leave=floor // 2)
            whole = {"stdout": begun["stdout"] + random.Random(2).randbytes(300_000)}
            with pytest.raises(AssertionError, match="not stored"):
                deliver(node, job, whole, within=3)
            assert fleet.server
            fleet.server.wait_for("Output is not stored now, and stays with the agents; jobs go on")
            if floor:
                # The other one ends meanwhile, and this one is told why some of it is not there.
                other.say("succeeded", job, output={"stdout": {"bytes": 0, "dropped": 0}})
                wait_until(
                    lambda: "succeeded" in wire.knife.job(job)["nodes"] or None, "the end of the other", seconds=10
                )
            problem = wire.knife.output(job, node.name, "stdout").headers["x-pushy-output-problem"]
            assert ("min_free_disk" if floor else "it stays with the node until it can") in problem
            assert wire.knife.job(job)["status"] == "running"
            filler.unlink()
            deliver(node, job, whole)
            fleet.server.wait_for("Output is stored again")
            assert read(wire, job, node) == whole["stdout"]
            node.say("succeeded", job, output=totals(whole))
            other.say("succeeded", job, output={"stdout": {"bytes": 0, "dropped": 0}})
            wait_until(lambda: wire.knife.job(job)["status"] == "complete" or None, "complete", seconds=15)
            assert "x-pushy-output-problem" not in wire.knife.output(job, node.name, "stdout").headers
    finally:
        fleet.close()
