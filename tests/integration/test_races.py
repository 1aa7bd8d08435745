"""A command ends at the moment at which the server, its own time limit or the end of the agent is about to end it.

Real processes. The moments are random, from a fixed seed: a race has no point at which a test could wait for it. Server
and agent then agree on how the job ended, nothing lives of one that was ended, and no zombie stays with the agent.
"""

import os
import random
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from demo.fleet import Fleet
from demo.processes import wait_until
from pushy_agent import tree
from tests.integration.conftest import NewFleet
from tests.integration.jobs import reason, start

NODE = "a1"
# However long an agent takes to start again, its node is not down until then.
PATIENT = {"down_threshold": 0.01, "decay_window": 1000, "rehab_timer": 100}
# All lose their parent at once. Some live for a moment; two for long, one of them without the environment of the job.
DAEMONS = (
    "for i in 1 2 3 4; do (setsid sleep 0.0$i &); (sleep 0.0$i &); done; "
    "(setsid sleep 600 &); (setsid env -i THIS_TEST_KNOWS_IT_BY=$CHEF_PUSH_JOB_ID sleep 600 &); "
)
WHITELIST = f"""
[daemons]
shell = true
command = '{DAEMONS} sleep "$TIME"'

[limited]
shell = true
timeout = 0.2
command = '{DAEMONS} sleep "$TIME"'
"""


@pytest.fixture(scope="module")
def fleet(new_fleet: NewFleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with new_fleet(tmp_path_factory.mktemp("fleet"), PATIENT) as fleet:
        fleet.start_server()
        more = fleet.directory / NODE / "whitelist.d"
        more.mkdir(parents=True)
        (more / "races.toml").write_text(WHITELIST)
        start_agent(fleet)
        yield fleet


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(request.node.name)


def start_agent(fleet: Fleet) -> None:
    fleet.start_agent(NODE, {}).wait_for("the node is connected")
    wait_until(lambda: fleet.available([NODE]) or None, "the agent available", seconds=30)


def start_job(fleet: Fleet, command: str, lasts: float, **more: object) -> str:
    return start(fleet, command, [NODE], env={"TIME": f"{lasts:.4f}"}, **more)


def ended(fleet: Fleet, job: str) -> str:
    """How the job ended on its node, as soon as it has."""

    def status() -> str | None:
        shown = fleet.get(f"pushy/jobs/{job}")
        return next(iter(shown["nodes"])) if shown["status"] not in {"new", "voting", "running"} else None

    return wait_until(status, f"the end of {job}", seconds=30)


def said(fleet: Fleet, job: str) -> str:
    """How it ended, as the agent's log has it: by the first word, for an abort of what is over is answered too."""
    found = re.search(rf"Job {job}:? (succeeded|failed|aborted)", fleet.agents[NODE].log.read_text())
    return found[1] if found else ""


def everybody() -> list[tree.Entry]:
    looked_at = [tree.look_at(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [entry for entry in looked_at if entry is not None]


def left_of(job: str) -> list[int]:
    """The processes of the job that live on."""
    found = []
    for entry in everybody():
        with suppress(OSError):  # it has ended
            if job.encode() in Path(f"/proc/{entry.pid}/environ").read_bytes():
                found.append(entry.pid)
    return found


def let_go(job: str) -> None:
    """End what a job was allowed to leave behind."""
    for pid in left_of(job):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def children(fleet: Fleet) -> list[tree.Entry]:
    """The agent's, zombies too."""
    return [entry for entry in everybody() if entry.parent == fleet.agents[NODE].process.pid]


def nothing_is_left(fleet: Fleet) -> None:
    # Of what has ended since the last job did, the agent is told by nobody: it looks every few seconds.
    wait_until(lambda: not children(fleet) or None, "no child, dead or alive, with the agent")
    wait_until(lambda: fleet.available([NODE]) or None, "the agent available", seconds=30)


def test_the_exit_and_an_abort(fleet: Fleet, chance: random.Random) -> None:
    for _ in range(20):
        job = start_job(fleet, "daemons", chance.uniform(0, 0.2))
        time.sleep(chance.uniform(0, 0.25))
        fleet.request("POST", f"pushy/jobs/{job}/abort")  # refused, where it is over
        how = ended(fleet, job)
        assert how in {"succeeded", "aborted"}
        # An abort that comes before the commit, or after the run, has nothing to end.
        assert said(fleet, job) in ({"succeeded"} if how == "succeeded" else {"aborted", ""})
        if how == "aborted":
            assert left_of(job) == []
        let_go(job)
    nothing_is_left(fleet)


def test_the_exit_and_the_time_limit_of_the_node(fleet: Fleet, chance: random.Random) -> None:
    for _ in range(20):
        job = start_job(fleet, "limited", chance.uniform(0.1, 0.25))
        how = ended(fleet, job)
        assert how in {"succeeded", "failed"}
        assert said(fleet, job) == how
        if how == "failed":
            assert reason(fleet, job, NODE) == "timed_out"
            assert left_of(job) == []
        let_go(job)
    nothing_is_left(fleet)


def test_the_exit_and_the_time_limit_of_the_job(fleet: Fleet, chance: random.Random) -> None:
    for _ in range(20):
        job = start_job(fleet, "daemons", chance.uniform(0, 0.4), run_timeout=0.2)
        how = ended(fleet, job)
        assert how in {"succeeded", "timed_out"}
        # Of one that has timed out the server wants to hear no more; the agent is told to end what it has.
        assert how == "timed_out" or said(fleet, job) == how
        wait_until(lambda: fleet.available([NODE]) or None, "the node has left rehab")
        if said(fleet, job) == "aborted":
            assert left_of(job) == []
        let_go(job)
    nothing_is_left(fleet)


def test_the_exit_and_the_end_of_the_agent(fleet: Fleet, chance: random.Random) -> None:
    for _ in range(6):
        job = start_job(fleet, "daemons", 0.1)
        agent = fleet.agents[NODE]
        agent.wait_for(f"Job {job} runs")
        time.sleep(chance.uniform(0, 0.15))
        agent.stop()
        start_agent(fleet)
        how = ended(fleet, job)
        assert how in {"succeeded", "failed"}
        assert said(fleet, job) == how
        if how == "failed":
            assert reason(fleet, job, NODE) == "agent_stopped"
            assert left_of(job) == []
        let_go(job)
    nothing_is_left(fleet)
