"""``pushyd-ctl import-config``: the original's ``opscode-push-jobs-server.rb`` made into pushyd's settings."""

import sys
import textwrap
from pathlib import Path
from typing import Any

import click
import tomlkit

from pushy_protocol.conversion import Conversion, Finding, Unconvertible, import_file, item, unconverted, unread
from pushy_protocol.ruby_values import Reading, Setting, Symbol
from pushyd.config import HELP, ConfigError, Settings, check_setting, check_together
from pushyd.ctl.context import FILE, told_in_one_line

_SECTION = "opscode_pushy_server"
_RENAMED = {"vip": "server_name"}
_ELSEWHERE = {
    "whitelist": "each node has its own (pushy-agent import-config)",
    "listen": "see api_endpoint and zeromq_listen_address",
    "dir": "see state_dir",
    "log_directory": "pushyd logs to its standard output, which systemd keeps",
    "postgresql": "see database_url",
}


@click.command("import-config")
@click.argument("source", metavar="FILE", type=FILE)
@click.option("--output", "-o", type=FILE, help="Write it there, to a new file, and not to the standard output.")
@told_in_one_line
def import_config(source: Path, output: Path | None) -> None:
    """Convert the original's opscode-push-jobs-server.rb to pushyd's settings.

    No Ruby is run: what sets a plain value is converted, every other line is named. The exit status is 0 if all of it
    was converted, 3 if not, 1 if the file cannot be read or written.
    """
    raise SystemExit(import_file(source, output, convert, out=sys.stdout, errors=sys.stderr))


def convert(reading: Reading, name: str) -> Conversion:
    """The settings of a file of that name, which our own reader accepts."""
    values: dict[str, Any] = {}
    findings = [*unread(reading, [_SECTION])]
    for setting in reading.settings:
        try:
            values |= _converted(setting)
        except Unconvertible as problem:
            findings.append(unconverted(setting, problem))
    try:
        check_together(Settings(**values))
    except ConfigError as error:
        findings.append(Finding(what="what was written cannot be used as it is", why=str(error)))
    document = tomlkit.document()
    document.add(tomlkit.comment(f"Made of {name} by pushyd-ctl import-config."))
    for key, value in values.items():
        document.add(tomlkit.nl())
        for line in textwrap.wrap(HELP[key], 110):
            document.add(tomlkit.comment(line))
        document.add(key, item(value))
    return Conversion(toml=document.as_string(), findings=tuple(findings))


def _converted(setting: Setting) -> dict[str, Any]:
    section, key = setting.path[0], setting.path[-1]
    if section != _SECTION or len(setting.path) != 2:
        raise Unconvertible(_ELSEWHERE.get(section, "there is no such setting"))
    if setting.value is None:
        return {}
    if key in _ELSEWHERE:
        raise Unconvertible(_ELSEWHERE[key])
    name = _RENAMED.get(key, key)
    value = setting.value.name if isinstance(setting.value, Symbol) else setting.value
    if not isinstance(value, str | int | float):
        raise Unconvertible("expected a string, a number, true or false")
    try:
        check_setting(name, value)
    except ConfigError as error:
        raise Unconvertible(str(error)) from None
    return {name: value}
