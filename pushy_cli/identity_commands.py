"""The options and help of the ``client``, ``user`` and ``group`` commands; :mod:`pushy_cli.identity` does them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from pushy_cli.options import Group, common_options, run
from pushy_cli.params import Named

F = TypeVar("F", bound=Callable[..., Any])


@click.group(cls=Group)
def client() -> None:
    """Manage clients: the identities of nodes and of programs."""


@click.group(cls=Group)
def user() -> None:
    """Manage users: the identities of people."""


@click.group(cls=Group)
def group() -> None:
    """Manage groups, which say who may start jobs and who may look at them.

    Members of pushy_job_writers may start and abort jobs, members of pushy_job_readers may look at them.
    """


def _key_options(function: F) -> F:
    path = click.Path(path_type=Path)
    for option in (
        click.option("--print-key", is_flag=True, help="Print the private key instead of writing it to a file."),
        click.option("--public-key", metavar="PATH", type=path, help="Use this public key; make none."),
        click.option(
            "--key-file", metavar="PATH", type=path, help="New file for the private key.  [default: NAME.pem]"
        ),
    ):
        function = option(function)
    return function


@client.command("create")
@_key_options
@common_options
@click.argument("name", metavar="NAME", type=Named("client"))
@click.pass_context
def create_client(ctx: click.Context, /, name: str, **key: Any) -> None:
    """Make a client; its private key goes to a new file that only you can read."""
    from pushy_cli import identity

    run(ctx, lambda session: identity.create_client(session, name, identity.KeyOptions(**key)))


@user.command("create")
@click.option("--email", metavar="ADDRESS", help="The user's address.  [default: NAME@localhost]")
@_key_options
@common_options
@click.argument("name", metavar="NAME", type=Named("user"))
@click.pass_context
def create_user(ctx: click.Context, /, name: str, email: str | None, **key: Any) -> None:
    """Make a user of the organization; the private key goes to a new file that only you can read.

    To let the user start jobs: pushy group add pushy_job_writers --user NAME
    """
    from pushy_cli import identity

    run(ctx, lambda session: identity.create_user(session, name, email, identity.KeyOptions(**key)))


@user.command("add")
@common_options
@click.argument("name", metavar="NAME", type=Named("user"))
@click.pass_context
def add_user(ctx: click.Context, name: str) -> None:
    """Make a user, whom the server has already, one of the organization's."""
    from pushy_cli import identity

    run(ctx, lambda session: identity.associate(session, name))


@user.command("remove")
@common_options
@click.argument("name", metavar="NAME", type=Named("user"))
@click.pass_context
def remove_user(ctx: click.Context, name: str) -> None:
    """Let a user no longer be one of the organization's; the server keeps it."""
    from pushy_cli import identity

    run(ctx, lambda session: identity.dissociate(session, name))


@group.command("create")
@common_options
@click.argument("name", metavar="NAME", type=Named("group"))
@click.pass_context
def create_group(ctx: click.Context, name: str) -> None:
    """Make a group without members."""
    from pushy_cli import identity

    run(ctx, lambda session: identity.create_group(session, name))


def _member_options(function: F) -> F:
    for kind in ("group", "client", "user"):
        function = click.option(
            f"--{kind}", f"{kind}s", metavar="NAME", multiple=True, type=Named(kind), help=f"A {kind}.  [repeatable]"
        )(function)
    return function


@group.command("add")
@_member_options
@common_options
@click.argument("name", metavar="GROUP", type=Named("group"))
@click.pass_context
def add_members(ctx: click.Context, /, name: str, **members: Sequence[str]) -> None:
    """Add members to a GROUP; those that it has already stay."""
    _change_members(ctx, name, add=members)


@group.command("remove")
@_member_options
@common_options
@click.argument("name", metavar="GROUP", type=Named("group"))
@click.pass_context
def remove_members(ctx: click.Context, /, name: str, **members: Sequence[str]) -> None:
    """Remove members from a GROUP."""
    _change_members(ctx, name, remove=members)


def _change_members(ctx: click.Context, name: str, **changes: dict[str, Sequence[str]]) -> None:
    if not any(names for members in changes.values() for names in members.values()):
        raise click.UsageError("Name members with --user, --client or --group", ctx)
    from pushy_cli import identity

    run(ctx, lambda session: identity.change_members(session, name, **changes))


def _add_common(family: Group, kind: str) -> None:
    """The commands that are alike for all three."""

    @family.command("list", help=f"List the names of the organization's {kind}s.")
    @common_options
    @click.pass_context
    def list_all(ctx: click.Context) -> None:
        from pushy_cli import identity

        run(ctx, lambda session: identity.list_all(session, kind))

    @family.command("show", help=f"Show a {kind}. Exits with 1 if there is none with that name.")
    @common_options
    @click.argument("name", metavar="NAME", type=Named(kind))
    @click.pass_context
    def show(ctx: click.Context, name: str) -> None:
        from pushy_cli import identity

        run(ctx, lambda session: identity.show(session, kind, name))

    @family.command("delete", help=f"Delete a {kind}. Exits with 1 if there is none with that name.")
    @click.option("-y", "--yes", is_flag=True, help="Do not ask.")
    @common_options
    @click.argument("name", metavar="NAME", type=Named(kind))
    @click.pass_context
    def delete(ctx: click.Context, name: str, yes: bool) -> None:
        from pushy_cli import identity

        run(ctx, lambda session: identity.delete(session, kind, name, yes=yes))


for _family, _kind in ((client, "client"), (user, "user"), (group, "group")):
    assert isinstance(_family, Group)
    _add_common(_family, _kind)
