"""What is missing of the output that is shown or written, as far as the server says."""

from collections.abc import Sequence

from pushy_cli.folding import fold
from pushy_cli.render import plain
from pushy_cli.terminal import Console


class Missing:
    """Which output the server lacks, and why; told once for all nodes that have it in common."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[str, str], list[str]] = {}

    def add(self, nodes: Sequence[str], channel: str, problem: str) -> None:
        """Some of what these nodes wrote is missing."""
        self._nodes.setdefault((channel, problem), []).extend(nodes)

    def tell(self, console: Console) -> None:
        """Say what is missing, a line each."""
        for (channel, problem), nodes in self._nodes.items():
            console.note(f"Some {channel} of {fold(nodes)} is missing: {plain(problem)}.")
