"""Writes what nodes wrote to files: ``DIRECTORY/NODE/stdout`` and ``DIRECTORY/NODE/stderr``, byte for byte.

It goes to the disk as it comes from the server, so that its size does not matter.
"""

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from pushy_cli import captured, render
from pushy_cli.errors import ConfigurationError, NotFound
from pushy_cli.missing import Missing
from pushy_cli.output_api import Served
from pushy_cli.session import Session
from pushy_cli.transport import CONNECTIONS

SILENCE = 60.0
"""Seconds without a byte after which a connection counts as lost."""


async def save(
    session: Session, job_id: str, nodes: Sequence[str], channels: Sequence[str], directory: Path
) -> list[str]:
    """Write a file for every node and channel of which something was captured; their paths, sorted.

    :raise ConfigurationError: one cannot be written.
    """
    console = session.console
    written: list[str] = []
    missing = Missing()
    asked = list(product(nodes, channels))

    async def save_one(node: str, channel: str) -> None:
        path = directory / file_name(node) / channel
        file = _File(path)

        def begin(served: Served) -> Callable[[bytes], None]:
            if served.problem:
                missing.add([node], channel, served.problem)
            return file.begin()

        try:
            await session.outputs.read(job_id, node, channel, begin, silence=SILENCE)
            file.close()
        except NotFound:
            return
        except OSError as error:
            raise ConfigurationError(
                f"{path} cannot be written: {error.strerror}", "Give a directory that can be, with --to-dir."
            ) from None
        finally:
            file.close()
        written.append(str(path))
        if console.is_live:
            console.live(render.reading_line(len(written), len(asked), console.err_style))

    try:
        await captured.several(CONNECTIONS, (save_one(*one) for one in asked))
    finally:
        console.live("")
    missing.tell(console)
    return sorted(written)


def file_name(node: str) -> str:
    """A node's name as that of a directory: it may hold a slash, and one that begins with a dot would be hidden."""
    name = quote(node, safe=" @:+,")
    return f"%2E{name[1:]}" if name.startswith(".") else name


class _File:
    """Made when there is something to write."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def begin(self) -> Callable[[bytes], None]:
        """Begin anew; what takes its bytes."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._file = self._path.open("wb")

        def take(data: bytes) -> None:
            file.write(data)

        return take

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
