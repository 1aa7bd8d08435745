"""The console script ``pushyd-ctl``: its options, and the commands about the server as a whole."""

import os
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import click
from sqlalchemy import func, select

from pushyd.ctl.backup import back_up
from pushyd.ctl.checks import check
from pushyd.ctl.context import FILE, ORGANIZATION, Server, open_server, pass_server, told_in_one_line, user_id
from pushyd.ctl.finding import Finding
from pushyd.ctl.groups import group
from pushyd.ctl.identity import client, org, user
from pushyd.ctl.import_config import import_config
from pushyd.first_start import make_first_principals
from pushyd.state_dir import lock, lock_is_held, open_state_dir
from pushyd.store.direct import finish, migrate_now
from pushyd.store.schema import jobs, unfinished

INSTALLED_CONFIG = Path("/etc/pushy/pushyd.toml")
"""Where the package has them."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option(
    "--config",
    "-c",
    type=FILE,
    envvar="PUSHYD_CONFIG",
    help=f"TOML file of the server's settings (default: {INSTALLED_CONFIG}, if it is there).",
)
@click.option("--state-dir", help="The state directory, instead of that in the settings.")
@click.option("--database-url", help="The database, instead of that in the settings.")
@click.version_option(package_name="pushy", prog_name="pushyd-ctl")
@click.pass_context
def cli(context: click.Context, config: Path | None, state_dir: str | None, database_url: str | None) -> None:
    """Administer a push server, on its own machine. It may be running."""
    if context.invoked_subcommand == import_config.name:
        return  # it is about no server that is there
    given = {"state_dir": state_dir, "database_url": database_url}
    overrides = {name: value for name, value in given.items() if value is not None}
    if config is None and INSTALLED_CONFIG.exists():
        config = INSTALLED_CONFIG
    context.obj = open_server(config, overrides, user=user_id())


for command in (org, user, client, group, import_config):
    cli.add_command(command)


@cli.command()
@pass_server
@told_in_one_line
def init(server: Server) -> None:
    """Make what a server needs: keys, database, organization, admin. What is there is kept."""
    settings = server.settings
    state = open_state_dir(server.state, settings.server_name)
    if not lock_is_held(server.state):
        migrate_now(settings.database)
    if settings.identity.backend == "chef":
        click.echo(f"{server.state} is ready; who there is, is on the Chef Server. Try: pushyd-ctl check")
        return
    with server.store() as store:
        made = finish(make_first_principals(store, state, settings.organization))
    click.echo(f"{'Made' if made else 'There is'} organization {settings.organization} in {server.state}.")
    for name, path in made.items():
        click.echo(f"The private key of {name} is in {path}.")


@cli.command()
@pass_server
@told_in_one_line
def status(server: Server) -> None:
    """Show whether the server runs, and how much there is in it."""
    with server.store() as store:
        click.echo(f"state directory: {server.state}")
        click.echo(f"server: {'running' if lock_is_held(server.state) else 'not running'}")
        for organization in finish(store.organizations()):
            name = organization.name
            if server.settings.identity.backend == "chef":
                click.echo(f"organization {name}: its users and clients are on the Chef Server")
                continue
            users, clients = len(finish(store.users(name))), len(finish(store.clients(name)))
            click.echo(f"organization {name}: {users} users, {clients} clients")
        live = select(func.count()).select_from(jobs).where(unfinished)
        click.echo(f"jobs that have not ended: {store.read(lambda connection: connection.execute(live).scalar_one())}")


@cli.command("check")
@click.option("--organization", "-o", type=ORGANIZATION, help="Of a Chef Server, instead of all that are known here.")
@pass_server
@told_in_one_line
def check_all(server: Server, organization: str | None) -> None:
    """Look for what is wrong, and say how to mend it. The exit status is 1 where something is.

    With a Chef Server as identity, every request that the server makes there is made once.
    """
    wrong = 0
    found: Iterator[Finding] = check(server, time.time())
    if server.settings.identity.backend == "chef":
        from pushyd.ctl.chef_checks import check_chef  # with all of Twisted's client

        found = chain(found, check_chef(server, organization))
    for finding in found:
        if finding.mend is None:
            click.echo(f"ok     {finding.what}: {finding.text}")
        else:
            wrong += 1
            click.echo(f"WRONG  {finding.what}: {finding.text}\n       to mend it: {finding.mend}")
    if wrong:
        raise SystemExit(1)


@cli.command()
@click.argument("file", type=FILE)
@pass_server
@told_in_one_line
def backup(server: Server, file: Path) -> None:
    """Write database and state directory to a new FILE, a tar archive. It holds every key of the server.

    To restore it, unpack it into an empty state directory (and give pushyd.pgdump, if there is one, to pg_restore).
    """
    back_up(server.state, server.settings.database, file, os.environ)
    click.echo(f"Wrote {file}; whoever can read it can be this server.")


@cli.command()
@pass_server
@told_in_one_line
def migrate(server: Server) -> None:
    """Bring the database to the schema of this version. The server must be stopped."""
    held = lock(server.state)
    try:
        before, after = migrate_now(server.settings.database)
    finally:
        os.close(held)
    click.echo(f"The schema is of version {after}" + ("." if before == after else f" (it was {before or 'empty'})."))


def main() -> None:
    """Run it."""
    cli(prog_name="pushyd-ctl")
