"""Runs one command: makes what it needs from the options, and turns how it ends into texts and an exit status.

This is the composition root of the CLI and the only place with the real reactor, clock, streams and signals. It and
what it imports are heavy, so the modules of the commands' options import it when a command runs.
"""

import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn, cast

from attrs import define, frozen
from twisted.internet import task
from twisted.internet.defer import Deferred, race
from twisted.internet.interfaces import IReactorCore, IReactorFromThreads
from twisted.logger import globalLogBeginner

from pushy_cli.api import PushServer
from pushy_cli.chef import ChefServer
from pushy_cli.clock import Clock
from pushy_cli.context import REQUEST_TIMEOUT, Settings, load_settings
from pushy_cli.errors import INTERRUPTED, CliError, Declined, reader_has_gone
from pushy_cli.output_api import OutputServer
from pushy_cli.render import Style, plain
from pushy_cli.results import structured
from pushy_cli.terminal import Console, Reader
from pushy_cli.transport import Client, Transport, make_client

_BUG = 70
"""The exit status of an error that should not be: EX_SOFTWARE of sysexits.h."""

_SETTING_NAMES = ("server_url", "client_name", "client_key", "ca_file", "profile", "credentials")


@frozen(kw_only=True)
class Place:
    """Where a call is made: what it inherits from the shell."""

    environment: Mapping[str, str]
    home: Path
    cwd: Path


@define(kw_only=True, slots=False)
class Session:
    """What a command works with. The settings are read when they are first needed."""

    console: Console
    reactor: Any
    """The reactor, for what needs all of it: connections."""

    clock: Clock
    now: Callable[[], float]
    """The seconds since the epoch."""

    place: Place
    given: Mapping[str, Any]
    """The common options that were given, by name."""

    on_interrupt: Callable[[], None] | None = None
    """Called for the next Ctrl-C, instead of ending the call."""

    leave: Callable[[], None] = lambda: None
    """End the call as Ctrl-C does."""

    @property
    def format(self) -> str:
        """``text``, ``json``, ``yaml`` or ``names``."""
        return str(self.given.get("format", "text"))

    @property
    def is_text(self) -> bool:
        """Whether results are for people."""
        return self.format == "text"

    @cached_property
    def settings(self) -> Settings:
        """The server and who we are.

        :raise ConfigurationError: a setting is missing or wrong.
        """
        settings = load_settings(
            {name: self.given[name] for name in _SETTING_NAMES if name in self.given},
            self.place.environment,
            home=self.place.home,
            cwd=self.place.cwd,
            request_timeout=self.given.get("request_timeout", REQUEST_TIMEOUT),
        )
        if not settings.verify_tls:
            self.console.note("Warning: ssl_verify_mode is verify_none: whoever answers is believed to be the server.")
        return settings

    @cached_property
    def client(self) -> Any:
        """The HTTP client; treq's."""
        return make_client(self.reactor, self.settings, self.place.environment)

    @cached_property
    def transport(self) -> Transport:
        """Sends requests in our name."""
        return Transport(
            self.settings,
            client=cast("Client", self.client),
            clock=self.clock,
            now=self.now,
            trace=self.console.note if self.given.get("verbose") else None,
        )

    @cached_property
    def server(self) -> PushServer:
        """The jobs of our organization."""
        return PushServer(self.transport)

    @cached_property
    def outputs(self) -> OutputServer:
        """What the nodes of our organization's jobs wrote."""
        return OutputServer(self.transport)

    @cached_property
    def chef(self) -> ChefServer:
        """The identities and node objects of our organization."""
        return ChefServer(self.transport)

    def show(self, value: object, *, names: Iterable[str], text: Callable[[Style], str], empty: str = "") -> None:
        """Write a result in the format that is wanted.

        :param value: for JSON and YAML
        :param names: for ``-F names``
        :param empty: what to tell people where there are no names
        """
        names = list(names)
        if self.format == "names":
            self.console.result("".join(f"{plain(name)}\n" for name in names))
        elif not self.is_text:
            self.console.result(structured(value, self.format))
        elif empty and not names:
            self.console.note(empty)
        else:
            self.console.result(text(self.console.out_style))

    async def confirm(self, question: str, *, otherwise: str) -> None:
        """Go on only if the user says yes.

        :param otherwise: what to do where nobody can be asked
        :raise Declined: the user does not, or nobody can be asked.
        """
        if not self.console.can_ask:
            raise Declined(f"There is nobody to ask: {question}", otherwise)
        if await self.console.ask(f"{question} [y/N]", cast("Reader", self.reactor)) not in {"y", "yes"}:
            raise Declined("Nothing was done", "It was not confirmed.")


