"""A twistd process, what it says, and how it ends."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Condition, Thread


class DidNotHappen(AssertionError):
    """What was waited for did not happen in time; the text has what the process said last."""


class Twistd:
    """``twistd -n PLUGIN …`` as a process of its own. What it says goes to `log`, and can be waited for."""

    def __init__(self, plugin: str, arguments: Sequence[str], *, log: Path) -> None:
        self.plugin = plugin
        self.log = log
        self._lines: list[str] = []
        self._ended = False
        self._changed = Condition()
        self.process = subprocess.Popen(
            [sys.executable, Path(sys.executable).with_name("twistd"), "-n", "--pidfile=", plugin, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def said(self) -> str:
        """Everything that it has said so far."""
        with self._changed:
            return "".join(self._lines)

    def wait_for(self, text: str, *, seconds: float = 20.0, after: int = 0) -> int:
        """Wait until it says `text`; the number of lines up to there, from which a later wait can go on.

        :param after: the lines up to this number do not count
        :raise DidNotHappen: it does not, in time or before it ends
        """

        def found() -> int | None:
            return next((n for n, line in enumerate(self._lines[after:], after + 1) if text in line), None)

        with self._changed:
            self._changed.wait_for(lambda: found() is not None or self._ended, seconds)
            if (line := found()) is None:
                tail = "".join(self._lines[-30:])
                raise DidNotHappen(f"{self.plugin} did not say {text!r} in {seconds} s; it said:\n{tail}")
            return line

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        self.process.kill()
        self._wait()

    def stop(self, *, seconds: float = 10.0) -> int:
        """End it with SIGTERM; its exit status.

        :raise DidNotHappen: it does not end in time (it is killed)
        """
        self.process.terminate()
        try:
            return self._wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise DidNotHappen(f"{self.plugin} did not end in {seconds} s after SIGTERM") from None

    def _wait(self, seconds: float | None = None) -> int:
        status = self.process.wait(seconds)
        self._reader.join()
        return status

    def _read(self) -> None:
        stream = self.process.stdout
        assert stream is not None
        with stream, self.log.open("a", encoding="utf-8") as log:
            for line in stream:
                log.write(line)
                log.flush()
                with self._changed:
                    self._lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
