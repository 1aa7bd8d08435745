"""The real program on a real terminal: what a person sees and does."""

import os
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import pexpect
import pyte
from twisted.internet.threads import deferToThread

from tests.pushy_cli.program import COMMAND
from tests.pushy_cli.push_server import JOB_ID, Feed
from tests.pushy_cli.test_program import WEB, ProgramTestCase

RUNNING = Feed(
    events=(
        ("start", {"node_count": 3}),
        *(("quorum_vote", {"node": node, "status": "success"}) for node in WEB),
        ("quorum_succeeded", {}),
        *(("run_start", {"node": node}) for node in WEB),
        ("run_complete", {"node": "web1", "status": "success"}),
    ),
    stays=True,
)
QUESTION = "Leave it running (l), abort it (a), or watch on (w)? Ctrl-C again leaves:"


NONE: Mapping[str, str] = {}


class Terminal:
    """A terminal of 24 lines, and the program on it. Everything blocks: to be used in a thread."""

    def __init__(self, home: str, *arguments: str, width: int = 100, environment: Mapping[str, str] = NONE) -> None:
        base = {"PATH": os.environ["PATH"], "HOME": home, "LANG": "C.UTF-8", "TERM": "xterm"}
        self._child = pexpect.spawn(
            COMMAND[0],
            [*COMMAND[1:], *arguments],
            env={**base, **environment},
            dimensions=(24, width),
            encoding="utf-8",
            timeout=20,
        )
        self._screen = pyte.Screen(width, 24)
        self._stream = pyte.Stream(self._screen)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._screen.display if line.strip()]

    def until(self, text: str) -> list[str]:
        """What is on the screen once this text is."""
        end = time.monotonic() + 20
        while text not in " ".join(self.lines):
            assert time.monotonic() < end, (text, self.lines)
            self._stream.feed(self._child.read_nonblocking(size=4096, timeout=20))
        return self.lines

    def resize(self, width: int) -> None:
        self._screen.resize(24, width)
        self._child.setwinsize(24, width)

    def press(self, keys: str) -> None:
        self._child.send(keys)

    def end(self) -> int:
        """The exit status; the screen shows the last."""
        self._stream.feed(self._child.read())
        self._child.close()
        status: int = self._child.exitstatus
        return status


class LiveTests(ProgramTestCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
        await super().setUp()
        self.server.next_job = [{"status": "running", "nodes": {"running": WEB}}]
        self.server.feeds[JOB_ID] = deque([RUNNING])

    def open(self, *arguments: str) -> Terminal:
        return Terminal(str(self.home), *arguments)

    def finish(self, job_id: str, status: str = "aborted") -> None:
        self.server.jobs[job_id].states = deque([{"status": status, "nodes": {"succeeded": ["web1"], status: WEB[1:]}}])
        self.server.end_feeds("job_complete", {"status": status})

    async def test_resize_then_abort(self) -> None:
        self.server.on_abort = self.finish
        await deferToThread(self._resize_then_abort)

    def _resize_then_abort(self) -> None:
        terminal = self.open("job", "start", "uptime", *WEB)
        lines = terminal.until("1 succeeded")
        assert lines[0] == f"Started. Job ID: {JOB_ID}"
        assert lines[1].startswith("running  0:0")
        assert lines[1].endswith("━━━━━━┄┄┄┄┄┄┄┄┄┄┄┄┄┄  1/3  1 succeeded  2 running")
        terminal.resize(45)
        lines = terminal.until("/3  1 succeeded")
        while "━" in " ".join(lines[-1:]):  # until it is drawn for the new width
            terminal.press("")
            lines = terminal.until("running")
        terminal.resize(100)
        terminal.press("\x03")
        terminal.until("Ctrl-C again leaves:")
        terminal.press("a\n")
        assert terminal.end() == 5
        assert terminal.lines[-4:-2] == ["The job is being aborted...", terminal.lines[-3]]
        assert terminal.lines[-3].startswith(f"Job {JOB_ID} was aborted: 1 of 3 nodes succeeded")
        assert terminal.lines[-1] == "  aborted    2  web[2-3]"

    async def test_interrupted_twice_leaves_the_job_running(self) -> None:
        await deferToThread(self._interrupt_twice)

    def _interrupt_twice(self) -> None:
        terminal = self.open("job", "start", "uptime", *WEB)
        terminal.until("1 succeeded")
        terminal.press("\x03")
        terminal.until("Ctrl-C again leaves:")
        terminal.press("w\n")
        terminal.press("\x03")
        terminal.until(f"{QUESTION} w")
        terminal.press("\x03")
        assert terminal.end() == 130
        assert terminal.lines[-2:] == [
            f"Job {JOB_ID} goes on without us.",
            f"Look at it with: pushy job status {JOB_ID}",
        ]
        assert not [asked for asked in self.server.requests if "abort" in asked]

    async def test_a_job_that_ends_while_it_is_asked(self) -> None:
        terminal: Any = self.open("job", "start", "uptime", *WEB)
        await deferToThread(terminal.until, "1 succeeded")
        terminal.press("\x03")
        await deferToThread(terminal.until, "Ctrl-C again leaves:")
        self.finish(JOB_ID, "timed_out")
        assert await deferToThread(terminal.end) == 4
        assert terminal.lines[-3].startswith(f"Job {JOB_ID} timed out")
        assert terminal.lines[-1] == "  timed out  2  web[2-3]"

    async def test_confirmation(self) -> None:
        await deferToThread(self._decline_then_agree)
        assert self.server.requests.count("POST jobs") == 1

    def _decline_then_agree(self) -> None:
        terminal = self.open("job", "start", "-b", "--confirm-over", "2", "uptime", "web[1-3]")
        terminal.until("Run 'uptime' on 3 nodes, web[1-3]? [y/N]")
        terminal.press("\n")
        assert terminal.end() == 2
        assert terminal.lines[-2:] == ["Error: Nothing was done.", "Hint:  It was not confirmed."]
        terminal = self.open("job", "start", "-b", "--confirm-over", "2", "uptime", "web[1-3]")
        terminal.until("[y/N]")
        terminal.press("y\n")
        assert terminal.end() == 0
