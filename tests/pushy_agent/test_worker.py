"""Commands obeyed, with processes that are only recorded."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from pushy_agent.job import Exit, Idle, Say
from pushy_agent.jobfile import JobFiles
from pushy_agent.locks import Held, Lock
from pushy_agent.order import Order, Refused
from pushy_agent.process import CannotStart
from pushy_agent.worker import MAX_QUEUED, Worker
from pushy_protocol.messages import Abort, Ack, Channel, Commit, Run, ServerCommand

STAMP: dict[str, Any] = {"timestamp": "", "sequence": 1}


class FakeChild:
    """A process that ends when the test says so."""

    def __init__(self, env: Mapping[str, str], ended: Callable[[Exit], None]) -> None:
        self.env = env
        self.exit = ended
        self.ends = 0

    def end(self) -> None:
        self.ends += 1


class Bench:
    """A worker, and records of all around it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "files"
        self.said: list[Say] = []
        self.children: list[FakeChild] = []
        self.online = True
        self.spawn_error: Exception | None = None
        self.checked = 0
        self.clock = Clock()
        self.lock: Path | None = None
        self.timeout: float | None = None
        self.slow: Deferred[None] | None = None
        self.begin_error: OSError | None = None
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self.over: set[str] = set()
        self.again: list[str] = []
        self.acknowledgements: list[str] = []
        self.told: list[object] = []
        self.expiry = 0.0
        self.worker = Worker(
            clock=self.clock,
            check=self._check,
            spawn=self._spawn,
            files=lambda: JobFiles(self.directory, expiry=self.expiry, now=time.time),
            memory=self,
            voice=self,
            is_online=lambda: self.online,
        )

    # Memory

    def is_over(self, job_id: str) -> bool:
        return job_id in self.over

    async def begin(self, job_id: str) -> None:
        if self.slow is not None:
            await self.slow
        if self.begin_error is not None:
            raise self.begin_error
        self.begun.append(job_id)

    async def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)

    # Voice

    def say(self, say: Say) -> None:
        self.said.append(say)
        if say.is_result and say.job_id:
            self.over.add(say.job_id)

    def say_again(self, job_id: str) -> bool:
        return job_id in self.again

    def acknowledged(self, job_id: str) -> None:
        self.acknowledgements.append(job_id)

    def stored(self, job_id: str, offsets: Mapping[Channel, int]) -> None:
        self.told.append((job_id, dict(offsets)))

    def greeted(self) -> None:
        self.told.append("greeted")

    def hurry(self, job_id: str | None) -> None:
        self.told.append(("hurry", job_id))

    async def _check(self, commit: Commit) -> Order:
        self.checked += 1
        if self.slow is not None:
            await self.slow
        if commit.command == "no":
            raise Refused("not_whitelisted", "no")
        file = b"content" if commit.file else None
        return Order(
            job_id=commit.job_id,
            argv=(commit.command,),
            env={"A": "a"},
            file=file,
            lock=self.lock,
            timeout=self.timeout,
        )

    def _spawn(self, order: Order, env: Mapping[str, str], ended: Callable[[Exit], None]) -> FakeChild:
        if self.spawn_error is not None:
            raise self.spawn_error
        self.children.append(FakeChild(env, ended))
        return self.children[-1]

    def do(self, *commands: ServerCommand) -> list[tuple[str, str | None]]:
        """What was said to these commands."""
        self.said.clear()
        for command in commands:
            self.worker.on_command(command)
        return [(say.kind.value, say.job_id) for say in self.said]


def commit(job_id: str = "j1", command: str = "yes", **fields: Any) -> Commit:
    return Commit(job_id=job_id, command=command, **fields, **STAMP)


RUN = Run(job_id="j1", **STAMP)
ABORT = Abort(**STAMP)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_job(bench: Bench) -> None:
    assert bench.do(commit(), RUN) == [("ack_commit", "j1"), ("ack_run", "j1")]
    assert bench.children[0].env == {"A": "a"}
    assert bench.do(Ack(**STAMP), Ack(job_id="j1", **STAMP), Ack(job_id="j1", offsets={}, **STAMP)) == []
    assert bench.acknowledgements == ["j1"]
    assert bench.begun == ["j1"]
    bench.children[0].exit(Exit(status=0))
    assert [say.kind for say in bench.said] == ["succeeded"]
    assert bench.worker.state == Idle()


