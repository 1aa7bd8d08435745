"""What ends at the moment at which it is being ended: real processes, with and without a control group for the job.

The moments are random, from a fixed seed: a race has no point at which a test could wait for it. Whoever wins, the end
is told once, nothing of the job lives on, and no zombie is left.
"""

import os
import random
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from pushy_agent import tree
from pushy_agent.cgroup import Group, Groups
from pushy_agent.clock import sleep
from pushy_agent.job import Exit
from pushy_agent.order import Order
from pushy_agent.process import Process

# Some leave their session, some stay; all live for a moment, and lose their parent at once.
ORPHANS = (
    "for i in 1 2 3 4 5 6; do"
    " (setsid sleep 0.00$i &); (sleep 0.0$i &); (setsid sh -c '(sleep 0.01 &); sleep 0.005' &);"
    " done"
)
DEAF = "trap '' TERM; "


def children() -> dict[int, tree.Entry]:
    """Our children, zombies too."""
    every = (tree.look_at(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit())
    return {entry.pid: entry for entry in every if entry is not None and entry.parent == os.getpid()}


class BySubreaper(TestCase):
    """The races, where a job's processes are known by what the kernel tells of all."""

    timeout = 120

    def setUp(self) -> None:
        self.reactor: Any = the_reactor
        tree.become_subreaper()
        self.before = set(children())
        self.random = random.Random(self.id())
        self.jobs = 0

    def group(self, job_id: str) -> Group | None:
        return None

    async def race(self, script: str, moment: float, term_time: float = 5) -> Exit:
        """How a command ended that was told to end after so many seconds, unless it had by then."""
        self.jobs += 1
        job_id = f"{self.jobs:032x}"
        env = {"PATH": os.environ["PATH"], **tree.job_environment(job_id, "n1")}
        order = Order(job_id=job_id, argv=("/bin/sh", "-c", script), env=env, capture=True)
        told: list[Exit] = []
        ended: Deferred[None] = Deferred()

        def over(how: Exit) -> None:
            told.append(how)
            if not ended.called:
                ended.callback(None)

        child = Process(self.reactor, order, env, over, group=self.group(job_id), term_time=term_time)
        await sleep(self.reactor, moment)
        was_over = bool(told)
        child.end()
        await ended
        await sleep(self.reactor, 0)
        assert len(told) == 1
        assert child.pid not in children()
        if not was_over:
            # It was ended, and not only its first process.
            left = [entry for pid, entry in children().items() if pid not in self.before and entry.is_alive]
            assert left == [], script
        return told[0]

    async def nothing_is_left(self) -> None:
        """Of jobs that ended by themselves the orphans may live a moment longer; then all are reaped."""
        while any(entry.is_alive for pid, entry in children().items() if pid not in self.before):
            await sleep(self.reactor, 0.01)
        tree.reap_adopted([])
        assert set(children()) <= self.before

    async def test_the_exit_and_the_end(self) -> None:
        for _ in range(60):
            lasts = self.random.uniform(0, 0.02)
            how = await self.race(f"sleep {lasts:.4f}", self.random.uniform(0, 0.02))
            assert (how.status, how.signal) in {(0, None), (None, signal.SIGTERM)}
        await self.nothing_is_left()

    async def test_an_exit_while_term_is_obeyed(self) -> None:
        for _ in range(20):
            lasts = self.random.uniform(0, 0.02)
            how = await self.race(f"trap 'exit 3' TERM; sleep {lasts:.4f}", self.random.uniform(0, 0.03))
            # Before the trap is set TERM ends it as it ends others.
            assert (how.status, how.signal) in {(0, None), (3, None), (None, signal.SIGTERM)}
        await self.nothing_is_left()

    async def test_the_exit_and_kill(self) -> None:
        for _ in range(20):
            moment = self.random.uniform(0.01, 0.02)
            how = await self.race(f"{DEAF}sleep {self.random.uniform(0.05, 0.1):.4f}", moment, term_time=0.05)
            assert (how.status, how.signal) in {(0, None), (None, signal.SIGTERM), (None, signal.SIGKILL)}
        await self.nothing_is_left()

    async def test_orphans_that_end_while_they_are_looked_for(self) -> None:
        for _ in range(20):
            await self.race(f"{ORPHANS}; sleep 0.02", self.random.uniform(0, 0.06))
        await self.nothing_is_left()

    async def test_orphans_that_end_while_they_are_killed(self) -> None:
        script = f"{DEAF}while :; do {ORPHANS}; sleep 0.01; done"
        for _ in range(10):
            how = await self.race(script, self.random.uniform(0.01, 0.06), term_time=0.05)
            assert how.signal in {signal.SIGTERM, signal.SIGKILL}
        await self.nothing_is_left()


class ByControlGroup(BySubreaper):
    """The same where a job has a control group; on a system that does not let us have one, as above."""

    def setUp(self) -> None:
        super().setUp()
        self.groups = Groups.find("races")
        if self.groups is not None:
            self.addCleanup(self.groups.tidy)

    def group(self, job_id: str) -> Group | None:
        return self.groups.make(job_id) if self.groups is not None else None


@contextmanager
def sleeping() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def test_whoever_is_given_the_id_of_a_process_is_not_hit() -> None:
    with sleeping() as process:
        now = tree.look_at(process.pid)
        assert now is not None
        earlier = evolve(now, started=now.started - 1)
        tree.send(signal.SIGKILL, [earlier])
        assert process.poll() is None
        tree.send(signal.SIGTERM, [earlier, now])
        assert process.wait() == -signal.SIGTERM
        # Nobody has it now.
        tree.send(signal.SIGKILL, [now])


def test_zombies_behind_one_that_is_spared_are_reaped() -> None:
    tree.become_subreaper()
    spared = subprocess.Popen(["true"])
    os.waitid(os.P_PID, spared.pid, os.WEXITED | os.WNOWAIT)
    # Another child of ours that nobody waits for, as one that we adopted.
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    tree.reap_adopted([spared.pid])
    assert tree.look_at(pid) is None
    assert spared.wait() == 0
