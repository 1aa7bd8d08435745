"""The options and help of the ``node`` commands; what they do is in :mod:`pushy_cli.nodes`, heavy to import."""

import click

from pushy_cli.job_commands import NodeName
from pushy_cli.options import Group, common_options, run


@click.group(cls=Group)
def node() -> None:
    """Look at nodes."""


@node.command()
@common_options
@click.argument("nodes", metavar="[NODE...]", nargs=-1, type=NodeName())
@click.pass_context
def status(ctx: click.Context, nodes: tuple[str, ...]) -> None:
    """Show whether every NODE named is online and available, or all that the server has seen."""
    from pushy_cli.nodes import status as show

    run(ctx, lambda session: show(session, nodes))
