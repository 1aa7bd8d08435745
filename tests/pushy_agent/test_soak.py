"""A thousand jobs through one agent, with real processes and pushyd: afterwards it is what it was before."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from demo.fleet import Fleet
from demo.processes import wait_until
from tests.integration.jobs import start

NODE = "a1"
JOBS = 1000
WARM_UP = 200
"""Jobs after which everything that is made once has been made, the allocator's arenas too."""

TOLERANCE = 1024
"""KiB. The agent remembers the ids of the last 1,000 jobs, a quarter of a KiB each, and the allocator is not exact:
some 350 in all."""

WHITELIST = {
    "plain": "true",
    "output": "echo here",
    "fails": "sh -c 'echo broken >&2; exit 7'",
    "daemon": "sh -c '(setsid sleep 0.1 &)'",
    "file": "sh -c 'test -s $CHEF_PUSH_JOB_FILE'",
}
# Ten jobs of all kinds; how each ends.
ROUND: list[tuple[str, dict[str, object], str]] = [
    ("plain", {}, "succeeded"),
    ("output", {"capture_output": True}, "succeeded"),
    ("plain", {}, "succeeded"),
    ("fails", {"capture_output": True}, "failed"),
    ("plain", {}, "succeeded"),
    ("daemon", {}, "succeeded"),
    ("not whitelisted", {}, "nacked"),
    ("plain", {"env": {"COLOUR": "blue"}}, "succeeded"),
    ("file", {"file": "raw:content"}, "succeeded"),
    ("output", {}, "succeeded"),
]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path)
    try:
        fleet.start_server()
        # The files that jobs bring along are not kept for a day, as they are by default.
        fleet.start_agent(NODE, WHITELIST, {"file_dir_expiry": 0})
        wait_until(lambda: fleet.available([NODE]) or None, "the agent available", seconds=30)
        yield fleet
    finally:
        fleet.close()


@frozen(kw_only=True)
class Size:
    """What an agent has, but for memory: threads, descriptors, and the files below its state directory."""

    threads: int
    descriptors: int
    files: tuple[str, ...]


def status(fleet: Fleet) -> dict[str, str]:
    pid = fleet.agents[NODE].process.pid
    return dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())


def memory(fleet: Fleet) -> int:
    """Resident, in KiB."""
    return int(status(fleet)["VmRSS"].split()[0])


def size(fleet: Fleet) -> Size:
    state = fleet.directory / NODE / "state"
    return Size(
        threads=int(status(fleet)["Threads"]),
        descriptors=len(list(Path(f"/proc/{fleet.agents[NODE].process.pid}/fd").iterdir())),
        files=tuple(sorted(str(path.relative_to(state)) for path in state.rglob("*"))),
    )


def has_output(found: Size) -> bool:
    return any(name.startswith("output/") for name in found.files)


def run(fleet: Fleet, count: int) -> None:
    for number in range(count):
        command, more, end = ROUND[number % len(ROUND)]
        job = start(fleet, command, [NODE], **more)
        # The feed of a job closes when the job is over.
        _ = fleet.fetch("GET", f"pushy/job_status_feed/{job}")
        assert fleet.get(f"pushy/jobs/{job}")["nodes"] == {end: [NODE]}, command


def test_a_thousand_jobs_leave_nothing_behind(fleet: Fleet) -> None:
    run(fleet, WARM_UP)
    # What follows the end of a job, as the removal of its output, is not told to anybody.
    before = wait_until(lambda: found if not has_output(found := size(fleet)) else None, "the last output removed")
    grown = [memory(fleet)]
    for _ in range(JOBS // 100):
        run(fleet, 100)
        grown.append(memory(fleet))
    wait_until(lambda: size(fleet) == before or None, f"{before} as before")
    assert grown[-1] < grown[0] + TOLERANCE, grown
