"""Recorded changes of jobs: of many, what is left to be written. Pure; nothing of a database is known here."""

from collections.abc import Hashable, Iterable, Sequence

from attrs import evolve

from pushyd.store.interface import AbortRequest, Change, FeedText, JobStatusChange, NodeStatusChange
from pushyd.store.output_interface import OutputCaptured, OutputEnd


def coalesce(changes: Iterable[Change]) -> list[Change]:
    """The fewest changes that leave the same behind: of each job, and of each node of a job, the last status.

    What follows in a feed becomes one piece. They concern different things, or are about output, of which the first one
    counts; so only those keep their order.
    """
    last: dict[Hashable, Change] = {}
    kept: list[Change] = []
    feeds: dict[str, list[FeedText]] = {}
    for change in changes:
        match change:
            case NodeStatusChange():
                last[change.job_id, change.node] = change
            case FeedText():
                feeds.setdefault(change.job_id, []).append(change)
            case JobStatusChange():
                last[change.job_id] = change
            case OutputCaptured() | OutputEnd():
                kept.append(change)
            case AbortRequest():
                last[AbortRequest, change.job_id] = change
    joined = [_joined(pieces) for pieces in feeds.values()]
    return [*kept, *joined, *last.values()]


def _joined(pieces: Sequence[FeedText]) -> FeedText:
    return evolve(pieces[0], text=b"".join(piece.text for piece in pieces))
