"""Locks that jobs hold while they run: `flock` on a file, taken at once or not at all."""

import fcntl
import hashlib
import os
from pathlib import Path


class Held(Exception):
    """Somebody else has the lock."""


class Lock:
    """A lock that is held until it is released; the system releases it, too, when the agent dies."""

    def __init__(self, path: Path) -> None:
        """Take it; the file is made where there is none, and stays.

        :raise Held: somebody else has it.
        :raise OSError: the file cannot be opened.
        """
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise Held(str(path)) from None
        except OSError:
            os.close(self._file)
            raise

    def release(self) -> None:
        """Let it go; once."""
        os.close(self._file)


def path_of(directory: Path, name: str) -> Path:
    """The file in `directory` for the lock of what is called `name`, which may have any characters."""
    return directory / f"{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:32]}.lock"
