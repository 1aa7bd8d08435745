"""Recorded changes of jobs: of many, what is left to be written. Pure; nothing of a database is known here."""

from collections.abc import Hashable, Iterable

from pushyd.store.interface import Change, JobStatusChange, NodeStatusChange, OutputCaptured


def coalesce(changes: Iterable[Change]) -> list[Change]:
    """The fewest changes that leave the same behind: of each job, and of each node of a job, the last status.

    They concern different things, or are outputs, of which the first one counts; so only outputs keep their order.
    """
    last: dict[Hashable, Change] = {}
    outputs: list[Change] = []
    for change in changes:
        match change:
            case NodeStatusChange():
                last[change.job_id, change.node] = change
            case JobStatusChange():
                last[change.job_id] = change
            case OutputCaptured():
                outputs.append(change)
    return outputs + list(last.values())
