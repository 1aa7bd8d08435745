"""The options and help of the ``node`` commands; what they do is in :mod:`pushy_cli.nodes`, heavy to import."""

from collections.abc import Sequence

import click

from pushy_cli.options import Group, common_options, run
from pushy_cli.params import Named, NodeWord


@click.group(cls=Group)
def node() -> None:
    """Look at nodes, and search for some."""


@node.command()
@click.option("-s", "--search", metavar="QUERY", help="Also those that Chef's search finds.")
@common_options
@click.argument("nodes", metavar="[NODE...]", nargs=-1, type=NodeWord())
@click.pass_context
def status(ctx: click.Context, nodes: Sequence[str], search: str | None) -> None:
    """Show whether every NODE is online and available, or all that the server has seen.

    A NODE may be a range, a glob, @FILE or @GROUP, as for 'pushy job start'.
    """
    from pushy_cli.new_job import UsageProblem
    from pushy_cli.targets import parse_targets

    try:
        targets = parse_targets(nodes, search=search)
    except UsageProblem as problem:
        raise click.UsageError(str(problem), ctx) from None
    from pushy_cli.nodes import status as show

    run(ctx, lambda session: show(session, targets))


@node.command("list")
@common_options
@click.pass_context
def list_nodes(ctx: click.Context) -> None:
    """List the names of all nodes: those with a node object, and those that the push server has seen."""
    from pushy_cli import nodes

    run(ctx, nodes.list_nodes)


@node.command()
@common_options
@click.argument("name", metavar="NODE", type=Named("node"))
@click.pass_context
def show(ctx: click.Context, name: str) -> None:
    """Show a NODE: whether it is available, its environment, run list and platform.

    With -F json it is the whole node object, and "push" with the presence. Exits with 1 if there is no such node.
    """
    from pushy_cli import nodes

    run(ctx, lambda session: nodes.show(session, name))


@node.command()
@common_options
@click.argument("query", metavar="QUERY")
@click.pass_context
def search(ctx: click.Context, query: str) -> None:
    """Search the node objects.

    \b
    Examples:
      pushy node search 'role:web AND chef_environment:production'
      pushy node search 'platform:debian' -F names
    """
    from pushy_cli import nodes

    run(ctx, lambda session: nodes.search(session, query))
