"""``pushyd-ctl org | user | client``: who there is, with which key, and where."""

from pathlib import Path
from uuid import uuid4

import click

from pushyd.ctl.context import (
    FILE,
    GUID,
    NAME,
    ORGANIZATION,
    Server,
    echo_all,
    new_key,
    organization_option,
    pass_server,
    require_local,
    required,
    told_in_one_line,
    with_key_options,
)
from pushyd.retention import JOBS_AT_ONCE
from pushyd.store.direct import DirectStore, finish
from pushyd.store.interface import DEFAULT_KEY
from pushyd.store.retirement import has_unfinished_jobs, retire_jobs

ADMINS = "admins"

name_argument = click.argument("name", type=NAME)


# Organizations


@click.group()
def org() -> None:
    """Organizations."""


@org.command("create")
@click.argument("name", type=ORGANIZATION)
@click.option("--full-name", default="", help="For people to read.")
@click.option("--admin", type=NAME, default="admin", show_default=True, help="A user that is put into group admins.")
@click.option("--file", "-f", type=FILE, help="Where the validator's key is written (default: NAME-validator.pem).")
@pass_server
@told_in_one_line
def create_org(server: Server, name: str, full_name: str, admin: str, file: Path | None) -> None:
    """Make an organization, its group admins, and its validator with a new key."""
    require_local(server)
    validator = f"{name}-validator"
    with server.store() as store:
        required(finish(store.profile(admin)), f"user '{admin}'")
        with new_key(validator, file, None) as public_key:
            finish(
                store.found_organization(
                    name,
                    guid=uuid4().hex,
                    full_name=full_name,
                    admin=admin,
                    validator=validator,
                    validator_key=public_key,
                )
            )


@org.command("list")
@pass_server
@told_in_one_line
def list_orgs(server: Server) -> None:
    """List the organizations, the first that was made first."""
    with server.store() as store:
        echo_all(organization.name for organization in finish(store.organizations()))


@org.command("show")
@click.argument("name", type=ORGANIZATION)
@pass_server
@told_in_one_line
def show_org(server: Server, name: str) -> None:
    """Show an organization."""
    with server.store() as store:
        found = required(finish(store.organization(name)), f"organization '{name}'")
        click.echo(f"name: {found.name}\nfull name: {found.full_name}\nguid: {found.guid}")
        click.echo(f"users: {len(finish(store.users(name)))}\nclients: {len(finish(store.clients(name)))}")


@org.command("adopt")
@click.argument("name", type=ORGANIZATION)
@click.argument("guid", type=GUID)
@pass_server
@told_in_one_line
def adopt_org(server: Server, name: str, guid: str) -> None:
    """Let the organization that has this GUID on the Chef Server have the jobs that are kept of NAME.

    That is needed where it was deleted and made anew there, or where this server had users of its own before.
    """
    with server.store() as store:
        finish(store.identify_organization(name, guid))


@org.command("delete")
@click.argument("name", type=ORGANIZATION)
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_server
@told_in_one_line
def delete_org(server: Server, name: str, yes: bool) -> None:
    """Delete an organization with its clients, groups, node objects and jobs; its users stay.

    Its nodes are cut off within seconds. An organization with jobs that have not ended is not deleted.
    """
    if name == server.settings.organization and server.settings.identity.backend == "local":
        raise click.ClickException(f"{name} is the organization that this server begins with (setting organization)")
    with server.store() as store:
        required(finish(store.organization(name)), f"organization '{name}'")
        if not yes:
            clients = len(finish(store.clients(name)))
            click.confirm(f"Delete organization {name} with its {clients} clients and all of its jobs?", abort=True)
        if store.read(has_unfinished_jobs, name):
            raise click.ClickException(f"{name} has jobs that have not ended; abort them first (pushy job abort)")
        # In small steps: the running server writes in between.
        while store.read(retire_jobs, name, limit=JOBS_AT_ONCE, created_before=None, up_to=None):
            pass
        finish(store.delete_organization(name))


# Users


@click.group()
@pass_server
def user(server: Server) -> None:
    """Users, who may belong to several organizations."""
    require_local(server)


@user.command("create")
@name_argument
@organization_option
@click.option("--admin", is_flag=True, help="Put it into the group admins of the organization.")
@with_key_options
@pass_server
@told_in_one_line
def create_user(
    server: Server, name: str, organization: str | None, admin: bool, file: Path | None, public_key: Path | None
) -> None:
    """Make a user of an organization, with a new key."""
    where = organization or server.settings.organization
    with server.store() as store, new_key(name, file, public_key) as key:
        finish(store.create_user(name, key, [where]))
        if admin:
            finish(store.add_to_group(where, ADMINS, "user", name))


