"""What Ctrl-C does while a job is followed: once it asks, twice it leaves the job running."""

from typing import cast

from twisted.internet.defer import CancelledError, Deferred

from pushy_cli.errors import CliError
from pushy_cli.render import plain
from pushy_cli.session import Session
from pushy_cli.terminal import Reader

_QUESTION = "Leave it running (l), abort it (a), or watch on (w)? Ctrl-C again leaves:"


class Interruption:
    """Asks what is to become of a job. In a `with`; where nobody can be asked, Ctrl-C leaves at once."""

    def __init__(self, session: Session, job_id: str) -> None:
        self._session = session
        self._job_id = job_id
        self._asking: Deferred[None] | None = None

    def __enter__(self) -> None:
        if self._session.console.can_ask:
            self._session.on_interrupt = self._interrupted

    def __exit__(self, *_: object) -> None:
        self._session.on_interrupt = None
        if self._asking:
            self._asking.cancel()

    def _interrupted(self) -> None:
        self._asking = Deferred.fromCoroutine(self._ask())
        # It is cancelled when the job has ended meanwhile.
        _ = self._asking.addErrback(lambda failure: failure.trap(CancelledError) and None)

    async def _ask(self) -> None:
        session = self._session
        session.console.note("")
        answer = await session.console.ask(_QUESTION, cast("Reader", session.reactor))
        if answer in {"a", "abort"}:
            await self._abort()
        elif answer not in {"w", "watch"}:
            session.leave()
            return
        else:
            session.on_interrupt = self._interrupted

    async def _abort(self) -> None:
        console = self._session.console
        try:
            await self._session.server.abort(self._job_id)
        except CliError as error:
            console.note(f"The job cannot be aborted: {plain(error.what)}.")
            self._session.on_interrupt = self._interrupted
        else:
            console.note("The job is being aborted...")
