"""What is remembered of jobs, over the end of the process, whenever it comes."""

import os
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred

from pushy_agent import spool as module
from pushy_agent.job import Exit, Kind, Say
from pushy_agent.output import Captured
from pushy_agent.spool import InUse, Journal, Spool

T = TypeVar("T")


def at_once(work: Callable[[], T], /) -> Deferred[T]:
    """Stands for a thread."""
    return maybeDeferred(work)


def done(coroutine: Coroutine[Deferred[Any], Any, None]) -> None:
    """Have a coroutine end at once, and well."""
    results: list[object] = []
    _ = Deferred.fromCoroutine(coroutine).addBoth(results.append)
    assert results == [None]


def waiting(spool: Spool) -> list[Say]:
    return list(spool.waiting)


class Life:
    """One run of an agent after the other, over the same journal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = Journal(path)
        self.interrupted: tuple[str, ...] = ()
        self.spool = Spool(self.journal, at_once)

    def again(self) -> Spool:
        """What the next run finds; the one before has been killed."""
        self.journal.close()
        self.journal = Journal(self.path)
        self.spool = Spool(self.journal, at_once)
        self.interrupted = self.spool.open()
        return self.spool


def test_the_journal_is_not_closed_before_a_result_is_whole(tmp_path: Path) -> None:
    life = Life(tmp_path / "jobs.journal")
    spool = life.again()
    done(spool.begin("j1"))
    output: Deferred[Say] = Deferred()

    async def whole() -> Say:
        return await output

    kept, closed = (
        Deferred.fromCoroutine(work)
        for work in (spool.keep(Say(kind=Kind.SUCCEEDED, job_id="j1"), whole()), spool.close())
    )
    assert spool.is_over("j1")
    assert (spool.waiting, spool.unwritten, closed.called) == ((), ("j1",), False)
    say = Say(kind=Kind.SUCCEEDED, job_id="j1", exit=Exit(status=0))
    output.callback(say)
    assert kept.called
    assert closed.called
    assert waiting(life.again()) == [say]
    assert life.interrupted == ()
    life.journal.close()


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    life = Life(tmp_path / "state" / "jobs.journal")
    life.again()
    yield life
    life.journal.close()


def result(job_id: str, size: int = 3) -> Say:
    stdout = Captured(head=b"\xff" * size, tail=b"\0t", left_out=7)
    how = Exit(status=3, stdout=stdout, stderr=Captured(head=b""))
    return Say(kind=Kind.FAILED, job_id=job_id, reason="why", exit=how)


def test_a_result_is_there_until_it_is_dropped(life: Life) -> None:
    done(life.spool.begin("j1"))
    assert not life.spool.is_over("j1")
    done(life.spool.keep(result("j1")))
    assert waiting(life.spool) == [result("j1")]
    assert waiting(life.again()) == [result("j1")]
    assert life.spool.restored == {"j1"}
    assert list(life.interrupted) == []
    done(life.spool.drop("j1"))
    done(life.spool.drop("j1"))
    assert waiting(life.spool) == waiting(life.again()) == []
    assert life.spool.is_over("j1")


def test_a_job_that_was_running_is_known(life: Life) -> None:
    done(life.spool.begin("j1"))
    for _ in range(2):
        life.again()
        assert list(life.interrupted) == ["j1"]
    done(life.spool.keep(Say(kind=Kind.FAILED, job_id="j1", reason="agent_restarted")))
    life.again()
    assert list(life.interrupted) == []
    assert [say.reason for say in life.spool.waiting] == ["agent_restarted"]


def test_a_job_that_did_not_start_is_over(life: Life) -> None:
    done(life.spool.begin("j1"))
    done(life.spool.cancel("j1"))
    life.again()
    assert list(life.interrupted) == []
    assert life.spool.is_over("j1")
    assert waiting(life.spool) == []


def test_it_is_private_and_for_one_agent(life: Life) -> None:
    assert life.path.stat().st_mode & 0o777 == 0o600
    assert life.path.parent.stat().st_mode & 0o777 == 0o700
    with pytest.raises(InUse, match="another agent is using it"):
        Journal(life.path).open()


def test_what_was_half_written_is_left_out(life: Life) -> None:
    done(life.spool.keep(result("j1")))
    done(life.spool.keep(result("j2")))
    content = life.path.read_bytes()
    life.path.write_bytes(b"\xff\xfe\n" + content[:-30])
    assert [say.job_id for say in life.again().waiting] == ["j1"]


@settings(max_examples=30)
@given(cut=st.integers(0, 2000))
def test_any_cut_of_the_file_leaves_whole_records(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    life = Life(tmp_path_factory.mktemp("spool") / "jobs.journal")
    life.again()
    for number in range(5):
        done(life.spool.begin(f"j{number}"))
        done(life.spool.keep(result(f"j{number}")))
    life.path.write_bytes(life.path.read_bytes()[:cut])
    kept = [say.job_id for say in life.again().waiting]
    assert kept == [f"j{number}" for number in range(len(kept))]
    assert len(life.interrupted) <= 1
    life.journal.close()


def test_the_journal_does_not_grow_without_end(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GROWS_TO", 10_000)
    monkeypatch.setattr(module, "REMEMBERED", 50)
    life.again()
    for number in range(150):
        done(life.spool.begin(f"j{number}"))
        done(life.spool.keep(result(f"j{number}", 500)))
        done(life.spool.drop(f"j{number}"))
    assert life.path.stat().st_size < 20_000
    assert not life.spool.is_over("j0")
    assert life.again().is_over(f"j{149}")
    assert waiting(life.spool) == []


def test_a_server_that_acknowledges_nothing_does_not_fill_the_memory(life: Life) -> None:
    for number in range(module.MAX_WAITING + 2):
        done(life.spool.keep(result(f"j{number}")))
    assert [say.job_id for say in life.spool.waiting] == [f"j{number}" for number in range(2, module.MAX_WAITING + 2)]
    assert life.spool.is_over("j0")


def test_a_thread_that_is_slow_does_not_mix_records(life: Life) -> None:
    working: list[Deferred[None]] = []

    def slowly(work: Callable[[], T], /) -> Deferred[T]:
        turn: Deferred[None] = Deferred()
        working.append(turn)
        return turn.addCallback(lambda _: work())

    life.spool._in_thread = slowly
    _ = Deferred.fromCoroutine(life.spool.keep(result("j1")))
    _ = Deferred.fromCoroutine(life.spool.begin("j2"))
    assert life.spool.is_over("j1")
    assert waiting(life.spool) == []  # it is not safe yet
    assert len(working) == 1
    working[0].callback(None)
    assert waiting(life.spool) == [result("j1")]
    closed: list[object] = []
    _ = Deferred.fromCoroutine(life.spool.close()).addCallback(closed.append)
    assert closed == []
    working[1].callback(None)
    assert len(closed) == 1


FULL = """
import resource, signal, sys
from pathlib import Path
from twisted.internet.defer import Deferred, maybeDeferred
from pushy_agent.job import Kind, Say, Exit
from pushy_agent.output import Captured
from pushy_agent.spool import Journal, Spool

path = Path(sys.argv[1])
spool = Spool(Journal(path), maybeDeferred)
spool.open()
said = []
def run(coroutine):
    Deferred.fromCoroutine(coroutine).addBoth(said.append)
run(spool.begin("j1"))
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, resource.RLIM_INFINITY))
run(spool.begin("j2"))
big = Say(kind=Kind.SUCCEEDED, job_id="j1", exit=Exit(status=0, stdout=Captured(head=b"x" * 1000)))
run(spool.keep(big))
assert spool.waiting == (big,), spool.waiting
assert said[1].check(OSError) and said[0] is said[2] is None, said
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
run(spool.begin("j3"))
print(path.read_text(), end="")
"""


def test_a_full_disk_starts_nothing_and_loses_nothing(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "jobs.journal")],
        capture_output=True, text=True, timeout=30, check=False, env={**os.environ},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == '{"type":"started","job_id":"j1"}\n{"type":"started","job_id":"j3"}\n'
