"""The reference page and the man pages, made from the commands themselves, as ``--help`` is.

``python -m pushy_cli.manual DIRECTORY`` writes ``cli.md`` and ``man/*.1`` there; the program itself never needs this.
"""

import re
import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

import click
from attrs import frozen

from pushy_cli.main import cli
from pushy_cli.options import CommonOption

_WIDTH = 100
_FILES = {
    "~/.pushy/credentials, ~/.chef/credentials": "Profiles, in TOML; the first file that has the profile counts.",
    "~/.pushy/trusted_certs": "Certificates that are trusted besides the system's (pushy config fetch-ca).",
}
_VARIABLES = {
    "PUSHY_SERVER_URL, PUSHY_CLIENT_NAME, PUSHY_CLIENT_KEY, PUSHY_CA_FILE, PUSHY_PROFILE": (
        "As the options of the same names, which take precedence. PUSHY_CLIENT_KEY may be the key itself, in PEM."
    ),
    "HTTPS_PROXY, ALL_PROXY, NO_PROXY": (
        "The proxy to go through (http://, socks5://, each as [USER:PASSWORD@]HOST[:PORT]), and for which hosts not to."
    ),
    "NO_COLOR": "If it is set, no colours are shown; they never are but on a terminal.",
    "TERM, LANG, LC_ALL": "Whether a line can be drawn anew, and whether bars may be other than ASCII.",
}

FORMATS = {
    "job start, job rerun, job watch": (
        "the job as the API has it (`id`, `command`, `status`, `run_timeout`, `created_at`, `updated_at`, `nodes`: "
        "names by status, `reasons`: texts by name, `node_details`: by name `{status, reason, exit_status, signal, "
        "started_at, finished_at, duration}`, and what was given of `user`, `dir`, `env`, `capture_output`), "
        "with `output`: `{NODE: {stdout, stderr}}` where it was captured; with --nowait `{id, uri}`; with --dry-run "
        "`{command, quorum, enough, nodes: {available, unavailable, offline}}`. Names: the job's id."
    ),
    "job status": "the job, as above. Names: its nodes.",
    "job list": "a list of jobs, without their nodes. Names: their ids.",
    "job output": "`{NODE: {stdout, stderr}}`; with --to-dir the list of files. Names: the nodes that wrote something.",
    "job abort": "`{id}`. Names: the id.",
    "job purge": "`{deleted}`: how many, null where the server does not tell. Names: none.",
    "node status": "a list of `{node_name, status: online|offline, availability: available|unavailable}`.",
    "node list": "a list of names.",
    "node show": "Chef's node object, with `push`: `{status, availability}`.",
    "node search": "a list of Chef's node objects.",
    "client list, user list, group list": "a list of names.",
    "client show, user show, group show, group add, group remove": "Chef's object.",
    "client create, user create": "`{name}`, with `key_file` or (--print-key) `private_key`.",
    "client delete, user delete, group delete, group create, user add, user remove": "`{name}`.",
    "config init, config check": "a list of `{step, ok: true|false|null, told, hint}`. Names: the steps that failed.",
    "config show": (
        "`{server_url, client_name, client_key, trusted, verify_tls, request_timeout}`, `client_key` is its path. "
        "Names: the client's."
    ),
    "config fetch-ca": "`{file, sha256}`. Names: the file.",
    "completion": "`{shell, script}`. Names: the shell's.",
    "version": "`{version}`.",
}


@frozen(kw_only=True)
class Page:
    """A command as it is told: its words, and the parts of its help."""

    name: str
    usage: str
    text: str
    options: tuple[tuple[str, str], ...]
    commands: tuple[tuple[str, str], ...]
    epilog: str


def pages() -> list[Page]:
    """Every command, each group before its own."""
    return list(_walk(cli, None))


def common_options() -> list[tuple[str, str]]:
    """The options that every command takes."""
    with click.Context(cli, info_name="pushy", terminal_width=_WIDTH) as ctx:
        return [_record(option, ctx) for option in cli.get_params(ctx) if isinstance(option, CommonOption)]


def markdown() -> str:
    """The reference page."""
    lines = [
        "# The commands of `pushy`",
        "",
        "This page is made from the program's own help: `make docs`. The same is in `pushy COMMAND --help`, and in the",
        "man pages `pushy(1)`, `pushy-job(1)` and so on.",
        "",
        *_markdown_notes(),
        "## Options of every command",
        "",
        *_markdown_list(common_options()),
    ]
    for page in pages():
        level = "##" if page.name.count(" ") < 2 else "###"
        lines += [f"{level} {page.name}", "", "```text", page.usage, "```", "", *_markdown_text(page.text)]
        if page.options:
            lines += _markdown_list(page.options)
        if page.commands:
            lines += [
                f"- [`{page.name} {name}`](#{page.name.replace(' ', '-')}-{name}): {told}"
                for name, told in page.commands
            ]
            lines.append("")
        lines += _markdown_text(page.epilog)
    return "\n".join(lines).rstrip() + "\n"


