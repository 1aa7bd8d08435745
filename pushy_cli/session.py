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
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, cast

from attrs import define
from twisted.internet import task
from twisted.internet.defer import Deferred, race
from twisted.internet.interfaces import IReactorCore, IReactorFromThreads
from twisted.logger import globalLogBeginner

from pushy_cli.api import PushServer
from pushy_cli.clock import Clock
from pushy_cli.context import REQUEST_TIMEOUT, load_settings
from pushy_cli.errors import CliError, reader_has_gone
from pushy_cli.render import plain
from pushy_cli.terminal import Console
from pushy_cli.transport import Client, Transport, make_client

_BUG = 70
"""The exit status of an error that should not be: EX_SOFTWARE of sysexits.h."""

_SETTING_NAMES = ("server_url", "client_name", "client_key", "ca_file", "profile", "credentials")


@define(kw_only=True)
class Session:
    """What a command works with."""

    server: PushServer
    console: Console
    clock: Clock
    json: bool
    """Whether results are JSON (``-F json``) rather than text."""


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
    console = Console(sys.stdout, sys.stderr, os.environ)
    signalled: Deferred[int] = Deferred()

    def end(number: int) -> None:
        if not signalled.called:
            console.close(*console.farewell)  # what the command says of its own end is of no use to anybody
            signalled.callback(128 + number)

    threads = cast("IReactorFromThreads", reactor)
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda number, _frame: threads.callFromThread(end, number))
    _, status = await race([Deferred.fromCoroutine(_guarded(reactor, given, console, command)), signalled])
    console.close()
    raise SystemExit(status)


async def _guarded(reactor: IReactorCore, given: Mapping[str, Any], console: Console, command: Command) -> int:
    """The command's status, or that of its error: this never raises, for nobody would show it."""
    try:
        try:
            return await command(_make_session(reactor, given, console))
        except CliError as error:
            return _report(error, console)
        except BrokenPipeError:
            raise
        except Exception as error:
            return _report_bug(error, console, verbose=bool(given.get("verbose")))
    except BrokenPipeError:
        return reader_has_gone()


def _report(error: CliError, console: Console) -> int:
    console.note(f"Error: {plain(error.what.rstrip('.'))}.\nHint:  {plain(error.hint)}")
    return error.status


def _report_bug(error: Exception, console: Console, *, verbose: bool) -> int:
    console.note(f"Error: {plain(f'{type(error).__name__}: {error}')}. This is a bug in pushy.")
    where = "".join(traceback.format_exception(error)).rstrip() if verbose else "Hint:  --verbose shows where it is."
    console.note(where)
    return _BUG


def _make_session(reactor: IReactorCore, given: Mapping[str, Any], console: Console) -> Session:
    settings = load_settings(
        {name: given[name] for name in _SETTING_NAMES if name in given},
        os.environ,
        home=Path.home(),
        cwd=Path.cwd(),
        request_timeout=given.get("request_timeout", REQUEST_TIMEOUT),
    )
    if not settings.verify_tls:
        console.note("Warning: ssl_verify_mode is verify_none: whoever answers is believed to be the server.")
    clock = cast("Clock", reactor)
    transport = Transport(
        settings,
        client=cast("Client", make_client(reactor, settings)),
        clock=clock,
        now=time.time,
        trace=console.note if given.get("verbose") else None,
    )
    return Session(server=PushServer(transport), console=console, clock=clock, json=given.get("format") == "json")
