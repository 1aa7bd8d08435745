"""pushyd is killed again and again, at random moments under jobs, and nothing that it had said is lost.

Every process is real. Callers go on all the while: they start jobs, look at them, and try again while the server is
away. What a server said and had stored when it was killed is noted, and must hold ever after.
"""

import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from demo.fleet import Fleet
from demo.processes import Twistd, wait_until
from pushy_protocol.states import TERMINAL_JOB_STATUSES, TERMINAL_NODE_STATUSES
from pushyd.config import load
from pushyd.store.direct import DirectStore
from pushyd.store.jobs import read_feed
from tests.integration.conftest import NewFleet

KILLS = 50
NODES = ["k1", "k2", "k3", "k4"]
WHITELIST = {"ok": "echo 7", "nap": "sh -c 'sleep 1.5; echo 7'", "fail": "sh -c 'echo 7; exit 3'"}
# Two heartbeats of the server bring an agent back that took it for gone.
SETTINGS = {"heartbeat_interval": 200, "voting_timeout": 5}
RUN_TIMEOUT = 8
PATIENCE = 50.0
"""Seconds after the last start in which every job must end; nodes that stay away are given up after 30."""

AWAY = (OSError, HTTPException, ValueError)
"""What a request meets while the server is away or dies; a ValueError is an answer that was cut off."""


