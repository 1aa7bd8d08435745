"""Writes a new private key where only its owner can read it, and never over another file."""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from pushy_cli.errors import ConfigurationError


class NewKeyFile:
    """A file that is made before the key is: a key that could not be written would be lost.

    In a `with`; without :meth:`write` having been called, the file is removed at its end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = False

    def __enter__(self) -> Self:
        try:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise ConfigurationError(
                f"There is already a file {self.path}", "Move it away, or name another with --key-file."
            ) from None
        except OSError as error:
            raise ConfigurationError(
                f"{self.path} cannot be written: {error.strerror}", "Name another file with --key-file."
            ) from None
        return self

    def write(self, pem: str) -> None:
        """Write the key, and see that it is on the disk."""
        with os.fdopen(os.dup(self._descriptor), "w", encoding="ascii") as file:
            file.write(pem if pem.endswith("\n") else f"{pem}\n")
            file.flush()
            os.fsync(file.fileno())
        self._written = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
        if not self._written:
            self.path.unlink(missing_ok=True)
