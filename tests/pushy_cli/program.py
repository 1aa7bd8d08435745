"""Runs the real program as a child process, in pipes or on a pseudo-terminal, beside the double in our reactor."""

import os
import pty
import signal
import struct
import sys
import termios
from collections.abc import Mapping, Sequence
from fcntl import ioctl
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.threads import deferToThread

COMMAND = (sys.executable, "-c", "from pushy_cli.main import main; main()")


@frozen(kw_only=True)
class Result:
    """How it ended, and what it wrote; on a terminal, all of it is in `out`."""

    status: int
    out: str
    err: str = ""

    @property
    def frames(self) -> list[str]:
        """What the live line showed, one after another, each with what was printed before it was drawn anew."""
        return self.out.replace("\r\n", "\n").split("\r\x1b[K")


@define
class _Child(ProcessProtocol):
    ended: Deferred[int] = field(factory=Deferred)
    out: bytearray = field(factory=bytearray)
    err: bytearray = field(factory=bytearray)

    def outReceived(self, data: bytes) -> None:
        self.out += data

    def errReceived(self, data: bytes) -> None:
        self.err += data

    def processEnded(self, reason: Any) -> None:
        status = reason.value.exitCode
        self.ended.callback(-reason.value.signal if status is None else status)


class Program:
    """Starts ``pushy``."""

    def __init__(self, reactor: Any, environment: Mapping[str, str]) -> None:
        self._reactor = reactor
        self._environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm", **environment}
        self._child: Any = None

    async def run(self, *arguments: str, **environment: str) -> Result:
        """Run it in pipes."""
        child = _Child()
        self._spawn(child, arguments, environment)
        status = await child.ended
        return Result(status=status, out=child.out.decode("utf-8", "surrogateescape"), err=child.err.decode())

    async def run_for_nobody(self, *arguments: str) -> Result:
        """Run it with a stdout that nobody reads."""
        reader, writer = os.pipe()
        os.close(reader)
        child = _Child()
        self._spawn(child, arguments, {}, childFDs={0: "w", 1: writer, 2: "r"})
        os.close(writer)
        return Result(status=await child.ended, out="", err=child.err.decode())

    async def run_on_terminal(self, *arguments: str, width: int = 80, **environment: str) -> Result:
        """Run it with a terminal for stdin, stdout and stderr."""
        master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        child = _Child()
        self._spawn(child, arguments, environment, childFDs={0: slave, 1: slave, 2: slave})
        os.close(slave)
        out = await deferToThread(_read_all, master)
        os.close(master)
        return Result(status=await child.ended, out=out.decode())

    def interrupt(self) -> None:
        """Do what Ctrl-C does."""
        self._child.signalProcess(signal.SIGINT)

    def _spawn(self, child: _Child, arguments: Sequence[str], environment: Mapping[str, str], **how: Any) -> None:
        self._child = self._reactor.spawnProcess(
            child, COMMAND[0], [*COMMAND, *arguments], env={**self._environment, **environment}, **how
        )


def _read_all(descriptor: int) -> bytes:
    data = b""
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:  # EIO: the last one who had the other end has closed it
            return data
        if not chunk:
            return data
        data += chunk
