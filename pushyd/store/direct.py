"""The store for a program without a reactor: everything is done where it is called, and at once.

It may be used beside a running pushyd, which notices what was changed about identity by the generation. The schema is
not touched: a database of another version is refused.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

from sqlalchemy import Connection

from pushyd.store import engine, identity
from pushyd.store.errors import DRIVER_ERRORS, refusal, words
from pushyd.store.interface import StoreUnavailable
from pushyd.store.migrations import bring_up_to_date, revisions
from pushyd.store.sql_identity import SqlIdentity

T = TypeVar("T")
P = ParamSpec("P")

LOCK_TIMEOUT = 30.0
"""Seconds to wait for the server to end what it is writing."""


class DirectStore(SqlIdentity):
    """Identity and node objects, in coroutines that never wait; see :func:`finish`."""

    def __init__(self, url: str) -> None:
        """:raise ValueError: the URL is none of ours"""
        self._engine = engine.writer_engine(engine.parse_url(url), lock_timeout=LOCK_TIMEOUT)

    def open(self) -> None:
        """See that the database is there, and has the schema of this version.

        :raise StoreUnavailable: it is not so
        """
        try:
            present, newest = revisions(self._engine)
        except DRIVER_ERRORS as error:
            raise StoreUnavailable(f"the database cannot be used: {words(error)}") from error
        if present is None:
            raise StoreUnavailable("the database is empty; make what is in it with 'pushyd-ctl init'")
        if present != newest:
            raise StoreUnavailable(
                f"the database has schema version {present}, expected {newest}; "
                "stop pushyd and run 'pushyd-ctl migrate'"
            )

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `work` returns.

        :raise StoreUnavailable: the database cannot be read
        """
        try:
            with self._engine.begin() as connection:
                return work(connection, *args, **kwargs)
        except Exception as error:
            _refuse(error)

    async def _read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self.read(work, *args, **kwargs)

    async def _write(self, work: Callable[Concatenate[Connection, P], None], *args: P.args, **kwargs: P.kwargs) -> None:
        self.read(work, *args, **kwargs)

    async def delete_registration(self, organization: str, node: str) -> None:
        """Let a node connect no more before it has asked for a new configuration."""
        await self._write(identity.delete_registration, organization, node)


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("this coroutine waits, and there is no reactor")


def _refuse(error: Exception) -> NoReturn:
    told = refusal(error)
    if told is error:
        raise error
    raise told from error


def migrate_now(url: str) -> tuple[str | None, str | None]:
    """Bring a database to the newest schema; the versions before and after.

    :raise StoreUnavailable: it cannot be done
    """
    parsed = engine.parse_url(url)
    engine.prepare_file(parsed)
    writing = engine.writer_engine(parsed, lock_timeout=LOCK_TIMEOUT)
    try:
        before, newest = revisions(writing)
        bring_up_to_date(writing)
    except DRIVER_ERRORS as error:
        raise StoreUnavailable(f"the database cannot be used: {words(error)}") from error
    finally:
        writing.dispose()
    return before, newest