Command = Callable[[Session], Awaitable[int]]


def run(given: Mapping[str, Any], command: Command) -> NoReturn:
    """Run a command on the reactor and exit with its status, or with 128 and the number of the signal that ended it.

    :param given: the common options by name, those that were given
    """
    # What was imported stays to the end: no collection need look at it, least of all those when Python exits, which
    # would take longer than the command itself.
    gc.freeze()
    gc.enable()
    task.react(lambda reactor: Deferred.fromCoroutine(_main(reactor, given, command)))


async def _main(reactor: IReactorCore, given: Mapping[str, Any], command: Command) -> NoReturn:
    # Twisted would write tracebacks of what it logs to stderr; errors that matter are raised.
    globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)
    console = Console(sys.stdin, sys.stdout, sys.stderr, os.environ)
    if given.get("silent"):
        console.close()
    signalled: Deferred[int] = Deferred()

    def end(status: int) -> None:
        if not signalled.called:
            console.close(*console.farewell)  # what the command says of its own end is of no use to anybody
            signalled.callback(status)

    session = Session(
        console=console,
        reactor=reactor,
        clock=cast("Clock", reactor),
        now=time.time,
        place=Place(environment=os.environ, home=Path.home(), cwd=Path.cwd()),
        given=given,
        leave=lambda: end(INTERRUPTED),
    )
    _handle_signals(cast("IReactorFromThreads", reactor), session, end)
    _, status = await race([Deferred.fromCoroutine(guarded(session, command)), signalled])
    console.close()
    raise SystemExit(status)


def _handle_signals(threads: IReactorFromThreads, session: Session, end: Callable[[int], None]) -> None:
    def interrupt() -> None:
        handler, session.on_interrupt = session.on_interrupt, None
        (handler or session.leave)()

    def resize() -> None:
        if session.console.on_resize:
            session.console.on_resize()

    def on(number: signal.Signals, call: Callable[[], None]) -> None:
        signal.signal(number, lambda _number, _frame: threads.callFromThread(call))

    on(signal.SIGINT, interrupt)
    on(signal.SIGTERM, lambda: end(128 + signal.SIGTERM))
    on(signal.SIGWINCH, resize)


async def guarded(session: Session, command: Command) -> int:
    """The command's status, or that of its error: this never raises, for nobody would show it."""
    try:
        try:
            return await command(session)
        except CliError as error:
            return _report(error, session.console)
        except BrokenPipeError:
            raise
        except Exception as error:
            return _report_bug(error, session.console, verbose=bool(session.given.get("verbose")))
    except BrokenPipeError:
        return reader_has_gone()


def _report(error: CliError, console: Console) -> int:
    console.note(f"Error: {plain(error.what.rstrip('.?'))}.\nHint:  {plain(error.hint)}")
    return error.status


def _report_bug(error: Exception, console: Console, *, verbose: bool) -> int:
    console.note(f"Error: {plain(f'{type(error).__name__}: {error}')}. This is a bug in pushy.")
    where = "".join(traceback.format_exception(error)).rstrip() if verbose else "Hint:  --verbose shows where it is."
    console.note(where)
    return _BUG
