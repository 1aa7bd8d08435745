"""Commands obeyed, with processes that are only recorded."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from pushy_agent.job import Exit, Idle, Say
from pushy_agent.jobfile import JobFiles
from pushy_agent.order import Order, Refused
from pushy_agent.process import CannotStart
from pushy_agent.worker import Worker
from pushy_protocol.messages import Abort, Ack, Commit, Run, ServerCommand

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
        self.worker = Worker(
            check=self._check,
            spawn=self._spawn,
            files=JobFiles(self.directory),
            say=self.said.append,
            is_online=lambda: self.online,
        )

    def _check(self, commit: Commit) -> Order:
        self.checked += 1
        if commit.command == "no":
            raise Refused("not_whitelisted", "no")
        file = b"content" if commit.file else None
        return Order(job_id=commit.job_id, argv=(commit.command,), env={"A": "a"}, file=file)

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
    assert bench.do(Ack(**STAMP), Ack(job_id="j1", **STAMP)) == []
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


def test_the_file_lives_as_long_as_the_job(bench: Bench) -> None:
    bench.do(commit(file="raw:content"))
    assert not bench.directory.exists()
    bench.do(RUN)
    path = Path(bench.children[0].env["CHEF_PUSH_JOB_FILE"])
    assert path.read_bytes() == b"content"
    bench.children[0].exit(Exit(status=1))
    assert not path.exists()


def test_what_cannot_start(bench: Bench) -> None:
    bench.spawn_error = CannotStart("no_such_command", "x")
    assert bench.do(commit(file="raw:content"), RUN) == [("ack_commit", "j1"), ("nack_run", "j1")]
    assert bench.said[1].reason == "no_such_command"
    assert list(bench.directory.iterdir()) == []
    assert bench.worker.state == Idle()


def test_a_file_that_cannot_be_written(bench: Bench) -> None:
    bench.directory.write_text("in the way")
    assert bench.do(commit(file="raw:content"), RUN)[1] == ("nack_run", "j1")
    assert bench.said[1].reason == "bad_file"


def test_a_file_that_cannot_be_removed_does_not_hold_the_result(bench: Bench) -> None:
    bench.do(commit(file="raw:content"), RUN)
    path = Path(bench.children[0].env["CHEF_PUSH_JOB_FILE"])
    path.unlink()
    path.mkdir()
    bench.children[0].exit(Exit(status=0))
    assert bench.said[-1].kind == "succeeded"


def test_stop_when_idle_is_at_once_and_for_good(bench: Bench) -> None:
    stopped = Deferred.fromCoroutine(bench.worker.stop())
    assert stopped.called
    assert bench.do(commit(), RUN, ABORT) == []


def test_stop_waits_for_the_command(bench: Bench) -> None:
    bench.do(commit(), RUN)
    stopped: list[None] = []
    _ = Deferred.fromCoroutine(bench.worker.stop()).addCallback(stopped.append)
    assert stopped == []
    assert bench.children[0].ends == 1
    bench.children[0].exit(Exit(signal=15))
    assert stopped == [None]
    assert (bench.said[-1].kind, bench.said[-1].reason) == ("failed", "agent_stopped")
