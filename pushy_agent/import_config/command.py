"""The command line of ``pushy-agent import-config``."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from pushy_agent.import_config.settings import convert
from pushy_protocol.conversion import import_file

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.argument("source", metavar="FILE", type=FILE)
@click.option("--output", "-o", type=FILE, help="Write it there, to a new file, and not to the standard output.")
def import_config(source: Path, output: Path | None) -> None:
    """Convert the original's push-jobs-client.rb to the agent's settings.

    No Ruby is run: what sets a plain value is converted, every other line is named. The exit status is 0 if all of it
    was converted, 3 if not, 1 if the file cannot be read or written.
    """
    try:
        raise SystemExit(import_file(source, output, convert, out=sys.stdout, errors=sys.stderr))
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
    except ValueError as error:
        raise click.ClickException(str(error)) from None


def main(arguments: Sequence[str]) -> None:
    """Run it with these arguments."""
    import_config(list(arguments), prog_name="pushy-agent import-config")
