"""``completion``: the script that a shell reads to complete commands, options, job ids and names of nodes."""

from typing import Any

import click
from click.shell_completion import get_completion_class

from pushy_cli.options import Command, common_options

COMPLETE_VARIABLE = "_PUSHY_COMPLETE"
"""The environment variable by which the script asks the program."""


@click.command(cls=Command)
@common_options
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that makes a SHELL complete pushy's commands, options, job ids and node names.

    \b
    bash, in ~/.bashrc:                   eval "$(pushy completion bash)"
    zsh, in ~/.zshrc, after compinit:     eval "$(pushy completion zsh)"
    fish, in ~/.config/fish/config.fish:  pushy completion fish | source
    """
    kind: Any = get_completion_class(shell)
    script = kind(ctx.find_root().command, {}, "pushy", COMPLETE_VARIABLE)
    # Not its source(), which first runs the shell to ask for its version.
    click.echo(script.source_template % script.source_vars())
