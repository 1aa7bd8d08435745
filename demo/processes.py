"""A process, of twistd above all: what it says, and how it ends."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_LOOK_SECONDS = 0.02


class DidNotHappen(AssertionError):
    """What was waited for did not happen in time."""


def wait_until(found: Callable[[], T | None], what: str, *, seconds: float = 20.0) -> T:
    """Look, again and again, until `found` gives something; for what other processes do and nobody tells of.

    :raise DidNotHappen: it does not in time
    """
    end = time.monotonic() + seconds
    while (value := found()) is None:
        if time.monotonic() > end:
            raise DidNotHappen(f"not within {seconds} s: {what}")
        time.sleep(_LOOK_SECONDS)
    return value


class Process:
    """A process of its own, which outlives this one. What it says is added to `log`."""

    def __init__(self, name: str, command: Sequence[str | Path], *, log: Path) -> None:
        """:param name: what it is called in errors"""
        self.name = name
        self.log = log
        self._from = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def said(self) -> str:
        """Everything that it has said so far."""
        with self.log.open("rb") as log:
            log.seek(self._from)
            return log.read().decode(errors="replace")

    def wait_for(self, text: str, *, seconds: float = 20.0, times: int = 1) -> None:
        """Wait until it has said `text`, as many `times`.

        :raise DidNotHappen: it does not, in time or before it ends; has what it said last
        """

        def found() -> bool | None:
            ended = self.process.poll() is not None
            if self.said().count(text) >= times:
                return True
            return False if ended else None

        try:
            happened = wait_until(found, f"{text!r} from {self.name}", seconds=seconds)
        except DidNotHappen as error:
            raise DidNotHappen(f"{error}; it said:\n{self._tail()}") from None
        if not happened:
            raise DidNotHappen(f"{self.name} ended with {self.process.returncode}; it said:\n{self._tail()}")

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        self.process.kill()
        self.process.wait()

    def stop(self, *, seconds: float = 10.0) -> int:
        """End it with SIGTERM; its exit status.

        :raise DidNotHappen: it does not end in time (it is killed)
        """
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise DidNotHappen(f"{self.name} did not end in {seconds} s after SIGTERM:\n{self._tail()}") from None

    def _tail(self) -> str:
        return "\n".join(self.said().splitlines()[-30:])


class Twistd(Process):
    """``twistd -n PLUGIN …``."""

    def __init__(self, plugin: str, arguments: Sequence[str], *, log: Path, by_script: bool = False) -> None:
        """:param by_script: start the console script of the plugin's name, which does the same"""
        scripts = Path(sys.executable).parent
        program = [scripts / plugin] if by_script else [scripts / "twistd", "-n", "--pidfile=", plugin]
        super().__init__(plugin, [sys.executable, *program, *arguments], log=log)
