"""Keeps the agent connected: agrees on terms, speaks until they are over, agrees again, for as long as it lives.

Whatever goes wrong is logged in one line and tried again with a growing, random delay. The old conversation goes on
while new terms are read, and ends before the next begins.
"""

from collections.abc import Awaitable, Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from pushy_agent import backoff
from pushy_agent.bootstrap import BootstrapError, Session
from pushy_agent.clock import Clock, DelayedCall, sleep
from pushy_agent.conversation import Conversation

RETURN_SPLAY = 20.0
"""Seconds over which agents ask again that were waiting to when the server's heartbeat came back."""


class Link:
    """The agent's bond with its server."""

    log = Logger()

    def __init__(
        self,
        *,
        clock: Clock,
        jitter: Callable[[], float],
        fetch: Callable[[], Awaitable[Session]],
        converse: Callable[[Session], Conversation],
    ) -> None:
        """:param jitter: gives a number from 0 up to, but not including, 1
        :param fetch: agrees on terms, or raises BootstrapError
        :param converse: begins a conversation, or raises BootstrapError
        """
        self._clock = clock
        self._jitter = jitter
        self._fetch = fetch
        self._converse = converse
        self._conversation: Conversation | None = None
        self._running: Deferred[None] | None = None
        self._pause: Deferred[None] | None = None
        self._pause_end: DelayedCall | None = None
        self._is_stopped = False

    @property
    def is_online(self) -> bool:
        """Whether the server is there, as far as we know."""
        return self._conversation is not None and self._conversation.is_online

    def start(self) -> None:
        """Begin, and never fail."""
        # Only cancelling ends the loop.
        self._running = Deferred.fromCoroutine(self._run()).addErrback(lambda failure: failure.trap(CancelledError))

    def stop(self) -> None:
        """Disconnect, and try no more."""
        self._is_stopped = True
        if self._running is not None:
            self._running.cancel()
        if self._pause_end is not None and self._pause_end.active():
            self._pause_end.cancel()
        self._close()

    def renew(self, why: str) -> None:
        """Agree on terms anew, now."""
        if self._pause is not None:
            self._pause.cancel()
        elif self._conversation is not None:
            self._conversation.end(why)

    async def _run(self) -> None:
        failures = 0
        while True:
            failure = await self._attempt()
            if failure is None:
                failures = 0
                continue
            failures += 1
            pause = backoff.delay(failures, self._jitter)
            self.log.error("{what}; trying again in {pause:.1f} s", what=failure, pause=pause)
            self._pause = Deferred.fromCoroutine(sleep(self._clock, pause))
            try:
                await self._pause
            except CancelledError:
                if self._is_stopped:
                    raise
            finally:
                self._pause = None

    async def _attempt(self) -> str | None:
        """Agree on terms and speak until they are over; in one line what went wrong, None where all went well."""
        try:
            session = await self._fetch()
            self._close()
            conversation = self._conversation = self._converse(session)
            conversation.server_is_back = self._server_is_back
        except CancelledError:
            raise
        except BootstrapError as error:
            return f"Not connected: {error}"
        except Exception:
            # Ours: it must not end the loop on which all depends.
            self.log.failure("Connecting failed")
            return "Not connected"
        why = await conversation.over
        if not conversation.was_answered:
            return f"Not connected: {why}"
        self.log.info("Reading the configuration again: {why}", why=why)
        return None

    def _server_is_back(self) -> None:
        """The old conversation hears the server again, so there is no need to wait as for one that is away."""
        if (pause := self._pause) is not None:
            self._pause_end = self._clock.callLater(RETURN_SPLAY * self._jitter(), self._end_pause, pause)

    def _end_pause(self, pause: Deferred[None]) -> None:
        if pause is self._pause:
            pause.cancel()

    def _close(self) -> None:
        if self._conversation is not None:
            self._conversation.close()
            self._conversation = None
