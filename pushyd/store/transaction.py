"""A batch of writes in one transaction; the part of group commit that runs in the writer's thread.

Usually everything is done at once. If something in the batch is refused, the transaction is done again with a
savepoint for each thing in it, so that what is refused costs nobody else. So the usual way costs three statements less
per write, and a write may be carried out twice: it must have no effect but on its connection.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby

from attrs import frozen
from sqlalchemy import Connection, Engine
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pushyd.store.changes import coalesce
from pushyd.store.errors import is_outage, refusal
from pushyd.store.interface import Change, StoreUnavailable
from pushyd.store.jobs import write_changes


@frozen(eq=False)
class Write:
    """Something to be written that somebody waits for."""

    work: Callable[[Connection], None]
    done: Deferred[None]


Item = Change | Write


@frozen
class Outcome:
    """What of a batch was not written: to be told to those who wait, and changes that never can be."""

    refused: dict[Write, Failure]
    dropped: list[tuple[Change, Exception]]


def write_batch(engine: Engine, batch: Sequence[Item]) -> Outcome:
    """Write `batch`, in order, in one transaction.

    :raise StoreUnavailable: nothing of it was written, and all of it may be later
    """
    try:
        try:
            with engine.begin() as connection:
                return _all_at_once(connection, batch)
        except Exception as error:
            if is_outage(error):
                raise
        with engine.begin() as connection:
            return _one_by_one(connection, batch)
    except Exception as error:
        raise StoreUnavailable(str(refusal(error))) from error


def _all_at_once(connection: Connection, batch: Sequence[Item]) -> Outcome:
    for changes, write in _runs(batch):
        if write is None:
            write_changes(connection, changes)
        else:
            write.work(connection)
    return Outcome({}, [])


def _one_by_one(connection: Connection, batch: Sequence[Item]) -> Outcome:
    outcome = Outcome({}, [])
    for changes, write in _runs(batch):
        if write is not None:
            if error := _attempt(connection, write.work):
                outcome.refused[write] = Failure(refusal(error))
            continue
        for change in coalesce(changes):
            if error := _attempt(connection, partial(write_changes, changes=[change])):
                outcome.dropped.append((change, refusal(error)))
    return outcome


def _attempt(connection: Connection, work: Callable[[Connection], None]) -> Exception | None:
    savepoint = connection.begin_nested()
    try:
        work(connection)
    except Exception as error:
        if is_outage(error):
            raise  # no savepoint may be left to go back to
        savepoint.rollback()
        return error
    savepoint.commit()
    return None


def _runs(batch: Sequence[Item]) -> Iterator[tuple[list[Change], Write | None]]:
    """The batch as changes that follow one another, and single writes (then without changes)."""
    for is_write, run in groupby(batch, lambda item: isinstance(item, Write)):
        if not is_write:
            yield [item for item in run if not isinstance(item, Write)], None
            continue
        for item in run:
            if isinstance(item, Write):
                yield [], item
