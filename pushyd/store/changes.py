"""Recorded changes of jobs: of many, what is left to be written. Pure; nothing of a database is known here."""

from collections.abc import Hashable, Iterable

from pushyd.store.interface import AbortRequest, Change, FeedText, JobStatusChange, NodeStatusChange, OutputCaptured


def coalesce(changes: Iterable[Change]) -> list[Change]:
    """The fewest changes that leave the same behind: of each job, and of each node of a job, the last status.

    They concern different things, or are outputs and pieces of feeds, of which the first one counts; so only those
    keep their order.
    """
    last: dict[Hashable, Change] = {}
    kept: list[Change] = []
    for change in changes:
        match change:
            case NodeStatusChange():
                last[change.job_id, change.node] = change
            case JobStatusChange():
                last[change.job_id] = change
            case OutputCaptured() | FeedText():
                kept.append(change)
            case AbortRequest():
                last[AbortRequest, change.job_id] = change
    return kept + list(last.values())
