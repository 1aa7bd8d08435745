"""The console script ``pushy``: its commands, and how it ends.

Only click is imported for ``--help``; Twisted and what else is heavy comes with the command that needs it.
"""

import gc
import sys
from typing import NoReturn

import click

from pushy_cli.completing import COMPLETE_VARIABLE
from pushy_cli.errors import INTERRUPTED, reader_has_gone
from pushy_cli.options import Group, common_options, tell

_COMMANDS = {
    "client": "pushy_cli.identity_commands:client",
    "completion": "pushy_cli.completion_commands:completion",
    "config": "pushy_cli.config_commands:config",
    "group": "pushy_cli.identity_commands:group",
    "job": "pushy_cli.job_commands:job",
    "node": "pushy_cli.node_commands:node",
    "user": "pushy_cli.identity_commands:user",
}


def _version() -> str:
    from importlib.metadata import version

    return version("pushy")


def _show_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(f"pushy {_version()}")
        ctx.exit()


@click.group(
    cls=Group,
    elsewhere=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
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


@cli.command("version")
@common_options
@click.pass_context
def show_version(ctx: click.Context) -> None:
    """Show the version."""
    version = _version()
    tell(ctx, {"version": version}, name=version, text=f"pushy {version}")


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
