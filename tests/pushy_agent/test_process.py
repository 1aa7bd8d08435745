"""Real processes: how they start, what is read of them, and how they end with all of their group."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, LoopingCall
from twisted.trial.unittest import TestCase

from pushy_agent import process, tree
from pushy_agent.cgroup import Group, Groups
from pushy_agent.clock import sleep
from pushy_agent.job import Exit
from pushy_agent.order import Order, look_up_user
from pushy_agent.output import CAPTURE_LIMIT, Captured
from pushy_agent.process import CannotStart, Process

ENV = {"PATH": os.environ["PATH"]}


def order(*argv: str, capture: bool = True, **more: Any) -> Order:
    return Order(**{"job_id": "j1", "argv": argv, "env": ENV, "capture": capture, **more})


def shell(script: str, **more: Any) -> Order:
    return order("/bin/sh", "-c", script, **more)


def group_members(group: int) -> list[int]:
    """Who is left of a group, without zombies."""
    every = (tree.look_at(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit())
    return [entry.pid for entry in every if entry and entry.group == group and entry.is_alive]


class DeafReactor(Clock):
    """Watches nothing."""

    def addReader(self, reader: object, /) -> None: ...
    def removeReader(self, reader: object, /) -> None: ...


def wait_for_exit(pid: int) -> None:
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class ProcessTests(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.reactor: Any = the_reactor
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)

    def start(
        self, order: Order, term_time: float = 5.0, group: Group | None = None
    ) -> "tuple[Process, Deferred[Exit]]":
        ended: Deferred[Exit] = Deferred()
        child = Process(self.reactor, order, order.env, ended.callback, group=group, term_time=term_time)
        self.addCleanup(self._is_reaped, child)
        return child, ended

    async def run_to_end(self, order: Order) -> Exit:
        return await self.start(order)[1]

    def _is_reaped(self, child: Process) -> None:
        with pytest.raises(ChildProcessError):
            os.waitpid(child.pid, os.WNOHANG)

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await sleep(self.reactor, 0.01)

    async def test_status_and_output(self) -> None:
        how = await self.run_to_end(shell("echo out; echo err >&2; exit 7"))
        assert how == Exit(status=7, stdout=Captured(head=b"out\n"), stderr=Captured(head=b"err\n"))

    async def test_signal(self) -> None:
        how = await self.run_to_end(shell("kill -KILL $$", capture=False))
        assert how == Exit(signal=signal.SIGKILL)

    async def test_without_capture_output_goes_nowhere(self) -> None:
        script = 'outputs=$(readlink /proc/$$/fd/1 /proc/$$/fd/2); echo lost; echo lost >&2; echo "$outputs" >outputs'
        how = await self.run_to_end(shell(script, capture=False, cwd=str(self.directory)))
        assert how == Exit(status=0)
        assert (self.directory / "outputs").read_text() == "/dev/null\n/dev/null\n"

    async def test_its_surroundings(self) -> None:
        script = (
            "umask; ls /proc/self/fd | tr '\\n' ' '; readlink /proc/self/fd/0; pwd; "
            "set -- $(cat /proc/$$/stat); test $5 = $$ -a $6 = $$ && echo leader; env"
        )
        how = await self.run_to_end(shell(script, cwd=str(self.directory)))
        assert how.stdout is not None
        lines = how.stdout.text().splitlines()
        # 0, 1, 2, and the directory that ls lists.
        assert lines[:4] == ["0022", "0 1 2 3 /dev/null", str(self.directory), "leader"]
        assert {line.partition("=")[0] for line in lines[4:]} <= {"PATH", "PWD", "_", "OLDPWD", "SHLVL"}

    async def test_signals_are_as_usual(self) -> None:
        # Python ignores SIGPIPE, which would make `yes | head` complain.
        how = await self.run_to_end(shell("yes | head -n 1"))
        assert how == Exit(status=0, stdout=Captured(head=b"y\n"), stderr=Captured(head=b""))

    async def test_fifty_megabytes_leave_the_reactor_time(self) -> None:
        turns: list[float] = []
        beats = LoopingCall(lambda: turns.append(time.monotonic()))
        _ = beats.start(0.02)
        how = await self.run_to_end(shell("head -c 52428800 /dev/zero; echo end; echo err >&2"))
        beats.stop()
        assert how.stdout is not None
        assert how.stdout.left_out == 52428800 + 4 - CAPTURE_LIMIT
        assert how.stdout.tail.endswith(b"\0end\n")
        assert how.stderr == Captured(head=b"err\n")
        longest = max(after - before for before, after in pairwise(turns))
        assert longest < 0.5

    async def test_closed_output(self) -> None:
        how = await self.run_to_end(shell("exec >&- 2>&-; sleep 0.2; exit 4"))
        assert how == Exit(status=4, stdout=Captured(head=b""), stderr=Captured(head=b""))

    async def test_output_held_open_by_a_grandchild_is_not_waited_for(self) -> None:
        how = await self.run_to_end(shell("echo before; sleep 30 & echo $!"))
        assert how.status == 0
        assert how.stdout is not None
        before, pid = how.stdout.text().split()
        assert before == "before"
        # It was left alone: only an abort ends the group.
        os.kill(int(pid), signal.SIGKILL)

    async def test_end_of_the_whole_group(self) -> None:
        child, ended = self.start(shell("sleep 60 & sleep 60 & (sleep 60 & sleep 60) & echo; wait"))
        await self.until(lambda: len(group_members(child.pid)) >= 5)
        child.end()
        child.end()
        how = await ended
        assert how.signal == signal.SIGTERM
        assert group_members(child.pid) == []

    async def test_what_ignores_term_is_killed(self) -> None:
        child, ended = self.start(shell("trap '' TERM; sleep 60 & echo; while :; do sleep 60; done"), term_time=0.3)
        await self.until(lambda: len(group_members(child.pid)) >= 2)
        child.end()
        assert (await ended).signal == signal.SIGKILL
        assert group_members(child.pid) == []

    async def test_a_grandchild_that_ignores_term_is_killed_too(self) -> None:
        script = f"(trap '' TERM; touch {self.directory}/ready; while :; do sleep 60; done) & wait"
        child, ended = self.start(shell(script), term_time=0.3)
        await self.until((self.directory / "ready").exists)
        child.end()
        assert (await ended).signal == signal.SIGTERM
        assert group_members(child.pid) == []

    async def test_daemons_that_left_the_session_are_ended_too(self) -> None:
        tree.become_subreaper()
        # The parent ends at once; one daemon ignores TERM, one has an environment without the job's id.
        script = (
            f"cd {self.directory}; (setsid sh -c 'trap \"\" TERM; echo $$ >a; while :; do sleep 60; done' &); "
            "(setsid env -i sh -c 'echo $$ >b; while :; do /bin/sleep 60; done' &); sleep 60"
        )
        child, ended = self.start(shell(script), term_time=0.3)
        await self.until(lambda: all(self._has_text(name) for name in "ab"))
        daemons = [int((self.directory / name).read_text()) for name in "ab"]
        # A daemon of another job that was allowed to stay is not ours to end.
        other = {"PATH": os.environ["PATH"], "CHEF_PUSH_JOB_ID": "j0"}
        stranger = subprocess.Popen(["sleep", "60"], env=other, start_new_session=True)  # noqa: ASYNC220 - it only forks
        child.end()
        await ended
        left = [entry for pid in daemons if (entry := tree.look_at(pid)) and entry.is_alive]
        assert left == []
        assert stranger.poll() is None
        stranger.kill()
        tree.reap_adopted([stranger.pid])
        stranger.wait()
        tree.reap_adopted([])
        assert [tree.look_at(pid) for pid in daemons] == [None, None]

    def _has_text(self, name: str) -> bool:
        path = self.directory / name
        return path.exists() and path.read_text().endswith("\n")

    async def test_a_small_fork_bomb(self) -> None:
        await self._bomb(None)

    async def test_a_small_fork_bomb_in_a_control_group(self) -> None:
        """Where the system lets us have one; elsewhere it is ended as above."""
        groups = Groups.find("bomb")
        group = groups.make("0" * 32) if groups is not None else None
        await self._bomb(group)
        assert group is None or group.pids() == []

    async def _bomb(self, group: Group | None) -> None:
        tree.become_subreaper()
        # Each generation forks the next in a session of its own, and ends.
        script = 'f() { echo x >>beats; [ $(wc -l <beats) -gt 2000 ] || setsid sh -c "$bomb" & }; f'
        bomb = f"sleep 0.05; {script}"
        child, ended = self.start(
            order("sh", "-c", f"{script}; sleep 60", cwd=str(self.directory), env={**ENV, "bomb": bomb}),
            group=group,
        )
        await self.until(lambda: self._has_text("beats") and (self.directory / "beats").stat().st_size > 20)
        child.end()
        await ended
        beats = (self.directory / "beats").stat().st_size
        await sleep(self.reactor, 0.3)
        assert (self.directory / "beats").stat().st_size == beats
        tree.reap_adopted([])

    async def test_what_a_lost_job_left_is_found_and_ended(self) -> None:
        env = {**ENV, **tree.job_environment("lost", "n1")}
        ignoring = ["sh", "-c", f"trap '' TERM; touch {self.directory}/ready; while :; do sleep 60; done"]
        lost = subprocess.Popen(ignoring, env=env, start_new_session=True)  # noqa: ASYNC220 - it only forks
        other = subprocess.Popen(["sleep", "60"], env={**env, "CHEF_PUSH_NODE_NAME": "n2"})  # noqa: ASYNC220
        await self.until((self.directory / "ready").exists)
        await tree.end_lost("lost", "n1", clock=self.reactor, term_time=0.2)
        assert lost.wait() == -signal.SIGKILL
        assert other.poll() is None
        other.kill()
        other.wait()
        await tree.end_lost("lost", "n1", clock=self.reactor, term_time=0.2)

    def test_what_cannot_be_killed_is_given_up(self) -> None:
        # A reactor that never tells of the exit stands for a kernel that never lets the process go.
        reactor = DeafReactor()
        ended: list[Exit] = []
        child = Process(reactor, order("sleep", "60"), ENV, ended.append)
        child.end()
        wait_for_exit(child.pid)
        reactor.advance(process.TERM_TIME)
        assert ended == []
        reactor.advance(process.TERM_TIME)
        assert [how.signal for how in ended] == [signal.SIGTERM]
        assert reactor.getDelayedCalls() == []
        self._is_reaped(child)

    async def test_end_while_the_last_output_is_awaited(self) -> None:
        child, ended = self.start(shell("sleep 60 & exit 0"))
        await self.until(lambda: child._exited)
        child.end()
        assert (await ended).status == 0
        assert group_members(child.pid) == []

    async def test_end_after_the_end(self) -> None:
        child, ended = self.start(order("true"))
        await ended
        child.end()

    async def test_ended_is_never_told_from_within_end(self) -> None:
        child, ended = self.start(order("true", capture=False))
        wait_for_exit(child.pid)  # before the reactor has seen it
        child.end()
        assert not ended.called
        await ended

    async def test_what_cannot_be_started(self) -> None:
        plain = self.directory / "plain"
        plain.write_text("not a program")
        for argv, more, reason in (
            (["/no/such"], {}, "no_such_command"),
            (["no-such-command"], {}, "no_such_command"),
            ([str(plain)], {}, "cannot_start"),
            (["true"], {"cwd": "/no/such"}, "no_such_dir"),
            (["true", "\ud800"], {}, "cannot_start"),
            (["true", "x" * 3_000_000], {}, "cannot_start"),
        ):
            with pytest.raises(CannotStart) as raised:
                Process(self.reactor, order(*argv, **more), ENV, lambda how: None)  # type: ignore[arg-type]  # a mix
            assert raised.value.reason == reason, argv

    async def test_another_user(self) -> None:
        if os.geteuid() != 0:
            identity = look_up_user(pwd.getpwuid(os.geteuid()).pw_name)
        else:
            identity = evolve(look_up_user("nobody"), groups=(4321, look_up_user("nobody").gid))
        how = await self.run_to_end(shell("id -u; id -g; id -G", identity=identity))
        assert how.stdout is not None
        uid, gid, groups = how.stdout.text().splitlines()
        assert (int(uid), int(gid)) == (identity.uid, identity.gid)
        assert {int(group) for group in groups.split()} == {identity.gid, *identity.groups}

    async def test_no_descriptor_is_left(self) -> None:
        await self.run_to_end(shell("echo x"))  # what the reactor itself opens is open now
        before = count_descriptors()
        for _ in range(20):
            await self.run_to_end(shell("echo x"))
        assert count_descriptors() == before
