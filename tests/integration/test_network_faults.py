"""The network between agents and the server fails at every stage of a job, in every way, for a moment and for long.

Each agent has a fault of its own, all at once in one job; a node of 2.x that is not disturbed holds up the vote where
a test wants it to. Everything is real: processes, sockets, and a proxy between them.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from demo.fleet import Fleet, free_ports
from demo.processes import wait_until
from tests.integration.jobs import start, wait_for_nodes
from tests.integration.proxy import Fault, Proxy
from tests.integration.push_client_2x import PushClient
from tests.integration.wire_2x import Wire

FAULTS = {f"{fault.name.lower()}-node": fault for fault in Fault}
NODES = sorted(FAULTS)
SERVER_ADDRESS = "127.0.0.2"
QUICK = {"heartbeat_interval": 200, "zeromq_listen_address": f"tcp://{SERVER_ADDRESS}", "rehab_timer": 200}
# Nobody is down, however long it takes.
PATIENT = {**QUICK, "down_threshold": 0.01, "decay_window": 1000}
# Who is silent for 2 to 3 s is down: 0.95 to the tenth is less than 0.6. A busy machine holds nobody up for so long.
IMPATIENT = {**QUICK, "detect_offline_nodes_interval": 1, "decay_window": 20}


class DisturbedFleet(Fleet):
    """A fleet whose agents reach the server by proxies only."""

    def __init__(self, directory: Path, settings: Mapping[str, object]) -> None:
        super().__init__(directory, settings)
        ports = [self.settings[name] for name in ("command_port", "server_heartbeat_port")]
        self._api_port_of_agents = free_ports(1)[0]
        commands, self.heartbeats = (
            Proxy(("127.0.0.1", int(str(port))), (SERVER_ADDRESS, int(str(port)))) for port in ports
        )
        api = Proxy(("127.0.0.1", self._api_port_of_agents), ("127.0.0.1", self.api_port))
        self.proxies = [commands, self.heartbeats, api]

    @property
    def url(self) -> str:
        return super().url.replace(f":{self.api_port}/", f":{self._api_port_of_agents}/")

    def close(self) -> None:
        super().close()
        for proxy in self.proxies:
            proxy.close()

    @contextlib.contextmanager
    def disturbed(self) -> Iterator[None]:
        """Each agent has its fault, but for the heartbeat channel, which is in clear, where bits are flipped."""
        agents = {self.agents[node].process.pid: fault for node, fault in FAULTS.items()}
        faults = [
            (proxy, pid, fault)
            for pid, fault in agents.items()
            for proxy in self.proxies
            if (proxy, fault) != (self.heartbeats, Fault.CORRUPT)
        ]
        for proxy, pid, fault in faults:
            proxy.begin(pid, fault)
        try:
            yield
        finally:
            for proxy, pid, _ in faults:
                proxy.end(pid)

    # What a test asks of it.

    def start_gate(self, *others: str, **more: object) -> str:
        """A job whose command runs until its gate is opened."""
        return start(self, "gate", [*NODES, *others], **more)

    def open_gate(self, job: str) -> None:
        (self.directory / f"open-{job}").touch()

    def said_by_all(self, text: str) -> None:
        for node in NODES:
            self.agents[node].wait_for(text, seconds=30)

    def runs(self, job: str) -> dict[str, list[int]]:
        """The process ids of the commands of a job, by node."""
        files = {node: self.directory / f"runs-{job}-{node}" for node in NODES}
        return {node: [int(pid) for pid in file.read_text().split()] for node, file in files.items() if file.exists()}

    def back_to_work(self) -> None:
        """Every agent becomes available, and does what it is asked for."""
        wait_until(lambda: self.available(NODES) or None, "all agents available", seconds=60)
        wait_for_nodes(self, start(self, "say", NODES), {"succeeded": NODES})


@contextlib.contextmanager
def running(directory: Path, settings: Mapping[str, object]) -> Iterator[DisturbedFleet]:
    fleet = DisturbedFleet(directory, settings)
    gate = (
        f"sh -c 'echo $$ >>{directory}/runs-$CHEF_PUSH_JOB_ID-$CHEF_PUSH_NODE_NAME; "
        f"until [ -e {directory}/open-$CHEF_PUSH_JOB_ID ]; do sleep 0.1; done'"
    )
    try:
        fleet.start_server()
        for node in NODES:
            fleet.start_agent(node, {"gate": gate, "say": "echo here"})
        wait_until(lambda: fleet.available(NODES) or None, "all agents available", seconds=60)
        yield fleet
    finally:
        fleet.close()


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DisturbedFleet]:
    with running(tmp_path_factory.mktemp("patient"), PATIENT) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DisturbedFleet]:
    with running(tmp_path_factory.mktemp("impatient"), IMPATIENT) as fleet:
        yield fleet


@contextlib.contextmanager
def voter(fleet: Fleet) -> Iterator[PushClient]:
    """A node of 2.x whose vote the test has in its hand."""
    with contextlib.closing(Wire(fleet)) as wire:
        yield wire.joined()


def vote(voter: PushClient, job: str) -> None:
    """Have it vote for the job, and do its part, which begins when that of all others does."""
    voter.say("ack_commit", job)
    voter.expect("run")
    voter.say("ack_run", job)
    voter.say("succeeded", job)


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        os.kill(pid, 0)
        return True
    return False


def commands(fleet: DisturbedFleet, job: str) -> list[int]:
    """The process ids of all commands of a job."""
    return [pid for pids in fleet.runs(job).values() for pid in pids]


def ended(fleet: DisturbedFleet, job: str, statuses: Mapping[str, Sequence[str]]) -> None:
    """The nodes of the job end so, and no command ran twice or runs."""
    wait_for_nodes(fleet, job, statuses, seconds=60)
    fleet.back_to_work()
    assert fleet.get(f"pushy/jobs/{job}")["nodes"] == statuses
    for node, pids in fleet.runs(job).items():
        assert len(pids) == 1, node
    wait_until(lambda: not any(map(is_alive, commands(fleet, job))) or None, "the end of all that ran")


# For a moment: whatever was lost is said again, and every command runs, once.


def test_a_moment_in_the_vote(patient: DisturbedFleet) -> None:
    with patient.disturbed():
        job = patient.start_gate()
    patient.open_gate(job)
    ended(patient, job, {"succeeded": NODES})
    assert sorted(patient.runs(job)) == NODES


def test_a_moment_between_the_vote_and_the_run(patient: DisturbedFleet) -> None:
    with voter(patient) as other:
        job = patient.start_gate(other.name)
        other.expect("commit")
        wait_for_nodes(patient, job, {"ready": NODES, "new": [other.name]})
        with patient.disturbed():
            vote(other, job)
        patient.open_gate(job)
        ended(patient, job, {"succeeded": sorted([*NODES, other.name])})
    assert sorted(patient.runs(job)) == NODES


def test_a_moment_in_the_run(patient: DisturbedFleet) -> None:
    job = patient.start_gate()
    wait_for_nodes(patient, job, {"running": NODES})
    with patient.disturbed():
        for node in set(NODES) - {"corrupt-node"}:
            patient.agents[node].wait_for("heartbeat is silent", seconds=30)
    patient.open_gate(job)
    ended(patient, job, {"succeeded": NODES})


def test_a_moment_at_the_end(patient: DisturbedFleet) -> None:
    job = patient.start_gate()
    wait_for_nodes(patient, job, {"running": NODES})
    with patient.disturbed():
        patient.open_gate(job)
        patient.said_by_all(f"Job {job}: succeeded")
    ended(patient, job, {"succeeded": NODES})


# For long: the server gives the nodes up, and what they still do is ended when they are back.


def test_long_in_the_vote(impatient: DisturbedFleet) -> None:
    with impatient.disturbed():
        job = impatient.start_gate()
        wait_for_nodes(impatient, job, {"unavailable": NODES}, seconds=60)
    ended(impatient, job, {"unavailable": NODES})
    assert impatient.get(f"pushy/jobs/{job}")["status"] == "quorum_failed"


def test_long_between_the_vote_and_the_run(impatient: DisturbedFleet) -> None:
    with voter(impatient) as other:
        job = impatient.start_gate(other.name)
        other.expect("commit")
        wait_for_nodes(impatient, job, {"ready": NODES, "new": [other.name]})
        statuses = {"crashed": NODES, "succeeded": [other.name]}
        with impatient.disturbed():
            vote(other, job)
            wait_for_nodes(impatient, job, statuses, seconds=60)
        ended(impatient, job, statuses)


def test_long_in_the_run(impatient: DisturbedFleet) -> None:
    job = impatient.start_gate()
    wait_for_nodes(impatient, job, {"running": NODES})
    with impatient.disturbed():
        wait_for_nodes(impatient, job, {"crashed": NODES}, seconds=60)
        assert all(map(is_alive, commands(impatient, job)))
    ended(impatient, job, {"crashed": NODES})
    impatient.said_by_all(f"Job {job}: aborted")


def test_long_at_the_end(impatient: DisturbedFleet) -> None:
    job = impatient.start_gate()
    wait_for_nodes(impatient, job, {"running": NODES})
    with impatient.disturbed():
        impatient.open_gate(job)
        impatient.said_by_all(f"Job {job}: succeeded")
        wait_for_nodes(impatient, job, {"crashed": NODES}, seconds=60)
    ended(impatient, job, {"crashed": NODES})
