"""A control group (v2) for each job, where the system lets us have one: whatever a job starts is born into it and
cannot leave it, and the kernel kills all of it at once, also what forks faster than anybody can look.

The agent's own group must be ours to divide: delegated by systemd (`Delegate=yes`), or on a system without systemd, as
in a container. Where it is not, :mod:`tree` does alone what it can. No controller is asked for, nothing is limited.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from twisted.logger import Logger

_PLAIN = re.compile(r"[0-9a-f]{1,64}")
_DELEGATED = ("user.delegate", "trusted.delegate")
_SYSTEMD = Path("/run/systemd/system")


class Group:
    """The control group of one job."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be in it, so that what is started meanwhile is born there; a few tenths of a millisecond.

        :raise OSError: we cannot be.
        """
        ours = str(os.getpid())
        (self._path / "cgroup.procs").write_text(ours)
        try:
            yield
        finally:
            # Where this fails we stay, and :meth:`kill` knows that.
            with suppress(OSError):
                (self._path.parent / "cgroup.procs").write_text(ours)

    def pids(self) -> list[int]:
        """The processes that are in it, and in groups that they have made in it; zombies are not."""
        found: list[int] = []
        for path in self._all():
            with suppress(OSError):  # removed meanwhile
                found += [int(pid) for pid in (path / "cgroup.procs").read_text().split()]
        return found

    def kill(self) -> None:
        """Kill all that is in it, at once."""
        # Should the way out have failed, we are in it.
        if os.getpid() not in self.pids():
            with suppress(OSError):  # there is nothing any more
                (self._path / "cgroup.kill").write_text("1")

    def remove(self) -> bool:
        """Remove it, unless something still lives there."""
        try:
            for path in reversed(self._all()):
                path.rmdir()
        except OSError:
            return False
        return True

    def _all(self) -> list[Path]:
        """It and the groups within, outer ones first; os.walk passes over what is removed meanwhile."""
        return [Path(path) for path, _, _ in os.walk(self._path)]


class Groups:
    """The groups of a node's jobs, in the agent's own. Agents that share theirs do not touch each other's."""

    log = Logger()

    def __init__(self, own: Path, node: str) -> None:
        self._own = own
        self._prefix = f"pushy-{hashlib.sha256(node.encode()).hexdigest()[:12]}-"

    @classmethod
    def find(cls, node: str, *, proc: Path = Path("/proc/self"), systemd: Path = _SYSTEMD) -> "Groups | None":
        """Those of this process; None where the system does not let us have any."""
        own = own_group(proc)
        if own is None or (systemd.exists() and not _is_delegated(own)):
            return None
        groups = cls(own, node)
        return groups if groups._works() else None

    def make(self, job_id: str) -> Group | None:
        """The group of a job that is about to start; None where it cannot be made."""
        self.tidy()
        path = self._path(job_id)
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            self.log.warn("Job {job_id} has no control group: {error}", job_id=job_id, error=error)
            return None
        return Group(path)

    def of(self, job_id: str) -> Group | None:
        """The group of a job that was started earlier; None where it has none."""
        path = self._path(job_id)
        return Group(path) if path.is_dir() else None

    def tidy(self) -> None:
        """Remove the groups of jobs whose last daemon has ended."""
        for path in self._own.glob(f"{self._prefix}*"):
            _ = Group(path).remove()

    def _path(self, job_id: str) -> Path:
        # An id is whatever the server says.
        name = job_id if _PLAIN.fullmatch(job_id) else hashlib.sha256(job_id.encode()).hexdigest()[:32]
        return self._own / f"{self._prefix}{name}"

    def _works(self) -> bool:
        probe = Group(self._own / f"{self._prefix}probe-{os.getpid()}")
        try:
            probe._path.mkdir()  # noqa: SLF001 - of this module
            with probe.entered():
                pass
        except OSError:
            return False
        else:
            return (probe._path / "cgroup.kill").exists()  # noqa: SLF001 - as above; Linux 5.14 has it
        finally:
            _ = probe.remove()


def own_group(proc: Path) -> Path | None:
    """The directory of the v2 group that a process is in, by its directory in ``/proc``; None where there is none."""
    try:
        groups = (proc / "cgroup").read_text().splitlines()
        mounts = [line.split() for line in (proc / "mountinfo").read_text().splitlines()]
    except OSError:
        return None
    name = next((line.removeprefix("0::") for line in groups if line.startswith("0::")), None)
    for mount in mounts:
        if name is not None and mount[mount.index("-") + 1] == "cgroup2":
            root, point = mount[3], Path(_unescaped(mount[4]))
            # Where only a part of the hierarchy is mounted, as in a container, names are below that part.
            return point / os.path.relpath(name, root) if Path(name).is_relative_to(root) else None
    return None


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _is_delegated(path: Path) -> bool:
    for name in _DELEGATED:
        with suppress(OSError):
            if os.getxattr(path, name) == b"1":
                return True
    return False
