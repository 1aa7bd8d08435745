"""The processes of a job, also those that have left its session: found by /proc, ended, and reaped.

The agent makes itself the *subreaper* of all that it starts: a process whose parent is gone becomes its child and not
init's, so that a daemon can leave its session but never the agent's descendants. A job runs alone, so whatever
became the agent's child since the job began belongs to it, unless it carries the id of another job in its environment
(a daemon that an earlier job was allowed to leave behind). When the agent itself was killed, that environment is what
its successor knows the processes of a lost job by.

The kernel has no call for any of this, so all processes are looked at: some milliseconds, and only while a job is
being ended.
"""

import ctypes
import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from attrs import frozen
from twisted.logger import Logger

from pushy_agent.clock import Clock, sleep

CHECK_EVERY = 0.1
"""Seconds from one look at the processes to the next, while they are being ended."""

_PROC = Path("/proc")
_PR_SET_CHILD_SUBREAPER = 36
_JOB = b"CHEF_PUSH_JOB_ID="
_NODE = b"CHEF_PUSH_NODE_NAME="

_log = Logger()


@frozen(kw_only=True)
class Entry:
    """A process; `started` in clock ticks since the system's boot."""

    pid: int
    state: bytes
    parent: int
    group: int
    session: int
    started: int

    @property
    def is_alive(self) -> bool:
        """Whether it is more than a zombie."""
        return self.state not in {b"Z", b"X"}

    def is_same(self, other: "Entry | None") -> bool:
        """Whether the other look was at this process too, and not at one that was given its id since.

        Ids are given out in turn: none comes round within the one tick in which both might have started.
        """
        return other is not None and (self.pid, self.started) == (other.pid, other.started)


def become_subreaper() -> None:
    """Have orphans among our descendants become our children.

    :raise OSError: the system has no such thing.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def reap_adopted(own: Iterable[int]) -> None:
    """Reap the zombies that we inherited; not those in `own`, which are somebody's here."""
    spared = set(own)
    with suppress(ChildProcessError):
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ended.si_pid in spared:
                _reap_hidden(spared)
                return
            os.waitpid(ended.si_pid, os.WNOHANG)


def _reap_hidden(spared: set[int]) -> None:
    """Reap those that the kernel does not show: it always begins with the oldest, which is one to be spared."""
    ours = os.getpid()
    for entry in _processes():
        if entry.parent == ours and entry.state == b"Z" and entry.pid not in spared:
            with suppress(ChildProcessError):
                os.waitpid(entry.pid, os.WNOHANG)


def look_at(pid: int) -> Entry | None:
    """A process as it is now, None where there is none."""
    try:
        # The name, in parentheses, may contain anything.
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
        state, parent, group, session = fields[:4]
        return Entry(
            pid=pid,
            state=state,
            parent=int(parent),
            group=int(group),
            session=int(session),
            started=int(fields[19]),
        )
    except (OSError, ValueError, IndexError):  # it ended meanwhile
        return None


def members(leader: int, began: int, job_id: str) -> list[Entry]:
    """The living processes of the job that is running: of its leader's group and session, and all that came of it.

    :param leader: the job's first process, a child of ours that may be a zombie
    :param began: when it started, in clock ticks since the system's boot
    """
    table = {entry.pid: entry for entry in _processes()}
    ours = os.getpid()
    verdicts = {leader: True, ours: False}

    def belongs(entry: Entry) -> bool:
        if entry.pid not in verdicts:
            verdicts[entry.pid] = False  # should the parents ever turn in a circle, as pids are used again
            if leader in {entry.group, entry.session}:
                verdict = True
            elif entry.parent == ours:
                verdict = entry.started >= began and _job_of(entry.pid) in {job_id.encode(), None}
            else:
                parent = table.get(entry.parent)
                verdict = parent is not None and belongs(parent)
            verdicts[entry.pid] = verdict
        return verdicts[entry.pid]

    return [entry for entry in table.values() if belongs(entry) and entry.is_alive]


async def end_lost(job_id: str, node: str, *, clock: Clock, term_time: float) -> None:
    """End what is left of a job whose agent was killed: TERM, and KILL after `term_time` seconds.

    Known by their environment; a process that has cleared it is not found.
    """
    tries = max(1, round(term_time / CHECK_EVERY))
    for number in (signal.SIGTERM, signal.SIGKILL):
        left = _bearers(job_id, node)
        if not left:
            return
        _log.warn(
            "Job {job_id} has lost its agent; its processes {left} are ended",
            job_id=job_id,
            left=[entry.pid for entry in left],
        )
        send(number, left)
        for _ in range(tries):
            await sleep(clock, CHECK_EVERY)
            left = _bearers(job_id, node)
            if number is signal.SIGKILL:
                send(number, left)
            if not left:
                return
    _log.error(
        "Processes {left} of job {job_id} cannot be killed; they are left",
        job_id=job_id,
        left=[entry.pid for entry in left],
    )


def send(number: int, processes: Iterable[Entry]) -> None:
    """Send a signal to processes that were looked at; those that are gone, or not ours to end, are passed over.

    So is a stranger that has been given the id of one that is gone: a descriptor stays with the process that it was
    opened for, and what that is, is looked at once more.
    """
    for entry in processes:
        with suppress(OSError):
            descriptor = os.pidfd_open(entry.pid)
            try:
                if entry.is_same(look_at(entry.pid)):
                    signal.pidfd_send_signal(descriptor, number)
            finally:
                os.close(descriptor)


def _processes() -> Iterator[Entry]:
    for process in _PROC.iterdir():
        if process.name.isdigit() and (entry := look_at(int(process.name))):
            yield entry


def _bearers(job_id: str, node: str) -> list[Entry]:
    wanted = {_JOB + job_id.encode(), _NODE + node.encode()}
    return [
        entry
        for entry in _processes()
        if entry.is_alive and entry.pid != os.getpid() and wanted <= set(_environment(entry.pid))
    ]


def _job_of(pid: int) -> bytes | None:
    return next((line.removeprefix(_JOB) for line in _environment(pid) if line.startswith(_JOB)), None)


def _environment(pid: int) -> list[bytes]:
    try:
        return (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:  # it ended, or is not ours to read
        return []


def job_environment(job_id: str, node: str) -> Mapping[str, str]:
    """What a job's processes carry, and are known by."""
    return {_JOB.decode()[:-1]: job_id, _NODE.decode()[:-1]: node}