def man_pages() -> dict[str, str]:
    """Man pages by file name: one of the program, one of each group with its commands."""
    families: dict[str, list[Page]] = {}
    for page in pages():
        families.setdefault("-".join(page.name.split()[:2]), []).append(page)
    return {f"{name}.1": _man(name, family) for name, family in families.items()}


def _walk(command: click.Command, parent: click.Context | None) -> Iterator[Page]:
    name = command.name or ""
    with click.Context(command, info_name="pushy" if parent is None else name, parent=parent) as ctx:
        children: list[click.Command] = []
        if isinstance(command, click.Group):
            names = command.list_commands(ctx)
            children = [child for name in names if (child := command.get_command(ctx, name))]
        own = [
            _record(option, ctx)
            for option in command.get_params(ctx)
            if isinstance(option, click.Option)
            and not isinstance(option, CommonOption)
            and not option.hidden
            and "--help" not in option.opts
        ]
        yield Page(
            name=_path(ctx),
            usage=" ".join([_path(ctx), *command.collect_usage_pieces(ctx)]),
            text=cleandoc(command.help or ""),
            options=tuple(own),
            commands=tuple((child.name or "", child.get_short_help_str(200)) for child in children),
            epilog=cleandoc(command.epilog or ""),
        )
        for child in children:
            yield from _walk(child, ctx)


def _path(ctx: click.Context) -> str:
    names: list[str] = []
    at: click.Context | None = ctx
    while at is not None:
        names.append(at.info_name or "")
        at = at.parent
    return " ".join(reversed(names))


def _record(option: click.Parameter, ctx: click.Context) -> tuple[str, str]:
    record = option.get_help_record(ctx)
    assert record is not None  # hidden ones are not asked
    return record


def _paragraphs(text: str) -> Iterator[tuple[bool, str]]:
    r"""Paragraphs, each with whether it stands as it is: click marks those with a line ``\b``."""
    for paragraph in re.split(r"\n\s*\n", text):
        if paragraph.startswith("\b"):
            yield True, paragraph.removeprefix("\b").strip("\n")
        elif paragraph.strip():
            yield False, paragraph


def _markdown_text(text: str) -> list[str]:
    lines: list[str] = []
    for verbatim, paragraph in _paragraphs(text):
        lines += ["```text", paragraph, "```", ""] if verbatim else [paragraph, ""]
    return lines


def _markdown_list(records: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> list[str]:
    return [*(f"- `{names}`: {' '.join(told.split())}" for names, told in records), ""]


def _markdown_notes() -> list[str]:
    lines = ["## Environment and files", ""]
    for name, told in [*_VARIABLES.items(), *_FILES.items()]:
        lines.append(f"- `{name}`: {told}")
    lines += [
        "",
        "## JSON, YAML and names",
        "",
        "What `-F json` and `-F yaml` give. Keys may be added, none is renamed.",
    ]
    lines += ["`-F names` gives the names in it, one a line. Text is for people, and may change.", ""]
    return [*lines, *(f"- `{name}`: {told}" for name, told in FORMATS.items()), ""]


def _man(name: str, family: list[Page]) -> str:
    first, *others = family
    lines = [
        f'.TH {name.upper()} 1 "" "pushy" "User Commands"',
        ".SH NAME",
        f"{name} \\- {_roff(first.text.splitlines()[0].rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {_roff(first.usage)}",
        ".SH DESCRIPTION",
        *_man_text(first.text),
    ]
    if first.options:
        lines += [".SH OPTIONS", *_man_list(first.options)]
    if first.commands and not others:
        lines += [".SH COMMANDS", *_man_list(first.commands)]
    lines += _man_text(first.epilog)
    if others:
        lines.append(".SH COMMANDS")
    for page in others:
        lines += [f".SS {_roff(page.usage)}", *_man_text(page.text), *_man_list(page.options), *_man_text(page.epilog)]
    lines += [".SH OPTIONS OF EVERY COMMAND", *_man_list(common_options())]
    lines += [".SH ENVIRONMENT", *_man_list(tuple(_VARIABLES.items())), ".SH FILES", *_man_list(tuple(_FILES.items()))]
    return "\n".join(lines) + "\n"


def _man_text(text: str) -> list[str]:
    lines: list[str] = []
    for verbatim, paragraph in _paragraphs(text):
        told = [_roff(line) for line in paragraph.splitlines()]
        lines += [".PP", ".nf", *told, ".fi"] if verbatim else [".PP", *told]
    return lines


def _man_list(records: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> list[str]:
    lines: list[str] = []
    for names, told in records:
        lines += [".TP", f".B {_roff(names)}", _roff(" ".join(told.split()))]
    return lines


def _roff(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return f"\\&{escaped}" if escaped.startswith((".", "\\(aq")) else escaped


def main(directory: Path) -> None:
    """Write all of it."""
    (directory / "man").mkdir(parents=True, exist_ok=True)
    (directory / "cli.md").write_text(markdown(), encoding="utf-8")
    for name, text in man_pages().items():
        (directory / "man" / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
