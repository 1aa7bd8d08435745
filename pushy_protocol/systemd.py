"""What a program tells the systemd that started it, by the protocol of sd_notify(3): ready, alive, stopping.

Shared by the daemons though no word of it goes to a peer, for they share nothing else. A program that systemd did not
start says nothing. What systemd does with what it hears, the units say.
"""

import os
import socket
from collections.abc import Callable, MutableMapping
from typing import Any, Protocol

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
_SECONDS = 1.0  # to wait for systemd to make room for a message


class Clock(Protocol):
    """Of a reactor: calls to come, which one that is stuck does not make."""

    def callLater(self, delay: float, callable: Callable[..., Any], /) -> object:  # noqa: A002
        """Call after `delay` seconds."""


class Systemd:
    """Where systemd listens, if it does."""

    def __init__(self, address: str | None = None, watchdog: float | None = None) -> None:
        """:param address: of its socket, ``/PATH`` or ``@NAME``
        :param watchdog: seconds after which it takes a program that says nothing for stuck
        """
        self._address = address
        self._watchdog = watchdog

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> "Systemd":
        """What the environment says of it; taken out of there, for it is not meant for what the program starts."""
        address, microseconds, pid = (environment.pop(name, None) for name in _VARIABLES)
        is_meant = pid is None or pid == str(os.getpid())
        watchdog = int(microseconds) / 1e6 if microseconds and microseconds.isdigit() and is_meant else None
        return cls(address, watchdog or None)

    def ready(self, clock: Clock) -> None:
        """The program serves. From now on it says, driven by `clock`, that it is alive, if systemd wants to know."""
        self._say("READY=1")
        if self._address and self._watchdog:
            self._live(clock, self._watchdog / 3)

    def reloading(self) -> None:
        """The program reads its settings again; :meth:`reloaded` follows."""
        self._say("RELOADING=1")

    def reloaded(self) -> None:
        """It has read them."""
        self._say("READY=1")

    def stopping(self) -> None:
        """The program ends. Until it has, it goes on to say that it is alive."""
        self._say("STOPPING=1")

    def _live(self, clock: Clock, seconds: float) -> None:
        self._say("WATCHDOG=1")
        clock.callLater(seconds, lambda: self._live(clock, seconds))

    def _say(self, state: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.settimeout(_SECONDS)
                out.sendto(state.encode(), address)
        except OSError:
            # systemd misses it, and does what the unit says of a program that is silent. Nothing here can do better.
            return
