"""A reactor that is stuck is told of, once, with what it is stuck in."""

import threading
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, globalLogPublisher

from pushy_agent.watchdog import Watchdog


def test_a_stuck_reactor_is_told() -> None:
    told = threading.Event()
    events: list[dict[str, Any]] = []

    def observe(event: dict[str, Any]) -> None:
        if event.get("log_namespace", "").endswith("Watchdog"):
            events.append(event)
            told.set()

    observer = cast("ILogObserver", observe)
    globalLogPublisher.addObserver(observer)
    # A clock that nobody moves is a reactor that does not turn.
    watchdog = Watchdog(Clock(), look_every=0.01, patience=0.05)
    try:
        watchdog.start()
        assert told.wait(10)
    finally:
        watchdog.stop()
        watchdog.stop()
        globalLogPublisher.removeObserver(observer)
    assert len(events) == 1
    assert "test_a_stuck_reactor_is_told" in events[0]["stack"]
