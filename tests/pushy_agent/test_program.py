"""The program ``twistd pushy-agent`` itself, over HTTPS and ZeroMQ, against a push server of 2.x."""

import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.trial.unittest import TestCase

from demo.processes import Process
from pushy_agent.clock import sleep
from pushy_protocol.keys import make_rsa_key, private_pem
from pushy_protocol.messages import (
    Abort,
    Aborted,
    AckCommit,
    AckRun,
    Commit,
    Failed,
    NackCommit,
    NodeHeartbeat,
    Run,
    Succeeded,
)
from pushy_protocol.states import AgentState
from tests.pushy_agent.push_server import PushServer, make_node_key
from tests.pushy_agent.test_config import certificate

NODE = "node-1"
NAME = "push.example.org"
SETTINGS = r"""
chef_server_url = "{url}"
node_name = "node-1"
client_key = "client.pem"
ca_file = "ca.pem"
state_dir = "state"
stop_grace = 0

[whitelist]
greet = "/bin/sh -c 'echo hello; echo trouble >&2'"
fail = "/bin/sh -c 'exit 3'"
flood = "/bin/sh -c 'echo first; yes | head -c 300000; echo last'"
idle = "sleep 60"
"""
# The keys of 2.x, by the type of a message; all have the first ones.
COMMON = {
    "node",
    "client",
    "org",
    "protocol_version",
    "type",
    "sequence",
    "timestamp",
    "incarnation_id",
    "job_id",
}
MORE = {"heartbeat": {"job_state"}}
OUTPUT = {"stdout", "stderr"}


class ProgramCase(TestCase):
    """A server in this process, and an agent of its own, which trusts the server's certificate."""

    timeout = 60

    def setUp(self) -> None:
        self.reactor: Any = the_reactor
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        key = make_rsa_key()
        (self.directory / "key.pem").write_bytes(private_pem(key))
        (self.directory / "ca.pem").write_bytes(certificate(key, NAME))
        self.server = PushServer(self.reactor)
        self.server.name = NAME
        self.server.tls = DefaultOpenSSLContextFactory(str(self.directory / "key.pem"), str(self.directory / "ca.pem"))
        self.server.start()
        self.addCleanup(lambda: self.server.stop())
        (self.directory / "client.pem").write_bytes(private_pem(make_node_key(self.server, NODE)))
        self.hosts = self.directory / "hosts"
        self.hosts.write_text(f"127.0.0.1 {NAME}\n")

    def start_agent(self) -> Process:
        """Start the program, with a hosts file of its own."""
        config = self.directory / "agent.toml"
        config.write_text(SETTINGS.replace("{url}", self.server.url))
        twistd = Path(sys.executable).with_name("twistd")
        program = [sys.executable, str(twistd), "-n", "--pidfile=", "pushy-agent", "--config", str(config)]
        agent = Process("pushy-agent", with_hosts(self.hosts, program), log=self.directory / "log")
        self.addCleanup(self.stop_agent, agent)
        return agent

    async def stop_agent(self, agent: Process) -> None:
        """End it as systemd does, while the server goes on."""
        if agent.process.poll() is None:
            agent.process.send_signal(signal.SIGTERM)
            await self.until(lambda: agent.process.poll() is not None)
        # twistd ends as the signal would have ended it.
        assert agent.process.returncode == -signal.SIGTERM, agent.said()

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await sleep(self.reactor, 0.01)

    async def connected(self) -> Process:
        """An agent that the server has greeted, and that knows that the server is there."""
        agent = self.start_agent()
        await self.server.expect(Aborted, job_id=None)
        return agent

    async def run_job(self, job_id: str, command: str, **fields: Any) -> None:
        self.server.send(NODE, Commit, job_id=job_id, command=command, **fields)
        await self.server.expect(AckCommit, job_id=job_id)
        self.server.send(NODE, Run, job_id=job_id)
        await self.server.expect(AckRun, job_id=job_id)


def with_hosts(hosts: Path, program: Sequence[str]) -> list[str]:
    """A command for the program that runs it, by the same process id, with another ``/etc/hosts``."""
    privileges = [] if os.geteuid() == 0 else ["--map-root-user"]
    script = 'mount --bind "$0" /etc/hosts && exec "$@"'
    return ["unshare", *privileges, "--mount", "/bin/sh", "-c", script, str(hosts), *program]


