"""The whole agent, but for the command line, against a server on loopback: real sockets, real processes."""

import os

from pushy_agent.job import Idle
from pushy_protocol.keys import parse_private_key
from pushy_protocol.messages import (
    Abort,
    Aborted,
    AckCommit,
    Commit,
    Failed,
    NackCommit,
    NackRun,
    NodeHeartbeat,
    Run,
    Succeeded,
)
from pushy_protocol.states import AgentState
from tests.pushy_agent.agent_case import NODE, AgentCase
from tests.pushy_agent.push_server import ORGANIZATION

WHITELIST = r"""
greet = "/bin/sh -c 'echo hello; echo trouble >&2'"
fail = "/bin/sh -c 'exit 3'"
flood = "/bin/sh -c 'yes | head -c 300000'"
await = "cat fifo"
idle = "sleep 60"
read-file = "/bin/sh -c 'cat $CHEF_PUSH_JOB_FILE; echo $CHEF_PUSH_JOB_ID $CHEF_PUSH_NODE_NAME $COLOUR'"
missing = "/no/such/program"
"""


class AgentTests(AgentCase):
    whitelist = WHITELIST

    async def test_captured_job(self) -> None:
        await self.connected()
        await self.run_job("j1", "greet", capture=True)
        result = await self.server.expect(Succeeded)
        assert (result.job_id, result.stdout, result.stderr) == ("j1", "hello\n", "trouble\n")
        assert (result.client, result.org, result.protocol_version) == ("host", ORGANIZATION, "2.0")

    async def test_job_without_capture_after_another(self) -> None:
        await self.connected()
        await self.run_job("j1", "greet")
        result = await self.server.expect(Succeeded, job_id="j1")
        assert result.stdout is result.stderr is None
        await self.run_job("j2", "greet")
        await self.server.expect(Succeeded, job_id="j2")

    async def test_failure(self) -> None:
        await self.connected()
        await self.run_job("j1", "fail", capture=True)
        result = await self.server.expect(Failed)
        assert (result.stdout, result.stderr, result.exit_status, result.reason) == ("", "", None, None)

    async def test_reasons_are_told_to_who_understands_them(self) -> None:
        self.server.extensions = ["reasons"]
        await self.connected()
        self.server.send(NODE, Commit, job_id="j1", command="rm -rf /")
        assert (await self.server.expect(NackCommit, job_id="j1")).reason == "not_whitelisted"
        self.server.send(NODE, Commit, job_id="j2", command="missing")
        await self.server.expect(AckCommit, job_id="j2")
        self.server.send(NODE, Run, job_id="j2")
        assert (await self.server.expect(NackRun, job_id="j2")).reason == "no_such_command"
        await self.run_job("j3", "fail")
        result = await self.server.expect(Failed)
        assert (result.exit_status, result.protocol_version) == (3, "3.0")

    async def test_nack_while_busy(self) -> None:
        await self.connected()
        self.server.send(NODE, Commit, job_id="j1", command="greet")
        await self.server.expect(AckCommit, job_id="j1")
        self.server.send(NODE, Commit, job_id="j2", command="greet")
        nack = await self.server.expect(NackCommit, job_id="j2")
        assert nack.reason is None
        await self.server.expect(NodeHeartbeat, job_state=AgentState.COMMITTED, job_id="j1")

    async def test_abort_ends_the_group(self) -> None:
        await self.connected()
        await self.run_job("j1", "idle")
        await self.server.expect(NodeHeartbeat, job_state=AgentState.RUNNING, job_id="j1")
        self.server.send(NODE, Abort)
        await self.server.expect(Aborted, job_id="j1")
        await self.server.expect(NodeHeartbeat, job_state=AgentState.IDLE, job_id=None)

    async def test_output_is_cut_to_what_a_message_holds(self) -> None:
        await self.connected()
        await self.run_job("j1", "flood", capture=True)
        result = await self.server.expect(Succeeded)
        assert result.stdout is not None
        assert "bytes left out ...]" in result.stdout
        assert 40_000 < len(result.stdout) < self.server.max_body_size

    async def test_file_and_environment(self) -> None:
        await self.connected()
        await self.run_job("j1", "read-file", capture=True, file="raw:text\n", env={"COLOUR": "red"})
        result = await self.server.expect(Succeeded)
        assert result.stdout == "text\nj1 node-1 red\n"
        assert list((self.directory / "state" / "files").iterdir()) == []

    async def test_server_goes_away_while_a_job_runs_and_comes_back(self) -> None:
        await self.connected()
        await self.run_job("j1", "idle")
        await self.stop_server()
        self.start_server()
        # A new incarnation: the agent agrees anew, and says what it still does; this server wants none of it.
        await self.server.expect(NodeHeartbeat, job_state=AgentState.RUNNING, job_id="j1")
        await self.server.expect(Aborted, job_id="j1")

    async def test_result_waits_for_the_server(self) -> None:
        agent = await self.connected()
        os.mkfifo(self.directory / "fifo")
        await self.run_job("j1", "await", capture=True, dir=str(self.directory))
        await self.stop_server()
        await self.until(lambda: not agent._link.is_online)
        (self.directory / "fifo").write_text("now\n")
        await self.until(lambda: agent._worker.state == Idle())
        self.start_server()
        assert (await self.server.expect(Succeeded, job_id="j1")).stdout == "now\n"

    async def test_server_absent_at_start(self) -> None:
        self.give_key()
        await self.stop_server()
        self.start_agent()
        self.start_server()
        await self.server.expect(Aborted, job_id=None)

    async def test_registration(self) -> None:
        self.start_agent()
        await self.server.expect(Aborted, job_id=None)
        key = parse_private_key((self.directory / "client.pem").read_bytes())
        assert key.public_key() == self.server.clients[NODE]
        assert (self.directory / "client.pem").stat().st_mode & 0o777 == 0o600
        assert not (self.directory / "client.pem.pending").exists()

    async def test_bad_messages_change_nothing(self) -> None:
        await self.connected()
        for frames in ([b""], [b"x", b"y", b"z"], [b"Version:2.0", b"{}"], [b"x" * 5000, b""]):
            self.server.send_frames(NODE, frames)
        await self.run_job("j1", "greet")
        await self.server.expect(Succeeded)

    async def test_stop_ends_the_job_and_says_so(self) -> None:
        agent = await self.connected()
        await self.run_job("j1", "idle")
        await agent.stopService()
        await self.server.expect(Failed, job_id="j1")
