"""The file that a job brings along: written for its user alone, removed some time after.

A command may leave processes behind that still need it, so it is not removed when the job is over, but when it has
the age that the settings give it.
"""

import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pushy_agent.order import Identity

PREFIX = "pushy_file"


class JobFiles:
    """Keeps the files of jobs in one directory, which it makes.

    The directory is 0700. Where a job runs as another user, it becomes 0711, so that they reach the file whose name
    they were told; nobody can list it. Only its owner writes there, so no link can be put in a file's place.
    """

    def __init__(self, directory: Path, *, expiry: float, now: Callable[[], float]) -> None:
        """:param expiry: seconds after which a file is removed
        :param now: gives the seconds since the epoch
        """
        self._directory = directory
        self._expiry = expiry
        self._now = now

    def write(self, content: bytes, identity: Identity | None) -> Path:
        """Write a file (0600) that belongs to the user, and return its path.

        :raise OSError: it cannot be written. Whatever is raised, nothing is left of it.
        """
        self._prepare(identity)
        descriptor, name = tempfile.mkstemp(prefix=PREFIX, dir=self._directory)  # 0600, and never an existing one
        path = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                if identity is not None:
                    os.fchown(file.fileno(), identity.uid, identity.gid)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def tidy(self) -> None:
        """Remove the files of jobs that have their age; nothing else, and no link is followed.

        :raise OSError: the directory cannot be read, or a file not removed.
        """
        before = self._now() - self._expiry
        try:
            directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            for name in os.listdir(directory):  # noqa: PTH208 - a Path would look the directory up again
                if name.startswith(PREFIX):
                    _expire(name, directory, before)
        finally:
            os.close(directory)

    def _prepare(self, identity: Identity | None) -> None:
        self._directory.parent.mkdir(parents=True, exist_ok=True)
        self._directory.mkdir(mode=0o700, exist_ok=True)
        status = self._directory.lstat()
        if status.st_uid != os.geteuid() or not stat.S_ISDIR(status.st_mode):
            raise PermissionError(f"{self._directory}: expected a directory that belongs to the agent")
        mode = 0o711 if identity is not None and identity.uid != os.geteuid() else 0o700
        if status.st_mode & 0o777 != mode:
            self._directory.chmod(mode)


def _expire(name: str, directory: int, before: float) -> None:
    with suppress(FileNotFoundError):
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISREG(status.st_mode) and status.st_mtime <= before:
            os.unlink(name, dir_fd=directory)
