"""The help of every command, and the pages made from the same source, against the texts that are kept.

After a change of the help: ``python -m tests.pushy_cli.test_manual``.
"""

from collections.abc import Iterator
from pathlib import Path

import click

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
                child = command.get_command(ctx, name)
                assert child is not None
                yield from helps(child, ctx)


def test_help() -> None:
    assert "\n".join(helps(cli)) == HELP.read_text(encoding="utf-8")


def test_pages() -> None:
    assert manual.markdown() == (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    kept = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs/man").glob("pushy*.1")}
    assert {name: kept.get(name) for name in manual.man_pages()} == manual.man_pages()


def test_every_command_says_its_formats() -> None:
    told = [f"pushy {name.strip()}" for names in manual.FORMATS for name in names.split(",")]
    assert sorted(told) == sorted(page.name for page in manual.pages() if not page.commands)


def test_man_pages_are_made_of_the_requests_that_man_knows() -> None:
    known = {".TH", ".SH", ".SS", ".PP", ".TP", ".RS", ".RE", ".nf", ".fi", ".B", ".I", ".BR", ".IP", ".EX", ".EE"}
    for name, page in manual.man_pages().items():
        lines = page.splitlines()
        requests = [line.split()[0] for line in lines if line.startswith((".", "'"))]
        assert set(requests) <= known | {'.\\"'}, name
        # What opens is closed, and a tagged paragraph has its tag.
        assert requests.count(".RS") == requests.count(".RE"), name
        assert requests.count(".nf") == requests.count(".fi"), name
        assert requests.count(".EX") == requests.count(".EE"), name
        assert ".TP" not in lines[-1:], name
        assert next(line for line in lines if not line.startswith('.\\"')).startswith(".TH "), name


if __name__ == "__main__":
    HELP.write_text("\n".join(helps(cli)), encoding="utf-8")
    manual.main(ROOT / "docs")
