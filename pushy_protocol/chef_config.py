"""What our programs take from Chef's own configuration: a ``client.rb``, ``knife.rb`` or ``config.rb``. Pure.

Only plain values are taken. No Ruby is run, so what a setting is that a condition or a call decides is not known: that
is told, and is never guessed.
"""

import re
from collections.abc import Mapping

from attrs import field, frozen

from pushy_protocol.ruby_values import plain, read_values

KEYS = (
    "chef_server_url",
    "node_name",
    "client_key",
    "validation_key",
    "validation_client_name",
    "ssl_verify_mode",
    "ssl_ca_file",
    "trusted_certs_dir",
)
"""The settings that are looked for."""


@frozen
class Found:
    """A setting's text, and the line on which it stands."""

    text: str
    line: int


@frozen(kw_only=True)
class ChefConfig:
    """What a file sets.

    :param settings: those of :data:`KEYS` that have a plain value
    :param unread: those that only Ruby knows, and the line of what sets them
    """

    settings: Mapping[str, Found] = field(factory=dict)
    unread: Mapping[str, int] = field(factory=dict)


def read_chef_config(text: str, *, file: str, environment: Mapping[str, str]) -> ChefConfig:
    """What a text sets; a later statement replaces an earlier one, also where it cannot be read.

    :param file: the absolute path of the text
    :param environment: for ``ENV["NAME"]``
    """
    reading = read_values(text, file=file, environment=environment)
    statements: list[tuple[int, str, str | None]] = [
        (setting.line, setting.path[0], _text(plain(setting.value)))
        for setting in reading.settings
        if len(setting.path) == 1 and setting.path[0] in KEYS
    ]
    lines = text.splitlines()
    for skipped in reading.skipped:
        words = set(re.findall(r"\w+", "\n".join(lines[skipped.line - 1 : skipped.last_line])))
        statements += [(skipped.line, key, None) for key in KEYS if key in words]
    settings: dict[str, Found] = {}
    unread: dict[str, int] = {}
    for line, key, value in sorted(statements, key=lambda statement: statement[0]):
        settings.pop(key, None)
        unread.pop(key, None)
        if value is None:
            unread[key] = line
        else:
            settings[key] = Found(value, line)
    return ChefConfig(settings=settings, unread=unread)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
