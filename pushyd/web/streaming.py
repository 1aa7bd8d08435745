"""Bodies that are sent piece by piece, as fast as their reader takes them: while a connection is full, nothing is read
for it, so nothing is held for it.
"""

from types import TracebackType

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request
from zope.interface import implementer

from pushyd.store.interface import StoreUnavailable


@implementer(IPushProducer)
class Body:
    """The body of an answer, between ``with`` and its end. Gone when the request is: Klein cancels what awaits here."""

    log = Logger()

    def __init__(self, request: Request) -> None:
        self._request = request
        self._full: Deferred[None] | None = None

    def __enter__(self) -> "Body":
        self._request.registerProducer(self, True)
        self.write(b"")  # the headers: the reader shall know that it is connected
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        broken = isinstance(error, Exception) and not isinstance(error, CancelledError)
        if self._request.channel is not None:  # else the reader is gone
            self._request.unregisterProducer()
            if broken:
                # The headers are sent, so all that can be told the reader is that the body breaks off.
                self._request.channel.forceAbortClient()
        if isinstance(error, StoreUnavailable):
            self.log.error("The body of an answer breaks off, the database cannot be read: {error}", error=error)
        elif broken:
            self.log.failure("The body of an answer breaks off", Failure(error, kind, traceback))
        return broken

    def write(self, data: bytes) -> None:
        """Send, whether or not the connection is full."""
        self._request.write(data)

    async def send(self, data: bytes) -> None:
        """Send, and wait until the connection takes more."""
        self.write(data)
        if self._full:
            await self._full

    def pauseProducing(self) -> None:
        """The connection is full."""
        if self._full is None:
            self._full = Deferred()

    def resumeProducing(self) -> None:
        """The connection takes more."""
        full, self._full = self._full, None
        if full:
            full.callback(None)

    def stopProducing(self) -> None:
        """The connection is gone; Klein ends the waiting."""
