"""The original's settings as ours, by the names of both."""

from collections.abc import Callable, Mapping
from typing import Any

import tomlkit
from tomlkit.items import Item

from pushy_agent.config import ConfigError, check_setting
from pushy_agent.import_config.whitelist import convert_entries
from pushy_agent.whitelist import DEFAULT
from pushy_protocol.conversion import Conversion, Finding, Unconvertible, item, key, text, unconverted, unread
from pushy_protocol.ruby_values import Constant, Hash, Pair, Reading, Setting, Value

CHEF_DEFAULTS = {"client_key": "/etc/chef/client.pem"}
"""What the original took where its file did not say, and ours takes from elsewhere."""

_LOG_LEVELS = {"trace": "debug", "auto": "info", "fatal": "critical"}
_VERIFY_MODES = {"OpenSSL::SSL::VERIFY_PEER": "verify_peer", "OpenSSL::SSL::VERIFY_NONE": "verify_none"}
_Pairs = list[tuple[str, Any]]


def _text(name: str) -> Callable[[Value], _Pairs]:
    return lambda value: [(name, text(value))]


def _number(name: str) -> Callable[[Value], _Pairs]:
    def convert(value: Value) -> _Pairs:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Unconvertible("expected a number")
        return [(name, value)]

    return convert


def _texts(name: str) -> Callable[[Value], _Pairs]:
    def convert(value: Value) -> _Pairs:
        values = value if isinstance(value, tuple) else (value,)
        return [(name, [text(each) for each in values])]

    return convert


def _verify_mode(value: Value) -> _Pairs:
    said = value.name if isinstance(value, Constant) else text(value)
    return [("ssl_verify_mode", _VERIFY_MODES.get(said, said))]


def _verify_api_cert(value: Value) -> _Pairs:
    # What it said beside ssl_verify_mode: verify the API's certificate, even if no other.
    return [("ssl_verify_mode", "verify_peer")] if value is True else _no_effect(value)


def _no_effect(value: Value) -> _Pairs:
    if value is not False:
        raise Unconvertible("expected true or false")
    return []


def _allow_unencrypted(value: Value) -> _Pairs:
    if value is True:
        raise Unconvertible("nothing is sent in clear here, whatever the server")
    return _no_effect(value)


def _log_level(value: Value) -> _Pairs:
    said = text(value)
    return [("log_level", _LOG_LEVELS.get(said, said))]


def _log_location(value: Value) -> _Pairs:
    # Without a file the log is the standard output, which is where a service's belongs.
    return [] if value in {Constant("STDOUT"), Constant("STDERR")} else [("logfile", text(value))]


_SETTINGS: Mapping[str, Callable[[Value], _Pairs]] = {
    **{
        name: _text(name)
        for name in (
            *("chef_server_url", "node_name", "client_key", "validation_key", "validation_client_name"),
            *("trusted_certs_dir", "file_dir", "environment"),
        )
    },
    "ssl_ca_file": _text("ca_file"),
    "ssl_verify_mode": _verify_mode,
    "verify_api_cert": _verify_api_cert,
    "file_dir_expiry": _number("file_dir_expiry"),
    "max_body_size": _number("max_body_size"),
    "allowed_overwritable_env_vars": _texts("allowed_overwritable_env_vars"),
    "tags": _texts("tags"),
    "allow_unencrypted": _allow_unencrypted,
    "log_level": _log_level,
    "log_location": _log_location,
}


def convert(reading: Reading, name: str) -> Conversion:
    """The settings of a file of that name, which our own reader accepts once the keys that they name are there."""
    values: dict[str, Any] = {}
    findings = [*unread(reading, [*_SETTINGS, "whitelist"])]
    whitelist: list[Pair] | None = None
    # verify_api_cert goes before ssl_verify_mode, wherever it stands.
    for setting in sorted(reading.settings, key=lambda setting: setting.path == ("verify_api_cert",)):
        try:
            if setting.path[0] == "whitelist":
                whitelist = _whitelist(setting, whitelist)
            else:
                values |= _converted(setting)
        except Unconvertible as problem:
            findings.append(unconverted(setting, problem))
    if "chef_server_url" not in values:
        why = "it is not set there; the agent takes server, key and certificates from /etc/chef/client.rb then"
        findings.append(Finding(what="chef_server_url", why=why, converted=True))
    entries = convert_entries(Hash(tuple(whitelist or ())))
    made = _document(values, None if whitelist is None else entries.table, name)
    return Conversion(toml=made, findings=(*findings, *entries.findings))


def _converted(setting: Setting) -> dict[str, Any]:
    """A setting under our name; nothing where the default says the same."""
    name = setting.path[0]
    if name == "ENV":
        raise Unconvertible("set it for the service (systemctl edit pushy-agent: [Service] Environment=…)")
    if len(setting.path) > 1 or name not in _SETTINGS:
        raise Unconvertible("there is no such setting")
    if setting.value is None:
        return {}
    found = dict(_SETTINGS[name](setting.value))
    for ours, value in found.items():
        try:
            check_setting(ours, value)
        except ConfigError as error:
            raise Unconvertible(str(error)) from None
    return found


def _whitelist(setting: Setting, before: list[Pair] | None) -> list[Pair]:
    """The entries after a statement that sets all of them or one."""
    match setting.path, setting.value:
        case (_,), Hash(pairs):
            return list(pairs)
        case (_, name), value:
            added = Pair(key=name, value=value, line=setting.line)
            default = [Pair(key=known, value=command, line=setting.line) for known, command in DEFAULT.items()]
            return [*(default if before is None else before), added]
    raise Unconvertible("expected a hash")


def _document(values: Mapping[str, Any], whitelist: Mapping[str, Any] | None, name: str) -> str:
    document = tomlkit.document()
    document.add(tomlkit.comment(f"Made of {name} by pushy-agent import-config."))
    document.add(tomlkit.comment("pushy-agent --config THIS --check-config says whether it can be used here."))
    document.add(tomlkit.nl())
    for setting, value in values.items():
        document.add(setting, item(value))
    for setting, default in CHEF_DEFAULTS.items():
        # Without a server the agent looks for all of these in Chef's client.rb.
        if setting not in values and "chef_server_url" in values:
            document.add(setting, item(default).comment("Chef's default"))
    if whitelist is not None:
        document.add(tomlkit.nl())
        entries = tomlkit.table()
        # Those without a table of their own go before those that have one.
        for command, entry in sorted(whitelist.items(), key=lambda named: isinstance(named[1], dict)):
            entries.add(key(command), _entry(entry))
        document.add("whitelist", entries)
    return document.as_string()


def _entry(entry: object) -> Item:
    if not isinstance(entry, dict):
        return item(entry)
    said = tomlkit.table()
    for name, value in entry.items():
        said.add(name, item(value))
    return said
