"""The file that a job brings along: written for its user alone, removed when the job is over."""

import os
import stat
import tempfile
from pathlib import Path

from pushy_agent.order import Identity

PREFIX = "pushy_file"


class JobFiles:
    """Keeps the files of jobs in one directory, which it makes.

    The directory is 0700. Where a job runs as another user, it becomes 0711, so that they reach the file whose name
    they were told; nobody can list it. Only its owner writes there, so no link can be put in a file's place.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

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

    @staticmethod
    def remove(path: Path) -> None:
        """Remove a file; it may be gone already.

        :raise OSError: it cannot be removed.
        """
        path.unlink(missing_ok=True)

    def _prepare(self, identity: Identity | None) -> None:
        self._directory.parent.mkdir(parents=True, exist_ok=True)
        self._directory.mkdir(mode=0o700, exist_ok=True)
        status = self._directory.lstat()
        if status.st_uid != os.geteuid() or not stat.S_ISDIR(status.st_mode):
            raise PermissionError(f"{self._directory}: expected a directory that belongs to the agent")
        mode = 0o711 if identity is not None and identity.uid != os.geteuid() else 0o700
        if status.st_mode & 0o777 != mode:
            self._directory.chmod(mode)
