"""``completion``: the script that a shell reads to complete commands, options, job ids and names of nodes."""

from typing import Any

import click

from pushy_cli.completing import COMPLETE_VARIABLE
from pushy_cli.options import Command, common_options, tell


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
    from click.shell_completion import get_completion_class

    kind: Any = get_completion_class(shell)
    script = kind(ctx.find_root().command, {}, "pushy", COMPLETE_VARIABLE)
    # Not its source(), which first runs the shell to ask for its version.
    text = script.source_template % script.source_vars()
    tell(ctx, {"shell": shell, "script": text}, name=shell, text=text)
