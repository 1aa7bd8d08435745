"""The output of real commands on its way from a whole agent to a server that takes it as it comes."""

import hashlib
import os
import random
from pathlib import Path
from typing import Any

from pushy_agent.job import Idle
from pushy_protocol.messages import (
    Abort,
    Aborted,
    Ack,
    AckCommit,
    Channel,
    Commit,
    Failed,
    NackRun,
    NodeHeartbeat,
    OutputTotal,
    Run,
    Succeeded,
)
from pushy_protocol.states import AgentState
from tests.pushy_agent.agent_case import NODE, AgentCase

EXTENSIONS = ["results", "resume", "reasons", "output"]
KIB = 1024


class OutputTests(AgentCase):
    timeout = 60

    whitelist = r"""
greet = "/bin/sh -c 'echo hello; echo trouble >&2; exit 3'"
silent = "true"
steps = "/bin/sh -c 'echo one; cat fifo; echo two'"
random = "/bin/sh -c 'cat random; cat random >&2'"
flood = "/bin/sh -c 'yes 0123456 | head -c 300000; echo end'"
small = {command = "/bin/sh -c 'yes 0123456 | head -c 300000; echo end'", capture_limit = 1000}
closes = "/bin/sh -c 'exec >&-; cat fifo >&2'"
holder = "/bin/sh -c 'echo first; sleep 60 & echo $! >pid'"
missing = "/no/such/program"
"""

    def setUp(self) -> None:
        super().setUp()
        self.server.extensions = EXTENSIONS

    async def start_job(self, job_id: str, command: str, **fields: Any) -> None:
        await self.run_job(job_id, command, **{"capture": True, "dir": str(self.directory), **fields})

    async def write_to_fifo(self, text: str) -> None:
        """Let the command read something, once it is there to read it."""

        def write() -> bool:
            try:
                fifo = os.open(self.directory / "fifo", os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # nobody reads
                return False
            os.write(fifo, text.encode())
            os.close(fifo)
            return True

        await self.until(write)

    def stored(self, job_id: str, channel: Channel = "stdout") -> bytes:
        return bytes(self.server.outputs[job_id][channel]) if job_id in self.server.outputs else b""

    @property
    def spooled(self) -> list[Path]:
        return list((self.directory / "state" / "output").iterdir())

    async def test_output_comes_before_its_end_and_is_forgotten_then(self) -> None:
        await self.connected()
        await self.start_job("j1", "greet")
        result = await self.server.expect(Failed)
        assert (self.stored("j1"), self.stored("j1", "stderr")) == (b"hello\n", b"trouble\n")
        assert (result.stdout, result.stderr, result.exit_status) == (None, None, 3)
        assert result.output == {"stdout": OutputTotal(bytes=6), "stderr": OutputTotal(bytes=8)}
        await self.until(lambda: not self.spooled)

    async def test_no_output(self) -> None:
        await self.connected()
        await self.start_job("j1", "silent")
        result = await self.server.expect(Succeeded)
        assert result.output == {"stdout": OutputTotal(bytes=0), "stderr": OutputTotal(bytes=0)}
        await self.start_job("j2", "greet", capture=False)
        assert (await self.server.expect(Failed)).output is None
        assert self.server.outputs == {}

    async def test_live_output_comes_while_the_command_runs(self) -> None:
        os.mkfifo(self.directory / "fifo")
        await self.connected()
        await self.start_job("j1", "steps", live=True)
        await self.until(lambda: self.stored("j1") == b"one\n")
        await self.write_to_fifo("between\n")
        await self.server.expect(Succeeded)
        assert self.stored("j1") == b"one\nbetween\ntwo\n"

    async def test_binary_output_byte_for_byte(self) -> None:
        data = random.Random(1).randbytes(3 * KIB * KIB) + bytes(range(256))
        (self.directory / "random").write_bytes(data)
        await self.connected()
        await self.start_job("j1", "random", output_limit=4 * KIB * KIB)
        result = await self.server.expect(Succeeded)
        for channel in ("stdout", "stderr"):
            assert hashlib.sha256(self.stored("j1", channel)).digest() == hashlib.sha256(data).digest()
        assert result.output == dict.fromkeys(("stdout", "stderr"), OutputTotal(bytes=len(data)))

    async def test_limits_of_job_and_entry(self) -> None:
        await self.connected()
        for job_id, command, limit in (("j1", "flood", 100), ("j2", "small", 5000), ("j3", "small", 100)):
            await self.start_job(job_id, command, output_limit=limit)
            result = await self.server.expect(Succeeded)
            kept = min(limit, 1000)
            head, _, tail = self.stored(job_id).partition(f"[... {300_004 - kept} bytes left out ...]\n".encode())
            assert (len(head.rstrip(b"\n")), len(tail)) in {(kept // 2, kept // 2), (kept // 2 - 1, kept // 2)}
            assert tail.endswith(b"\nend\n")
            assert result.output is not None
            assert result.output["stdout"] == OutputTotal(bytes=len(self.stored(job_id)), dropped=300_004 - kept)

    async def test_closed_stdout(self) -> None:
        os.mkfifo(self.directory / "fifo")
        await self.connected()
        await self.start_job("j1", "closes")
        await self.write_to_fifo("still here\n")
        await self.server.expect(Succeeded)
        assert (self.stored("j1"), self.stored("j1", "stderr")) == (b"", b"still here\n")

    async def test_a_grandchild_that_holds_the_pipe(self) -> None:
        await self.connected()
        await self.start_job("j1", "holder")
        await self.server.expect(Succeeded)
        assert self.stored("j1") == b"first\n"
        os.kill(int((self.directory / "pid").read_text()), 9)

    async def test_a_command_that_does_not_start_leaves_nothing(self) -> None:
        await self.connected()
        self.server.send(NODE, Commit, job_id="j1", command="missing", capture=True)
        await self.server.expect(AckCommit, job_id="j1")
        self.server.send(NODE, Run, job_id="j1")
        await self.server.expect(NackRun, job_id="j1")
        assert self.spooled == []

    async def test_pieces_that_are_not_taken_come_again(self) -> None:
        chance = random.Random(2)
        self.server.takes_output = lambda output: chance.random() < 0.9
        (self.directory / "random").write_bytes(data := random.Random(1).randbytes(100 * KIB))
        await self.connected()
        await self.start_job("j1", "random")
        await self.server.expect(Succeeded)
        assert (self.stored("j1"), self.stored("j1", "stderr")) == (data, data)

    async def test_a_restarted_server_gets_the_rest(self) -> None:
        os.mkfifo(self.directory / "fifo")
        await self.connected()
        await self.start_job("j1", "steps", live=True)
        await self.until(lambda: self.stored("j1") == b"one\n")
        await self.stop_server()
        await self.write_to_fifo("meanwhile\n")
        self.start_server()
        await self.server.expect(NodeHeartbeat, job_state=AgentState.RUNNING, job_id="j1")
        await self.server.expect(Succeeded, job_id="j1")
        assert self.stored("j1") == b"one\nmeanwhile\ntwo\n"

    async def test_the_result_waits_for_the_output_until_the_server_wants_it(self) -> None:
        self.server.takes_output = lambda output: False
        agent = await self.connected()
        await self.start_job("j1", "greet")
        await self.until(lambda: bool(self.server.outputs) and agent._worker.state == Idle())
        await self.server.expect(NodeHeartbeat, job_state=AgentState.RUNNING, job_id="j1")
        assert not [message for message in self.server.received if isinstance(message, Failed)]
        self.server.send(NODE, Abort)
        await self.server.expect(Failed, job_id="j1")
        await self.server.expect(Aborted, job_id=None)
        await self.server.expect(NodeHeartbeat, job_state=AgentState.IDLE, job_id=None)
        # Output may come after the end.
        self.server.takes_output = lambda output: True
        self.server.send(NODE, Ack)
        await self.until(lambda: self.stored("j1") == b"hello\n")
        await self.until(lambda: not self.spooled)

    async def test_a_server_that_has_become_older_gets_the_output_with_the_result(self) -> None:
        os.mkfifo(self.directory / "fifo")
        agent = await self.connected()
        await self.start_job("j1", "steps")
        await self.stop_server()
        self.server.extensions = ["results", "resume"]
        self.start_server()
        await self.until(lambda: not agent._speaker.offers("output"))
        await self.write_to_fifo("between\n")
        result = await self.server.expect(Succeeded, job_id="j1")
        assert (result.stdout, result.stderr, result.output) == ("one\nbetween\ntwo\n", "", None)
        self.server.send(NODE, Ack, job_id="j1")
        await self.until(lambda: not self.spooled)

    async def test_an_aborted_job_answers_at_once(self) -> None:
        self.server.takes_output = lambda output: False
        os.mkfifo(self.directory / "fifo")
        await self.connected()
        await self.start_job("j1", "steps", live=True)
        await self.until(lambda: bool(self.server.outputs))
        self.server.send(NODE, Abort, job_id="j1")
        await self.server.expect(Aborted, job_id="j1")

    async def test_small_messages(self) -> None:
        self.server.max_body_size = 1200
        (self.directory / "random").write_bytes(data := random.Random(1).randbytes(20 * KIB))
        await self.connected()
        await self.start_job("j1", "random")
        await self.server.expect(Succeeded)
        assert self.stored("j1") == data
