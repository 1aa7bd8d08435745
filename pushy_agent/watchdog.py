"""Notices a reactor that is stuck: something on its thread waits or computes, and nothing else happens.

A thread looks every few seconds whether the reactor has turned; where it has not, it logs what the reactor's thread is
doing. It changes nothing: what is stuck may be a slow disk, and a job that runs should not pay for it.
"""

import sys
import threading
import time
import traceback
from typing import Any

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

LOOK_EVERY = 5.0
"""Seconds between two looks."""

PATIENCE = 20.0
"""Seconds for which a reactor may not turn before it is told."""


class Watchdog:
    """Watches the reactor of the thread that starts it."""

    log = Logger()

    def __init__(self, reactor: Any, *, look_every: float = LOOK_EVERY, patience: float = PATIENCE) -> None:
        self._look_every = look_every
        self._patience = patience
        self._turns = LoopingCall(self._turned)
        self._turns.clock = reactor
        self._last = 0.0
        self._watched = 0
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._watched = threading.get_ident()
        _ = self._turns.start(self._look_every)
        # Small: it only looks. A daemon, for it must not keep a process that ends otherwise.
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Watch no more. A second call does nothing."""
        if self._turns.running:
            self._turns.stop()
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _turned(self) -> None:
        self._last = time.monotonic()

    def _watch(self) -> None:
        told = 0.0
        while not self._stopped.wait(self._look_every):
            silent = time.monotonic() - self._last
            if silent > self._patience and told != self._last:
                told = self._last
                self.log.error(
                    "Nothing has happened for {silent:.0f} s; the reactor is stuck in\n{stack}",
                    silent=silent,
                    stack=self._stack(),
                )

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._watched)  # noqa: SLF001 - its documented name
        return "".join(traceback.format_stack(frame)) if frame is not None else "(no thread)"
