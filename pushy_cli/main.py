"""The console script ``pushy``: its commands, and how it ends.

Only click is imported for ``--help``; Twisted and what else is heavy comes with the command that needs it.
"""

import gc
import sys
from typing import NoReturn

import click

from pushy_cli.completion_commands import COMPLETE_VARIABLE, completion
from pushy_cli.config_commands import config
from pushy_cli.errors import INTERRUPTED, reader_has_gone
from pushy_cli.identity_commands import client, group, user
from pushy_cli.job_commands import job
from pushy_cli.node_commands import node
from pushy_cli.options import Group, common_options
from pushy_cli.start_commands import FOLLOWED_JOB_COMMANDS


def _version() -> str:
    from importlib.metadata import version

    return version("pushy")


def _show_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(f"pushy {_version()}")
        ctx.exit()


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    help="Show the version and exit.",
)
@common_options
def cli() -> None:
    """Run commands on many machines at once, by way of a push server.

    The server and the key are taken from the options, else from PUSHY_... variables, else from the profile in
    ~/.pushy/credentials or ~/.chef/credentials:

    \b
      [default]
      chef_server_url = "https://HOST:10003/organizations/ORG"
      client_name     = "admin"
      client_key      = "admin.pem"
    """


for command in FOLLOWED_JOB_COMMANDS:
    job.add_command(command)
for command in (job, node, client, user, group, config, completion):
    cli.add_command(command)


@cli.command("version")
@common_options
@click.pass_context
def show_version(ctx: click.Context) -> None:
    """Show the version."""
    forms = {"json": '{"version": "%s"}', "yaml": "version: %s", "names": "%s"}
    form = forms.get(ctx.find_root().ensure_object(dict).get("format", "text"), "pushy %s")
    click.echo(form % _version())


def main() -> NoReturn:
    """Run what the command line says, and exit."""
    # Importing makes much and leaves no garbage; a session collects again.
    gc.disable()
    try:
        status = cli.main(prog_name="pushy", complete_var=COMPLETE_VARIABLE, standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        status = INTERRUPTED
    except BrokenPipeError:
        status = reader_has_gone()
    sys.exit(status)
