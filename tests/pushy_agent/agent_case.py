"""A whole agent, but for the command line, against a server on loopback, for tests: real sockets, real processes."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet import reactor as the_reactor
from twisted.trial.unittest import TestCase

from pushy_agent.app import AgentService, Surroundings
from pushy_agent.clock import sleep
from pushy_agent.config import Config, load
from pushy_agent.settings import Settings
from pushy_protocol.keys import private_pem
from pushy_protocol.messages import Aborted, AckCommit, AckRun, Commit, Run
from tests.pushy_agent.push_server import VALIDATOR_KEY, PushServer, make_node_key

NODE = "node-1"
SETTINGS = r"""
server_url = "{url}"
node_name = "node-1"
client_key = "client.pem"
validation_key = "validation.pem"
state_dir = "state"
file_dir_expiry = 0
stop_grace = 0

[whitelist]
"""


class AgentCase(TestCase):
    timeout = 30

    whitelist = ""
    """In TOML."""

    def setUp(self) -> None:
        self.reactor: Any = the_reactor
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.server = PushServer(self.reactor)
        self.start_server()
        self.addCleanup(self.stop_server)
        (self.directory / "validation.pem").write_bytes(private_pem(VALIDATOR_KEY))

    def start_server(self) -> None:
        self.server.start()
        self.server_is_up = True

    async def stop_server(self) -> None:
        if self.server_is_up:
            self.server_is_up = False
            await self.server.stop()

    def _config(self) -> Config:
        path = self.directory / "agent.toml"
        path.write_text(SETTINGS.replace("{url}", self.server.url) + self.whitelist)
        return load(path, {}, lambda: "unused")

    def start_agent(self, **settings: Any) -> AgentService:
        """A running agent; it retries at once."""
        config = evolve(self._config(), **settings)
        agent = AgentService(
            Settings(config, self._config), self.reactor, Surroundings(host="host", jitter=lambda: 0.005)
        )
        agent.startService()
        self.addCleanup(agent.stopService)
        return agent

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the reactor turn until something is so; the test's timeout bounds it."""
        while not condition():
            await sleep(self.reactor, 0.01)

    def give_key(self) -> None:
        (self.directory / "client.pem").write_bytes(private_pem(make_node_key(self.server, NODE)))

    async def connected(self) -> AgentService:
        """An agent that the server has greeted."""
        self.give_key()
        agent = self.start_agent()
        await self.server.expect(Aborted, job_id=None)
        return agent

    async def run_job(self, job_id: str, command: str, **fields: Any) -> None:
        self.server.send(NODE, Commit, job_id=job_id, command=command, **fields)
        await self.server.expect(AckCommit, job_id=job_id)
        self.server.send(NODE, Run, job_id=job_id)
        await self.server.expect(AckRun, job_id=job_id)