@user.command("list")
@organization_option
@pass_server
@told_in_one_line
def list_users(server: Server, organization: str | None) -> None:
    """List all users, or those of an organization."""
    with server.store() as store:
        echo_all(finish(store.users(organization)))


@user.command("show")
@name_argument
@pass_server
@told_in_one_line
def show_user(server: Server, name: str) -> None:
    """Show a user: its keys, organizations and groups."""
    with server.store() as store:
        keys = required(finish(store.keys(None, name)), f"user '{name}'")
        click.echo(f"name: {name}\nkeys: {', '.join(keys)}")
        for organization in finish(store.organizations()):
            if name in finish(store.users(organization.name)):
                click.echo(f"organization: {organization.name}{_groups_of(store, organization.name, 'user', name)}")


@user.command("delete")
@name_argument
@pass_server
@told_in_one_line
def delete_user(server: Server, name: str) -> None:
    """Delete a user, also from organizations and groups."""
    with server.store() as store:
        finish(store.delete_user(name))


@user.command("add")
@name_argument
@organization_option
@pass_server
@told_in_one_line
def add_user(server: Server, name: str, organization: str | None) -> None:
    """Let a user belong to an organization."""
    with server.store() as store:
        finish(store.associate(organization or server.settings.organization, name))


@user.command("remove")
@name_argument
@organization_option
@pass_server
@told_in_one_line
def remove_user(server: Server, name: str, organization: str | None) -> None:
    """Let a user belong to an organization no more, nor to its groups."""
    with server.store() as store:
        finish(store.dissociate(organization or server.settings.organization, name))


@user.command("reregister")
@name_argument
@with_key_options
@pass_server
@told_in_one_line
def reregister_user(server: Server, name: str, file: Path | None, public_key: Path | None) -> None:
    """Give a user a new key; its old one is worth nothing any more."""
    with server.store() as store:
        required(finish(store.keys(None, name)), f"user '{name}'")
        with new_key(name, file, public_key) as key:
            finish(store.put_key(None, name, DEFAULT_KEY, key))


# Clients


@click.group()
@pass_server
def client(server: Server) -> None:
    """Clients: the identities of nodes, and of programs."""
    require_local(server)


@client.command("create")
@name_argument
@organization_option
@with_key_options
@pass_server
@told_in_one_line
def create_client(
    server: Server, name: str, organization: str | None, file: Path | None, public_key: Path | None
) -> None:
    """Make a client with a new key."""
    with server.store() as store, new_key(name, file, public_key) as key:
        finish(store.create_client(organization or server.settings.organization, name, key))


@client.command("list")
@organization_option
@pass_server
@told_in_one_line
def list_clients(server: Server, organization: str | None) -> None:
    """List the clients of an organization."""
    with server.store() as store:
        echo_all(finish(store.clients(organization or server.settings.organization)))


@client.command("show")
@name_argument
@organization_option
@pass_server
@told_in_one_line
def show_client(server: Server, name: str, organization: str | None) -> None:
    """Show a client: its keys and groups."""
    where = organization or server.settings.organization
    with server.store() as store:
        keys = required(finish(store.keys(where, name)), f"client '{name}'")
        click.echo(f"name: {name}\nkeys: {', '.join(keys)}")
        click.echo(f"organization: {where}{_groups_of(store, where, 'client', name)}")


@client.command("delete")
@name_argument
@organization_option
@pass_server
@told_in_one_line
def delete_client(server: Server, name: str, organization: str | None) -> None:
    """Delete a client, also from groups. Its node may not connect again."""
    where = organization or server.settings.organization
    with server.store() as store:
        finish(store.delete_client(where, name))
        finish(store.delete_registration(where, name))


@client.command("reregister")
@name_argument
@organization_option
@with_key_options
@pass_server
@told_in_one_line
def reregister_client(
    server: Server, name: str, organization: str | None, file: Path | None, public_key: Path | None
) -> None:
    """Give a client a new key; its old one is worth nothing any more."""
    where = organization or server.settings.organization
    with server.store() as store:
        required(finish(store.keys(where, name)), f"client '{name}'")
        with new_key(name, file, public_key) as key:
            finish(store.put_key(where, name, DEFAULT_KEY, key))
            finish(store.delete_registration(where, name))


def _groups_of(store: DirectStore, organization: str, kind: str, name: str) -> str:
    """The groups that it is directly in, as a text that goes on after the organization."""
    names = [
        found.name
        for found in finish(store.groups(organization)).values()
        if name in (found.users if kind == "user" else found.clients)
    ]
    return f" (groups: {', '.join(sorted(names))})" if names else ""
