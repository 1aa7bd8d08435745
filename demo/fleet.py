"""A pushyd, its agents and the CLI, as an operator would run them, on loopback with free ports."""

import contextlib
import json
import os
import random
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

from demo.processes import Process, Twistd
from pushy_protocol import http_signing
from pushy_protocol.keys import parse_private_key

SERVER_NAME = "localhost"


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, outside of the range from which the system picks some for clients."""
    free: list[int] = []
    while len(free) < count:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            free.append(port)
    return list(dict.fromkeys(free)) if len(set(free)) == count else free_ports(count)


class Fleet:
    """Everything below one directory. Agents are added by name; :meth:`close` ends what was started."""

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, object] | None = None,
        tables: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        """:param settings: of the server, by name, beside the ports and the directory
        :param tables: those of them that are tables
        """
        self.directory = directory
        self.state = directory / "pushyd"
        self.keys = self.state
        """Where the private keys of principals are."""
        self.api_port, command_port, heartbeat_port = free_ports(3)
        self.settings = {
            "server_name": SERVER_NAME,
            "state_dir": str(self.state),
            "api_port": self.api_port,
            "command_port": command_port,
            "server_heartbeat_port": heartbeat_port,
            "zeromq_listen_address": "tcp://127.0.0.1",
            **(settings or {}),
        }
        self.organization = str(self.settings.get("organization", "default"))
        self.server: Process | None = None
        self.agents: dict[str, Process] = {}
        directory.mkdir(parents=True, exist_ok=True)
        self.server_config = directory / "pushyd.toml"
        text = _toml(self.settings) + "".join(f"\n[{name}]\n{_toml(table)}" for name, table in (tables or {}).items())
        self.server_config.write_text(text, encoding="utf-8")

    @property
    def url(self) -> str:
        """Where the organization's API is."""
        return f"https://{SERVER_NAME}:{self.api_port}/organizations/{self.organization}"

    def start_server(self) -> Process:
        """Start pushyd and wait until it is ready."""
        self.server = Twistd("pushyd", ["--config", str(self.server_config)], log=self.directory / "pushyd.log")
        self.server.wait_for("pushyd is ready")
        return self.server

    def start_agent(
        self, name: str, whitelist: Mapping[str, str], settings: Mapping[str, object] | None = None
    ) -> Process:
        """Start an agent; it enrols itself with the validator's key when it is new.

        :param settings: beside those that it needs
        """
        home = self.directory / name
        home.mkdir(exist_ok=True)
        config = home / "pushy-agent.toml"
        needed = {
            "chef_server_url": self.url,
            "node_name": name,
            "client_key": str(home / "client.pem"),
            "validation_key": str(self.keys / f"{self.organization}-validator.pem"),
            "ca_file": str(self.state / "ca.pem"),
            "state_dir": str(home / "state"),
            "stop_grace": 0,
        }
        config.write_text(
            _toml({**needed, **(settings or {})}) + "\n[whitelist]\n" + _toml(whitelist), encoding="utf-8"
        )
        log = self.directory / f"{name}.log"
        # As packages start it: without twistd's search for plugins, which takes memory and time.
        agent = Twistd("pushy-agent", ["--config", str(config)], log=log, by_script=True)
        self.agents[name] = agent
        return agent

    def cli_environment(self, user: str = "admin") -> dict[str, str]:
        """What the CLI needs to know to act as a principal whose key is in the state directory."""
        return {
            "PUSHY_SERVER_URL": self.url,
            "PUSHY_CLIENT_NAME": user,
            "PUSHY_CLIENT_KEY": str(self.keys / f"{user}.pem"),
            "PUSHY_CA_FILE": str(self.state / "ca.pem"),
        }

    def cli(self, *arguments: str, merged: bool = False) -> "subprocess.CompletedProcess[str]":
        """Run ``pushy …`` to its end; `merged` has both of its streams in `stdout`, in the order of a terminal."""
        return subprocess.run(
            [sys.executable, str(Path(sys.executable).with_name("pushy")), *arguments],
            env={**os.environ, **self.cli_environment(), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )

    def available(self, nodes: Sequence[str]) -> bool:
        """Whether the server has all of `nodes` available."""
        states = {state["node_name"]: state["availability"] for state in self.get("pushy/node_states")}
        return all(states.get(node) == "available" for node in nodes)

    def get(self, path: str, user: str = "admin") -> Any:
        """The JSON that the API answers at a path below the organization."""
        return self.request("GET", path, user=user)[1]

    def request(self, method: str, path: str, body: bytes = b"", user: str = "admin") -> tuple[int, Any]:
        """The status and the JSON of the API's answer to a request, signed by a principal of the state directory."""
        status, answer = self.fetch(method, path, body, user)
        return status, json.loads(answer or b"null")

    def fetch(self, method: str, path: str, body: bytes = b"", user: str = "admin") -> tuple[int, bytes]:
        """The same, with the answer as it is."""
        full_path = f"/organizations/{self.organization}/{path}"
        signature = http_signing.sign(
            private_key=parse_private_key((self.keys / f"{user}.pem").read_bytes()),
            user=user,
            method=method,
            path=full_path,
            body=body,
            now=time.time(),
        )
        trusted = ssl.create_default_context(cafile=str(self.state / "ca.pem"))
        connection = HTTPSConnection(SERVER_NAME, self.api_port, context=trusted, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, full_path, body, {**signature, "Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()

    def processes(self) -> list[Process]:
        """Every process that was started and not been replaced, agents first."""
        return [*self.agents.values(), *([self.server] if self.server else [])]

    def close(self) -> None:
        """End every process that was started, also where one of them does not want to.

        :raise DidNotHappen: one had to be killed
        """
        with contextlib.ExitStack() as stack:
            for process in reversed(self.processes()):
                if process.process.poll() is None:
                    stack.callback(process.stop)


def _toml(values: Mapping[str, object]) -> str:
    return "".join(f"{_quoted(name)} = {_value(value)}\n" for name, value in values.items())


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else _quoted(str(value))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
