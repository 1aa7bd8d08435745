"""Fetches what the nodes of a job wrote, several at once, and gathers what is the same."""

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any, Protocol

from twisted.internet.defer import Deferred, FirstError, gatherResults

from pushy_protocol.api import Job
from pushy_protocol.states import NodeStatus

CHANNELS = ("stdout", "stderr")

_NEVER_RAN = {NodeStatus.NEW, NodeStatus.READY, NodeStatus.NACKED, NodeStatus.UNAVAILABLE, NodeStatus.WAS_READY}

Captured = Mapping[str, Mapping[bytes, Sequence[str]]]
"""By channel, each different text and the nodes that wrote it."""


class OutputSource(Protocol):
    """What gives the output; see :class:`pushy_cli.output_api.OutputServer`."""

    async def output(
        self, job_id: str, node: str, channel: str, on_problem: Callable[[str], None] = ...
    ) -> bytes | None: ...


def nodes_with_output(job: Job) -> list[str]:
    """The nodes of a job that may have written something."""
    return [name for status, names in (job.nodes or {}).items() if status not in _NEVER_RAN for name in names]


async def fetch(
    server: OutputSource,
    job_id: str,
    nodes: Sequence[str],
    channels: Sequence[str] = CHANNELS,
    *,
    at_once: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_problem: Callable[[Sequence[str], str, str], None] = lambda nodes, channel, problem: None,
) -> Captured:
    """What those nodes wrote; equal texts are kept once, so that thousands of equal nodes need no more room than one.

    :param at_once: how many are asked for at the same time
    :param on_progress: called with how many are done, of how many
    :param on_problem: called with nodes and a channel of which some is missing, and the reason
    :raise CliError: one of them cannot be fetched.
    """
    texts: dict[str, dict[bytes, list[str]]] = {channel: {} for channel in channels}
    asked = list(product(nodes, channels))
    done = 0

    async def fetch_one(node: str, channel: str) -> None:
        nonlocal done
        text = await server.output(job_id, node, channel, partial(on_problem, [node], channel))
        done += 1
        on_progress(done, len(asked))
        if text is not None:
            texts[channel].setdefault(text, []).append(node)

    await several(at_once, (fetch_one(*one) for one in asked))
    return texts


async def several(at_once: int, work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all of the work, so many pieces of it at the same time; the first error ends the others.

    :param work: is taken piece by piece, as there is room for more
    """
    left = iter(work)

    async def worker() -> None:
        for piece in left:
            await piece

    workers = [Deferred.fromCoroutine(worker()) for _ in range(at_once)]
    try:
        await gatherResults(workers, consumeErrors=True)
    except FirstError as error:
        for one in workers:
            one.cancel()
        cause = error.subFailure.value
        assert cause is not None  # a Failure without an exception is none
        raise cause from None


def by_node(captured: Captured, nodes: Iterable[str]) -> dict[str, dict[str, str]]:
    """The same by node and channel, as JSON has it; bytes that are not UTF-8 become U+FFFD."""
    texts: dict[str, dict[str, str]] = {node: {} for node in nodes}
    for channel, by_text in captured.items():
        for text, names in by_text.items():
            for name in names:
                texts[name][channel] = text.decode("utf-8", "replace")
    return texts
