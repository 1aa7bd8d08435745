"""What the server has, for the shell's completion: quick, silent, and nothing at all where something is wrong.

The completion of commands and options is click's own.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import click

COMPLETE_VARIABLE = "_PUSHY_COMPLETE"
"""The environment variable by which a shell asks the program what could come next."""

PATIENCE = 2.0
"""Seconds after which a completion is of no use any more."""

MOST = 500


def job_ids(ctx: click.Context) -> list[tuple[str, str]]:
    """The ids of the newest jobs, each with its command."""
    from pushy_cli.api import JobQuery
    from pushy_cli.render import plain

    async def ask(session: Any) -> list[tuple[str, str]]:
        return [(job.id, plain(job.command)) for job in await session.server.jobs(JobQuery(limit=20))]

    return _ask(ctx, ask)


def names(ctx: click.Context, kind: str) -> list[str]:
    """The names of all nodes, clients, users or groups."""

    async def ask(session: Any) -> list[str]:
        if kind == "node":
            return sorted(state.node_name for state in await session.server.node_states())[:MOST]
        found: list[str] = await getattr(session.chef, f"{kind}s")()
        return found[:MOST]

    return _ask(ctx, ask)


def _ask(ctx: click.Context, question: Callable[[Any], Awaitable[list[Any]]]) -> list[Any]:
    from pushy_cli import session

    answers: list[Any] = []

    async def command(opened: Any) -> int:
        answers.extend(await question(opened))
        return 0

    given = {**ctx.find_root().ensure_object(dict), "request_timeout": PATIENCE}
    run = given.pop("run", session.run)
    # A session ends so; what went wrong would only disturb the line that is being typed.
    with suppress(SystemExit):
        run({**given, "silent": True}, command)
    return answers
