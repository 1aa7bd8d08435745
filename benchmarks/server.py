"""The server that is measured: a real pushyd on loopback, with nodes enrolled, and what it costs.

Everything is as an operator has it by default: fsync is on, TLS too where it is not said otherwise.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from pathlib import Path
from ssl import create_default_context
from typing import Any
from uuid import uuid4

from benchmarks.identities import load_primes, node_name, private_key
from demo.fleet import SERVER_NAME, Fleet, free_ports
from pushy_protocol import http_signing
from pushy_protocol.keys import parse_private_key, public_pem
from pushy_protocol.states import JobStatus
from pushyd.domain.job import JobSpec
from pushyd.store import engine
from pushyd.store.identity import create_client
from pushyd.store.interface import JobStatusChange
from pushyd.store.jobs import create_job, write_changes

_CPU_CLOCK = 2  # of a process, in the words of Linux: user and system time of all its threads


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used, with all its threads, those that ended too."""
    return time.clock_gettime((~pid << 3) | _CPU_CLOCK)


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} has no memory")


class Api:
    """One caller of the API, over a connection that it keeps."""

    def __init__(self, server: "Server", user: str = "admin") -> None:
        self._user = user
        self._key = parse_private_key((server.fleet.state / f"{user}.pem").read_bytes())
        self._root = f"/organizations/{server.fleet.organization}/"
        host, port = SERVER_NAME, server.api_port
        if server.ca:
            trusted = create_default_context(cafile=str(server.ca))
            self._connection: HTTPConnection = HTTPSConnection(host, port, context=trusted, timeout=120)
        else:
            self._connection = HTTPConnection(host, port, timeout=120)

    def __enter__(self) -> "Api":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def open(self, method: str, path: str, body: bytes = b"") -> HTTPResponse:
        """The response to a signed request, its body not read yet."""
        full_path = self._root + path
        headers = http_signing.sign(
            private_key=self._key, user=self._user, method=method, path=full_path, body=body, now=time.time()
        )
        self._connection.request(method, full_path, body, {**headers, "Content-Type": "application/json"})
        return self._connection.getresponse()

    def get(self, path: str) -> Any:
        """What the API answers."""
        return self._json(self.open("GET", path), 200)

    def start_job(
        self, nodes: Sequence[str], *, capture: bool | str = False, command: str = "true", **options: object
    ) -> str:
        """The id of a new job; `options` are those of the request."""
        body = json.dumps({"command": command, "nodes": nodes, "capture_output": capture, **options}).encode()
        uri: str = self._json(self.open("POST", "pushy/jobs", body), 201)["uri"]
        return uri.rpartition("/")[2]

    def _json(self, response: HTTPResponse, expected: int) -> Any:
        body = response.read()
        if response.status != expected:
            raise RuntimeError(f"{response.status}: {body[:500]!r}")
        return json.loads(body)


def events(response: HTTPResponse) -> Iterator[tuple[str, Any]]:
    """The events of a feed, as they come in."""
    name = ""
    for line in response:
        field, _, value = line.rstrip(b"\n").partition(b": ")
        if field == b"event":
            name = value.decode()
        elif field == b"data":
            yield name, json.loads(value)


class Server:
    """A pushyd in a directory of its own."""

    def __init__(self, directory: Path, *, tls: bool = True, **settings: object) -> None:
        """:param settings: of pushyd, beside its ports"""
        self.tls = tls
        self.plain_port = 0
        if not tls:
            [self.plain_port] = free_ports(1)
            settings["api_endpoint"] = f"tcp:{self.plain_port}:interface=127.0.0.1"
        self.fleet = Fleet(directory, settings)
        self.directory = directory

    @property
    def api_port(self) -> int:
        """Where the API listens."""
        return self.fleet.api_port if self.tls else self.plain_port

    @property
    def url(self) -> str:
        """Of the organization."""
        scheme = "https" if self.tls else "http"
        return f"{scheme}://{SERVER_NAME}:{self.api_port}/organizations/{self.fleet.organization}"

    @property
    def ca(self) -> Path | None:
        """Who signed its certificate; None over plain HTTP."""
        return self.fleet.state / "ca.pem" if self.tls else None

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self.fleet.server is not None
        return self.fleet.server.process.pid

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        self.fleet.start_server()

    def enrol(self, primes: Path, count: int) -> None:
        """Make the clients of this many nodes, while it does not run."""
        keys = load_primes(primes, count)
        writing = engine.writer_engine(engine.parse_url(f"sqlite:///{self.fleet.state / 'pushyd.sqlite'}"))
        with writing.begin() as connection:
            for number in range(count):
                pem = public_pem(private_key(keys, number).public_key())
                create_client(connection, self.fleet.organization, node_name(number), pem)
        writing.dispose()

    def keep_jobs(self, count: int, nodes: Sequence[str]) -> None:
        """Make so many jobs of these nodes, that have ended, while it does not run."""
        writing = engine.writer_engine(engine.parse_url(f"sqlite:///{self.fleet.state / 'pushyd.sqlite'}"))
        for _ in range(count):
            spec = JobSpec(
                id=uuid4().hex,
                organization=self.fleet.organization,
                command="true",
                nodes=tuple(nodes),
                quorum=len(nodes),
                run_timeout=3600,
                voting_timeout=60,
                created_at=time.time(),
                created_by="admin",
            )
            with writing.begin() as connection:
                create_job(connection, spec)
                write_changes(connection, [JobStatusChange(job_id=spec.id, status=JobStatus.COMPLETE, at=time.time())])
        writing.dispose()

    def said(self, text: str) -> int:
        """How often a text is in its log, since it was started."""
        assert self.fleet.server is not None
        return self.fleet.server.said().count(text)


@contextmanager
def running_server(directory: Path, *, primes: Path, nodes: int, tls: bool = True) -> Iterator[Server]:
    """A new server with so many nodes enrolled; it is ended afterwards."""
    server = Server(directory, tls=tls)
    try:
        server.start()
        assert server.fleet.server is not None
        server.fleet.server.stop()
        server.enrol(primes, nodes)
        server.start()
        yield server
    finally:
        server.fleet.close()
