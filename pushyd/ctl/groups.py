"""``pushyd-ctl group``: who belongs to what."""

import click

from pushyd.ctl.context import (
    NAME,
    Server,
    echo_all,
    organization_option,
    pass_server,
    require_local,
    required,
    told_in_one_line,
)
from pushyd.store.direct import DirectStore, finish
from pushyd.store.interface import StoredGroup

name_argument = click.argument("name", type=NAME)
kind_argument = click.argument("kind", type=click.Choice(["user", "client", "group"]))


@click.group()
@pass_server
def group(server: Server) -> None:
    """Groups of users, clients and other groups."""
    require_local(server)


@group.command("create")
@name_argument
@organization_option
@pass_server
@told_in_one_line
def create_group(server: Server, name: str, organization: str | None) -> None:
    """Make an empty group."""
    with server.store() as store:
        finish(store.create_group(organization or server.settings.organization, name))


@group.command("list")
@organization_option
@pass_server
@told_in_one_line
def list_groups(server: Server, organization: str | None) -> None:
    """List the groups of an organization."""
    with server.store() as store:
        echo_all(sorted(finish(store.groups(organization or server.settings.organization))))


@group.command("show")
@name_argument
@organization_option
@pass_server
@told_in_one_line
def show_group(server: Server, name: str, organization: str | None) -> None:
    """Show the direct members of a group."""
    with server.store() as store:
        found = _group(store, organization or server.settings.organization, name)
    for kind, members in (("user", found.users), ("client", found.clients), ("group", found.groups)):
        echo_all(f"{kind} {member}" for member in sorted(members))


@group.command("delete")
@name_argument
@organization_option
@pass_server
@told_in_one_line
def delete_group(server: Server, name: str, organization: str | None) -> None:
    """Delete a group, also from other groups."""
    with server.store() as store:
        finish(store.delete_group(organization or server.settings.organization, name))


member_argument = click.argument("member", type=NAME)


@group.command("add")
@name_argument
@kind_argument
@member_argument
@organization_option
@pass_server
@told_in_one_line
def add_member(server: Server, name: str, kind: str, member: str, organization: str | None) -> None:
    """Put a user, client or group into a group."""
    where = organization or server.settings.organization
    with server.store() as store:
        _group(store, where, name)
        there = {"user": store.users, "client": store.clients, "group": store.groups}[kind]
        required(member if member in finish(there(where)) else None, f"{kind} '{member}'")
        finish(store.add_to_group(where, name, kind, member))


@group.command("remove")
@name_argument
@kind_argument
@member_argument
@organization_option
@pass_server
@told_in_one_line
def remove_member(server: Server, name: str, kind: str, member: str, organization: str | None) -> None:
    """Take a user, client or group out of a group."""
    where = organization or server.settings.organization
    with server.store() as store:
        _group(store, where, name)
        finish(store.remove_from_group(where, name, kind, member))


def _group(store: DirectStore, organization: str, name: str) -> StoredGroup:
    return required(finish(store.groups(organization)).get(name), f"group '{name}'")
