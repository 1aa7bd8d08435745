"""The help of every command, and the pages made from the same source, against the texts that are kept.

After a change of the help: ``python -m tests.pushy_cli.test_manual``.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import click
import pytest

from pushy_cli import manual
from pushy_cli.main import cli

ROOT = Path(__file__).parents[2]
HELP = Path(__file__).with_name("help.txt")


def helps(command: click.Command, parent: click.Context | None = None) -> Iterator[str]:
    with click.Context(
        command,
        info_name=command.name if parent else "pushy",
        parent=parent,
        terminal_width=80,
        **command.context_settings,
    ) as ctx:
        yield f"$ {ctx.command_path} --help\n{command.get_help(ctx)}\n"
        if isinstance(command, click.Group):
            for name in command.list_commands(ctx):
                yield from helps(command.commands[name], ctx)


def test_help() -> None:
    assert "\n".join(helps(cli)) == HELP.read_text(encoding="utf-8")


def test_pages() -> None:
    assert manual.markdown() == (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    kept = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs/man").glob("pushy*.1")}
    assert {name: kept.get(name) for name in manual.man_pages()} == manual.man_pages()


def test_every_command_says_its_formats() -> None:
    told = {f"pushy {name.strip()}" for names in manual.FORMATS for name in names.split(",")}
    named = {page.name for page in manual.pages()}
    assert told <= named


def test_man_pages_are_read_without_complaint() -> None:
    if which("groff") is None:
        pytest.fail("groff is needed to read the man pages")
    files = [str(path) for path in sorted((ROOT / "docs/man").glob("pushy*.1"))]
    read = subprocess.run(["groff", "-man", "-ww", "-z", *files], capture_output=True, text=True, check=True)
    assert read.stderr == ""


if __name__ == "__main__":
    HELP.write_text("\n".join(helps(cli)), encoding="utf-8")
    manual.main(ROOT / "docs")
