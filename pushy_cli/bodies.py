"""The bodies of answers, piece by piece: who is given them, and what ends the reading. Nothing is sent from here."""

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, frozen
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IResponse

Take = Callable[[bytes], None]
"""Who is given the pieces; what it raises ends the reading."""


@frozen(kw_only=True)
class Head:
    """What is known of an answer before its body; the headers' names are in lower case."""

    status: int
    headers: Mapping[str, str]

    @property
    def is_good(self) -> bool:
        """Whether it is what was asked for, and no error."""
        return 200 <= self.status < 300


def head_of(response: IResponse) -> Head:
    """The head of an answer."""
    headers = {
        name.decode("latin-1").lower(): b", ".join(values).decode("latin-1")
        for name, values in response.headers.getAllRawHeaders()
    }
    return Head(status=response.code, headers=headers)


@define
class Reading:
    """A reader, chosen by the head of an answer; `failed` is what it raised, as opposed to a connection that broke."""

    begin: Callable[[Head], Take]
    failed: Exception | None = None

    def reader(self, head: Head) -> Take:
        """Who is given the pieces of this answer."""
        take = self._guarded(self.begin, head)

        def take_piece(piece: bytes) -> None:
            if take is not None:
                self._guarded(take, piece)
            if self.failed is not None:
                raise self.failed  # which closes the connection

        return take_piece

    def _guarded(self, call: Callable[[Any], Any], argument: object) -> Any:
        try:
            return call(argument)
        except Exception as error:
            self.failed = error
            return None


def deliver(response: Any, take: Take) -> Deferred[None]:
    """Give the pieces of an answer to `take`; fires at its end. Cancelling it closes the connection."""
    body = _Body(take)
    response.deliverBody(body)
    return body.done


class _Body(Protocol):
    def __init__(self, take: Take) -> None:
        self.done: Deferred[None] = Deferred(lambda _: self._close())
        self._take = take

    def dataReceived(self, data: bytes) -> None:
        if self.done.called:
            return
        try:
            self._take(data)
        except Exception:
            self.done.errback(Failure())
            self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(None)
        else:
            self.done.errback(reason)

    def _close(self) -> None:
        transport: Any = self.transport  # which mypy takes from zope's interface
        if transport is not None:
            transport.loseConnection()
