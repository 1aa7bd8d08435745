"""What systemd hears, on a real socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from pushy_protocol.systemd import Systemd


class Listener:
    """systemd's end."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def heard(self) -> list[str]:
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    listener = Listener(str(tmp_path / "notify") if request.param == "path" else f"@pushy-test-{os.getpid()}")
    with listener.socket:
        yield listener


def test_it_hears_what_becomes_of_a_program(listener: Listener) -> None:
    systemd, clock = Systemd.of({"NOTIFY_SOCKET": listener.address}), Clock()
    assert listener.heard() == []
    systemd.ready(clock)
    assert listener.heard() == ["READY=1"]
    systemd.reloading()
    systemd.reloaded()
    systemd.stopping()
    assert listener.heard() == ["RELOADING=1", "READY=1", "STOPPING=1"]
    assert clock.getDelayedCalls() == []


def test_a_clock_that_turns_says_that_the_program_lives(listener: Listener) -> None:
    clock = Clock()
    environment = {
        "NOTIFY_SOCKET": listener.address,
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": str(os.getpid()),
        "A": "a",
    }
    systemd = Systemd.of(environment)
    assert environment == {"A": "a"}, "what is meant for this program is not for those that it starts"
    clock.advance(30)
    assert listener.heard() == [], "before it is ready it is not watched"
    systemd.ready(clock)
    assert listener.heard() == ["READY=1", "WATCHDOG=1"]
    clock.pump([9.9, 0.2, 9.9])
    assert listener.heard() == ["WATCHDOG=1"]
    systemd.stopping()
    clock.advance(0.2)
    assert listener.heard() == ["STOPPING=1", "WATCHDOG=1"], "a stop that takes its time is no fault"


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"},
    ],
)
def test_a_watchdog_that_is_not_ours_hears_nothing(listener: Listener, more: dict[str, str]) -> None:
    clock = Clock()
    Systemd.of({"NOTIFY_SOCKET": listener.address, **more}).ready(clock)
    assert clock.getDelayedCalls() == []
    assert listener.heard() == ["READY=1"]


def test_a_program_that_systemd_did_not_start_says_nothing() -> None:
    clock = Clock()
    Systemd.of({"WATCHDOG_USEC": "30000000"}).ready(clock)
    Systemd().stopping()
    assert clock.getDelayedCalls() == []


def test_a_systemd_that_is_away_ends_nothing(tmp_path: Path) -> None:
    clock = Clock()
    Systemd(str(tmp_path / "none"), 3).ready(clock)
    clock.advance(2)
    assert len(clock.getDelayedCalls()) == 1