class With2xTests(ProgramCase):
    """What is beyond 2.x stays off with a server that offers nothing of it."""

    async def test_messages_are_those_of_2x(self) -> None:
        await self.connected()
        await self.server.expect(NodeHeartbeat, job_state=AgentState.IDLE)
        await self.run_job("j1", "greet", capture=True)
        result = await self.server.expect(Succeeded, job_id="j1")
        assert (result.stdout, result.stderr) == ("hello\n", "trouble\n")
        await self.run_job("j2", "greet")
        await self.server.expect(Succeeded, job_id="j2")
        await self.run_job("j3", "fail", capture=True)
        await self.server.expect(Failed, job_id="j3")
        self.server.send(NODE, Commit, job_id="j4", command="rm -rf /")
        await self.server.expect(NackCommit, job_id="j4")
        await self.run_job("j5", "idle")
        await self.server.expect(NodeHeartbeat, job_id="j5", job_state=AgentState.RUNNING)
        self.server.send(NODE, Abort)
        await self.server.expect(Aborted, job_id="j5")
        seen = set()
        for body in map(json.loads, self.server.bodies):
            kind = body["type"]
            captured = OUTPUT if kind in {"succeeded", "failed"} and body["job_id"] in {"j1", "j3"} else set()
            assert set(body) == COMMON | MORE.get(kind, set()) | captured, body
            assert body["protocol_version"] == "2.0"
            seen.add(kind)
        assert seen == {"heartbeat", "ack_commit", "nack_commit", "ack_run", "succeeded", "failed", "aborted"}

    async def test_output_that_a_message_cannot_hold(self) -> None:
        await self.connected()
        await self.run_job("j1", "flood", capture=True)
        result = await self.server.expect(Succeeded, job_id="j1")
        assert result.stdout is not None
        assert result.stdout.startswith("first\n")
        assert "bytes left out ...]" in result.stdout
        assert result.stdout.endswith("last\n")
        longest = max(len(body) for body in self.server.bodies)
        assert self.server.max_body_size // 2 < longest <= self.server.max_body_size
        # Nothing waits for an acknowledgement that never comes.
        assert list((self.directory / "state" / "output").iterdir()) == []

    async def test_the_server_starts_anew(self) -> None:
        await self.connected()
        await self.run_job("j1", "idle")
        await self.server.stop()
        self.server.start()
        # A new incarnation, which wants nothing of what went on before.
        await self.server.expect(NodeHeartbeat, job_state=AgentState.RUNNING, job_id="j1")
        await self.server.expect(Aborted, job_id="j1")
        await self.run_job("j2", "greet", capture=True)
        await self.server.expect(Succeeded, job_id="j2")

    async def test_the_end_of_the_agent_is_the_failure_of_its_job(self) -> None:
        agent = await self.connected()
        await self.run_job("j1", "idle")
        await self.stop_agent(agent)
        await self.server.expect(Failed, job_id="j1")


class AddressTests(ProgramCase):
    """The server's name becomes another address while the agent runs."""

    async def test_a_server_that_has_moved(self) -> None:
        agent = await self.connected()
        await self.run_job("j1", "idle")
        await self.server.stop()
        await self.until(lambda: "heartbeat is silent" in agent.said())
        # In its place, and of the same length: the file is the one that is mounted, and never half written.
        with self.hosts.open("r+") as hosts:
            hosts.write(f"127.0.0.2 {NAME}\n")
        self.server.address = "127.0.0.2"
        self.server.start()
        # The sockets that are still open have found it: ZeroMQ resolves the name for each attempt to connect.
        await self.server.expect(NodeHeartbeat, job_state=AgentState.RUNNING, job_id="j1")
        await self.server.expect(Aborted, job_id="j1")
        # As a request does, which need not wait until the agent tries again; and the sockets that follow from it.
        requests = len(self.server.requests)
        agent.process.send_signal(signal.SIGUSR1)
        await self.until(lambda: len(self.server.requests) > requests)
        await self.until(lambda: agent.said().count("the node is connected") == 2)
        # Without the server's heartbeat no job is taken, so that channel stands too.
        await self.run_job("j2", "greet", capture=True)
        assert (await self.server.expect(Succeeded, job_id="j2")).stdout == "hello\n"