def test_refusals_carry_their_reason(bench: Bench) -> None:
    assert bench.do(commit(command="no")) == [("nack_commit", "j1")]
    assert bench.said[0].reason == "not_whitelisted"


def test_a_busy_node_looks_nothing_up(bench: Bench) -> None:
    assert bench.do(commit(), commit("j2", "no")) == [("ack_commit", "j1"), ("nack_commit", "j2")]
    assert bench.said[1].reason == "busy"
    assert bench.checked == 1


def test_no_work_is_taken_while_the_server_is_silent(bench: Bench) -> None:
    bench.online = False
    assert bench.do(commit(), RUN, ABORT) == [("aborted", None)]
    bench.online = True
    bench.do(commit())
    bench.online = False
    assert bench.do(RUN) == []
    assert bench.children == []


def test_abort(bench: Bench) -> None:
    bench.do(commit(), RUN)
    assert bench.do(ABORT, ABORT) == []
    assert bench.children[0].ends == 1
    bench.children[0].exit(Exit(signal=15))
    assert [(say.kind.value, say.job_id) for say in bench.said] == [("aborted", "j1")]


def test_the_file_is_there_for_the_job(bench: Bench) -> None:
    bench.do(commit(file="raw:content"))
    assert not bench.directory.exists()
    bench.do(RUN)
    path = Path(bench.children[0].env["CHEF_PUSH_JOB_FILE"])
    assert path.read_bytes() == b"content"
    bench.expiry = 1000
    bench.worker.tidy()
    assert path.exists()
    bench.expiry = 0
    bench.children[0].exit(Exit(status=1))
    assert not path.exists()


def test_what_cannot_start(bench: Bench) -> None:
    bench.spawn_error = CannotStart("no_such_command", "x")
    assert bench.do(commit(file="raw:content"), RUN) == [("ack_commit", "j1"), ("nack_run", "j1")]
    assert bench.said[1].reason == "no_such_command"
    assert bench.cancelled == ["j1"]
    assert bench.worker.state == Idle()


def test_a_file_that_cannot_be_written(bench: Bench) -> None:
    bench.directory.write_text("in the way")
    assert bench.do(commit(file="raw:content"), RUN)[1] == ("nack_run", "j1")
    assert bench.said[1].reason == "bad_file"


def test_a_directory_that_cannot_be_read_does_not_hold_the_result(bench: Bench) -> None:
    bench.do(commit(), RUN)
    bench.directory.write_text("in the way")
    bench.children[0].exit(Exit(status=0))
    assert bench.said[-1].kind == "succeeded"


def test_a_start_that_cannot_be_noted_does_not_happen(bench: Bench) -> None:
    bench.begin_error = OSError(28, "No space left on device")
    assert bench.do(commit(), RUN)[1] == ("nack_run", "j1")
    assert bench.said[1].reason == "cannot_record"
    assert bench.children == []


def test_an_abort_while_the_start_is_noted(bench: Bench) -> None:
    bench.do(commit())
    bench.slow = Deferred()
    assert bench.do(RUN, ABORT) == []
    bench.slow.callback(None)
    assert [(say.kind.value, say.job_id) for say in bench.said] == [("aborted", "j1")]
    assert (bench.children, bench.cancelled) == ([], [])


def test_commands_wait_while_a_commit_is_checked(bench: Bench) -> None:
    bench.slow = Deferred()
    assert bench.do(commit(), commit("j2"), ABORT) == []
    slow, bench.slow = bench.slow, None
    slow.callback(None)
    assert [(say.kind.value, say.job_id) for say in bench.said] == [
        ("ack_commit", "j1"), ("nack_commit", "j2"), ("aborted", "j1"),
    ]  # fmt: skip


def test_not_without_bound(bench: Bench) -> None:
    bench.slow = Deferred()
    bench.do(commit(), *[ABORT] * 1000)
    slow, bench.slow = bench.slow, None
    slow.callback(None)
    assert len(bench.said) == MAX_QUEUED
    assert bench.do(commit("j2")) == [("ack_commit", "j2")]


