"""Runs a whole command in this process and reactor: the command line, the settings, the requests, the texts.

A command takes milliseconds so, where the real program takes half a second. What only a process shows (signals,
terminals, broken pipes) is :mod:`tests.pushy_cli.program`'s.
"""

import io
import time
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click
from twisted.internet.task import deferLater
from twisted.internet.tcp import Client

from pushy_cli.main import cli
from pushy_cli.session import Place, Session, guarded
from pushy_cli.terminal import Console
from tests.pushy_cli.program import Result


class InProcess:
    """Stands in for the program."""

    def __init__(self, reactor: Any, home: Path, environment: Mapping[str, str]) -> None:
        self._reactor = reactor
        self._home = home
        self._environment = dict(environment)

    async def run(self, *arguments: str, **environment: str) -> Result:
        """Run it as in pipes."""
        asked: list[Any] = []
        printed = io.StringIO()
        try:
            with redirect_stdout(printed):
                status = cli.main(
                    list(arguments),
                    prog_name="pushy",
                    standalone_mode=False,
                    obj={"run": lambda given, command: asked.append((given, command))},
                )
        except click.ClickException as error:
            said = io.StringIO()
            error.show(file=said)
            return Result(status=error.exit_code, out="", err=said.getvalue())
        if not asked:
            return Result(status=status or 0, out=printed.getvalue())
        out, err = _stream(), _stream()
        environment = {**self._environment, **environment}
        session = Session(
            console=Console(_stream(), out, err, environment),
            reactor=self._reactor,
            clock=self._reactor,
            now=time.time,
            place=Place(environment=environment, home=self._home, cwd=self._home),
            given=asked[0][0],
        )
        try:
            status = await guarded(session, asked[0][1])
        finally:
            await self._close(session)
        return Result(status=status, out=_text(out), err=_text(err))

    async def _close(self, session: Session) -> None:
        """Close what the program's end would; a request that was given up is still on its way to do so."""
        if "client" in session.__dict__:
            pool = session.client._agent._pool
            await pool.closeCachedConnections()
            while any(isinstance(reader, Client) for reader in self._reactor.getReaders()):
                await deferLater(self._reactor, 0.001)
                await pool.closeCachedConnections()


def _stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8")


def _text(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return bytes(stream.buffer.read()).decode("utf-8", "surrogateescape")