class Callers:
    """Who start jobs and look at them, in threads; what they were told.

    `generation` is the number of kills so far: two answers within one are of one server.
    """

    def __init__(self, fleet: Fleet, seed: int) -> None:
        self.fleet = fleet
        self.random = random.Random(seed)
        self.generation = 0
        self.stopped = threading.Event()
        self.started: dict[str, tuple[str, ...]] = {}
        """The jobs that were answered with 201, and their nodes."""
        self.stored: dict[str, dict[str, str]] = {}
        """By job, the ends of nodes that the server had stored when it told them."""
        self.ended: dict[str, str] = {}
        """By job, its end that the server had stored when it told it."""
        self.broken: list[str] = []
        """The promises that were broken."""

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Call all the while."""
        threads = [threading.Thread(target=self._go_on, args=(what,)) for what in (self.start, self.look)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stopped.set()
            for thread in threads:
                thread.join()

    def start(self) -> None:
        """Start a job on some of the nodes, as soon as one is available."""
        states = self.fleet.request("GET", "pushy/node_states")[1]
        available = [state["node_name"] for state in states if state["availability"] == "available"]
        if not available:
            self.stopped.wait(0.05)
            return
        nodes = self.random.sample(available, self.random.randint(1, len(available)))
        if self.random.random() < 0.1:
            nodes = NODES
        job = {
            "command": self.random.choice(list(WHITELIST)),
            "nodes": nodes,
            "quorum": 1,
            "run_timeout": RUN_TIMEOUT,
            "capture_output": True,
        }
        status, answer = self.fleet.request("POST", "pushy/jobs", json.dumps(job).encode())
        if status == 201:
            self.started[answer["uri"].rpartition("/")[2]] = tuple(nodes)
        elif status != 503:
            self.broken.append(f"a job was answered with {status} {answer}")

    def look(self) -> None:
        """Look at a job, most likely a young one, and note what of it is stored."""
        if not self.started:
            return
        ids = list(self.started)
        job_id = ids[-min(len(ids), 1 + int(self.random.expovariate(0.1)))]
        generation = self.generation
        status, job = self.fleet.request("GET", f"pushy/jobs/{job_id}")
        if status == 503:
            return
        self.check(job_id, status, job)
        # The list is answered once all that has happened so far is stored.
        if self.fleet.request("GET", "pushy/jobs?limit=1")[0] == 200 and generation == self.generation:
            self.note(job_id, job)

    def check(self, job_id: str, status: int, job: Any) -> None:
        """What is told of a job now agrees with all that was stored before."""
        if status != 200:
            self.broken.append(f"job {job_id} is lost: {status} {job}")
            return
        if tuple(sorted(self.started[job_id])) != tuple(sorted(by_node(job))):
            self.broken.append(f"job {job_id} has nodes {by_node(job)}, not {self.started[job_id]}")
        for node, end in self.stored.get(job_id, {}).items():
            if by_node(job).get(node) != end:
                self.broken.append(f"{node} in job {job_id} was {end}, and is {by_node(job).get(node)}")
        if job["status"] != self.ended.get(job_id, job["status"]):
            self.broken.append(f"job {job_id} was {self.ended[job_id]}, and is {job['status']}")

    def note(self, job_id: str, job: Any) -> None:
        """This of a job was stored."""
        ends = {node: status for node, status in by_node(job).items() if status in TERMINAL_NODE_STATUSES}
        self.stored.setdefault(job_id, {}).update(ends)
        if job["status"] in TERMINAL_JOB_STATUSES:
            self.ended[job_id] = job["status"]

    def _go_on(self, what: Any) -> None:
        while not self.stopped.is_set():
            try:
                what()
            except AWAY:
                self.stopped.wait(0.05)  # before it is tried again


def by_node(job: Any) -> dict[str, str]:
    return {node: status for status, nodes in job["nodes"].items() for node in nodes}


def spawn(fleet: Fleet) -> Twistd:
    """Start the server, and wait for nothing."""
    fleet.server = Twistd("pushyd", ["--config", str(fleet.server_config)], log=fleet.directory / "pushyd.log")
    return fleet.server


def kill_again_and_again(fleet: Fleet, callers: Callers, chance: random.Random) -> int:
    """Let the server be killed in its start or a little later; how often it had jobs that had not ended."""
    under_jobs = 0
    for _ in range(KILLS):
        assert fleet.server
        if chance.random() < 0.85:
            fleet.server.wait_for("pushyd is ready")
            time.sleep(chance.uniform(0.2, 1.1))
            under_jobs += len(callers.ended) < len(callers.started)
        else:
            time.sleep(chance.uniform(0, 1))
        callers.generation += 1
        fleet.server.kill()
        spawn(fleet)
    return under_jobs


@pytest.fixture
def seed() -> int:
    """Of all that is chosen here; a failure tells it, and ``PUSHY_SEED`` sets it."""
    return int(os.environ.get("PUSHY_SEED") or random.SystemRandom().randrange(2**32))


@pytest.fixture
def fleet(new_fleet: NewFleet, tmp_path: Path) -> Iterator[Fleet]:
    with new_fleet(tmp_path / "fleet", SETTINGS) as fleet:
        fleet.start_server()
        for node in NODES:
            fleet.start_agent(node, WHITELIST)
        wait_until(lambda: fleet.available(NODES) or None, "all agents available", seconds=30)
        yield fleet


def test_no_job_and_no_stored_result_is_lost(fleet: Fleet, seed: int) -> None:
    callers = Callers(fleet, seed)
    with callers.calling():
        under_jobs = kill_again_and_again(fleet, callers, random.Random(seed + 1))
    assert fleet.server
    fleet.server.wait_for("pushyd is ready")
    jobs = wait_for_ends(fleet, callers)
    check_outputs(fleet, callers)
    assert fleet.server.stop() == 0
    broken = [*callers.broken, *wrong_feeds(fleet, jobs)]
    ends = Counter(status for job in jobs.values() for status in by_node(job).values())
    assert not broken, f"seed {seed}: {broken[:20]}"
    # That there was something to lose.
    assert under_jobs > KILLS / 5, f"seed {seed}: {under_jobs}"
    assert ends["succeeded"] > KILLS / 10, f"seed {seed}: {ends}"


def wait_for_ends(fleet: Fleet, callers: Callers) -> dict[str, Any]:
    """Every job that was started, once it has ended; each is found, and agrees with what was stored of it."""
    jobs: dict[str, Any] = {}

    def all_ended() -> bool | None:
        for job_id in callers.started.keys() - jobs.keys():
            status, job = fleet.request("GET", f"pushy/jobs/{job_id}")
            callers.check(job_id, status, job)
            if status != 200 or job["status"] in TERMINAL_JOB_STATUSES:
                jobs[job_id] = job
        return len(jobs) == len(callers.started) or None

    wait_until(all_ended, "the end of every job", seconds=PATIENCE)
    return {job_id: job for job_id, job in jobs.items() if "status" in job}


def check_outputs(fleet: Fleet, callers: Callers) -> None:
    """What the commands wrote was stored with their results."""
    for job_id, ends in callers.stored.items():
        for node, end in ends.items():
            if end in {"succeeded", "failed"}:
                answer = fleet.request("GET", f"pushy/jobs/{job_id}/output/{node}/stdout")
                if answer != (200, 7):
                    callers.broken.append(f"the output of {node} in job {job_id}, {end}, is {answer}")


def wrong_feeds(fleet: Fleet, jobs: dict[str, Any]) -> list[str]:
    """What is wrong with the feeds that are in the database: each tells all that became of its job, once."""
    wrong = []
    with closing(DirectStore(load(fleet.server_config, {}).database)) as store:
        texts = {job_id: store.read(read_feed, job_id) for job_id in jobs}
    for job_id, job in jobs.items():
        blocks = [block.splitlines() for block in texts[job_id].decode().split("\n\n") if block]
        names = [name.removeprefix("event: ") for name, _, _ in blocks]
        ids = [event_id for _, event_id, _ in blocks]
        data = [json.loads(line.removeprefix("data: ")) for _, _, line in blocks]
        times = [event["timestamp"] for event in data]
        succeeded = [
            event["node"]
            for name, event in zip(names, data, strict=True)
            if name == "run_complete" and event["status"] == "success"
        ]
        expected = sorted(node for node, status in by_node(job).items() if status == "succeeded")
        once = names.count("start") == names.count("job_complete") == 1 and len(set(ids)) == len(ids)
        in_order = names[:1] == ["start"] and names[-1:] == ["job_complete"] and times == sorted(set(times))
        if not once or not in_order or sorted(succeeded) != expected or data[-1]["status"] != job["status"]:
            wrong.append(f"the feed of job {job_id} ({job['status']}, {job['nodes']}) is {blocks}")
    return wrong