def test_a_job_runs_once(bench: Bench) -> None:
    bench.do(commit(), RUN)
    assert bench.do(commit(), RUN) == [("ack_commit", "j1"), ("ack_run", "j1")]
    bench.children[0].exit(Exit(status=0))
    assert bench.do(commit(), RUN) == [("nack_commit", "j1"), ("nack_run", "j1")]
    assert bench.said[0].reason == "already_run"
    bench.again.append("j1")
    assert bench.do(commit(), RUN) == []
    assert len(bench.children) == 1


def test_lock(bench: Bench, tmp_path: Path) -> None:
    bench.lock = tmp_path / "lock"
    assert bench.do(commit()) == [("ack_commit", "j1")]
    with pytest.raises(Held):
        Lock(bench.lock)
    assert bench.do(ABORT) == [("aborted", "j1")]
    other = Lock(bench.lock)
    assert bench.do(commit("j2")) == [("nack_commit", "j2")]
    assert bench.said[0].reason == "locked"
    other.release()
    assert bench.do(commit("j3"), Run(job_id="j3", **STAMP)) == [("ack_commit", "j3"), ("ack_run", "j3")]
    with pytest.raises(Held):
        Lock(bench.lock)
    bench.children[0].exit(Exit(status=0))
    Lock(bench.lock).release()
    bench.lock = tmp_path / "none" / "lock"
    bench.do(commit("j4"))
    assert bench.said[0].reason == "cannot_lock"


def test_a_link_is_no_lock(bench: Bench, tmp_path: Path) -> None:
    bench.lock = tmp_path / "lock"
    bench.lock.symlink_to(tmp_path / "target")
    bench.do(commit())
    assert bench.said[0].reason == "cannot_lock"
    assert not (tmp_path / "target").exists()


def test_time_limit(bench: Bench) -> None:
    bench.timeout = 5
    bench.do(commit(), RUN)
    bench.clock.advance(5)
    assert bench.children[0].ends == 1
    bench.children[0].exit(Exit(signal=15))
    assert (bench.said[-1].kind, bench.said[-1].reason) == ("failed", "timed_out")
    bench.do(commit("j2"), Run(job_id="j2", **STAMP))
    bench.children[1].exit(Exit(status=0))
    assert bench.clock.getDelayedCalls() == []


def test_stop_lets_a_job_end_in_time(bench: Bench) -> None:
    for number, in_time in enumerate((True, False)):
        again = Bench(bench.directory / str(number))
        again.do(commit(), RUN)
        stopped = Deferred.fromCoroutine(again.worker.stop(5))
        assert again.do(commit("j2")) == [("nack_commit", "j2")]
        again.clock.advance(4 if in_time else 5)
        assert again.children[0].ends == (0 if in_time else 1)
        again.children[0].exit(Exit(status=0))
        assert stopped.called
        assert again.said[-1].kind == ("succeeded" if in_time else "failed")
        assert again.clock.getDelayedCalls() == []


def test_a_commit_that_is_being_checked_when_the_agent_stops(bench: Bench) -> None:
    bench.slow = Deferred()
    bench.do(commit())
    assert Deferred.fromCoroutine(bench.worker.stop()).called
    bench.slow.callback(None)
    assert [(say.kind.value, say.reason) for say in bench.said] == [("nack_commit", "agent_stopping")]


def test_stop_when_idle_is_at_once_and_for_good(bench: Bench) -> None:
    stopped = Deferred.fromCoroutine(bench.worker.stop())
    assert stopped.called
    assert bench.do(commit(), RUN) == [("nack_commit", "j1"), ("nack_run", "j1")]


def test_stop_waits_for_the_command(bench: Bench) -> None:
    bench.do(commit(), RUN)
    stopped: list[None] = []
    _ = Deferred.fromCoroutine(bench.worker.stop()).addCallback(stopped.append)
    assert stopped == []
    assert bench.children[0].ends == 1
    bench.children[0].exit(Exit(signal=15))
    assert stopped == [None]
    assert (bench.said[-1].kind, bench.said[-1].reason) == ("failed", "agent_stopped")
