"""The daemons as systemd's units run them: what it hears from them, and what its signals do."""

import contextlib
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from demo.fleet import Fleet
from demo.processes import wait_until
from pushy_agent.tap import RESTART

SECONDS = 30.0
MANY = 100


class Notifications:
    """systemd's socket, for the one process that is started while it is asked for."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(SECONDS)

    @contextlib.contextmanager
    def meant(self, *, watchdog: float | None = None) -> Iterator[None]:
        with self._monkeypatch.context() as environment:
            environment.setenv("NOTIFY_SOCKET", str(self._path))
            if watchdog:
                environment.setenv("WATCHDOG_USEC", str(int(watchdog * 1e6)))
            yield

    def expect(self, said: str) -> None:
        """Wait for a message, and take it; those before it are passed over."""
        passed: list[str] = []
        while (heard := self._socket.recv(4096).decode()) != said:
            passed.append(heard)
            assert len(passed) < MANY, f"no {said}, but {passed}"

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def notifications(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notifications]:
    notifications = Notifications(tmp_path / "notify", monkeypatch)
    yield notifications
    notifications.close()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.close()


def served_certificate(fleet: Fleet) -> x509.Certificate:
    """That of a new connection to the API."""
    pem = ssl.get_server_certificate(("127.0.0.1", fleet.api_port), timeout=SECONDS)
    return x509.load_pem_x509_certificate(pem.encode())


def test_the_server_is_ready_when_it_listens_and_reads_its_certificate_again(
    fleet: Fleet, notifications: Notifications
) -> None:
    with notifications.meant(watchdog=0.9):
        server = fleet.start_server()
    notifications.expect("READY=1")
    notifications.expect("WATCHDOG=1")
    notifications.expect("WATCHDOG=1")
    before = served_certificate(fleet)

    # A server of another name makes another certificate in the same directory's stead, as an operator would put one.
    other = Fleet(fleet.directory / "other")
    other.start_server()
    other.close()
    for name in ("tls-cert.pem", "tls-key.pem"):
        (other.state / name).replace(fleet.state / name)
    os.kill(server.process.pid, signal.SIGHUP)
    notifications.expect("RELOADING=1")
    notifications.expect("READY=1")
    after = served_certificate(fleet)
    assert after != before

    (fleet.state / "tls-cert.pem").write_text("none")
    os.kill(server.process.pid, signal.SIGHUP)
    server.wait_for("The API goes on with the certificate that it has")
    assert served_certificate(fleet) == after
    assert server.stop() == 0
    notifications.expect("STOPPING=1")


def test_an_agent_restarts_when_its_job_is_over(fleet: Fleet, notifications: Notifications, tmp_path: Path) -> None:
    fleet.start_server()
    os.mkfifo(tmp_path / "fifo")
    whitelist = {"wait": f"cat {tmp_path}/fifo", "environment": "env"}
    with notifications.meant():
        agent = fleet.start_agent("node-1", whitelist)
    notifications.expect("READY=1")
    wait_until(lambda: fleet.available(["node-1"]) or None, "the agent is there")
    ended = fleet.cli("job", "start", "--capture", "environment", "node-1")
    assert "CHEF_PUSH_JOB_ID=" in ended.stdout
    assert "NOTIFY_SOCKET" not in ended.stdout

    os.kill(agent.process.pid, signal.SIGHUP)
    notifications.expect("RELOADING=1")
    notifications.expect("READY=1")

    job_id = fleet.cli("job", "start", "--nowait", "wait", "node-1").stdout.split()[-1]
    # Whoever opens it to write waits for who reads.
    with (tmp_path / "fifo").open("w") as fifo:
        for _ in range(2):
            os.kill(agent.process.pid, signal.SIGUSR2)
            agent.wait_for("The agent ends when the job that it has is over")
        assert agent.process.poll() is None
        fifo.write("done")
    assert agent.process.wait(SECONDS) == RESTART
    notifications.expect("STOPPING=1")
    job = wait_until(
        lambda: job if (job := fleet.get(f"pushy/jobs/{job_id}"))["status"] == "complete" else None, "the job's end"
    )
    assert job["nodes"] == {"succeeded": ["node-1"]}

    # One that has nothing to do goes at once.
    agent = fleet.start_agent("node-1", whitelist)
    agent.wait_for("Serving as node")
    os.kill(agent.process.pid, signal.SIGUSR2)
    assert agent.process.wait(SECONDS) == RESTART
