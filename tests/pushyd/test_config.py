"""The settings: what each may be, what is said of one that cannot be taken, and which of two places wins."""

import re
import socket
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushyd.config import HELP, ConfigError, Settings, load
from pushyd.identity_settings import IDENTITY_HELP, ChefAccess, IdentitySettings, chef_access

# What is said in no file; where the original had the setting, with its name and default.
DEFAULTS: dict[str, Any] = {
    "organization": "default",
    "state_dir": "/var/lib/pushyd",
    "database_url": None,
    "api_endpoint": None,
    "api_port": 10003,
    "command_port": 10002,
    "server_heartbeat_port": 10000,
    "zeromq_listen_address": "tcp://*",
    "heartbeat_interval": 1000,
    "down_threshold": 0.6,
    "decay_window": 4,
    "detect_offline_nodes_interval": 4,
    "voting_timeout": 60,
    "default_running_timeout": 3600,
    "rehab_timer": 1000,
    "wait_complete_time": 5,
    "keep_alive_time": 15,
    "org_feed_expiration": 60,
    "config_lifetime": 3600,
    "max_body_size": 65536,
    "max_time_skew": 300,
    "job_retention_days": 0,
    "job_retention_count": 0,
    "max_output": 2**26,
    "max_job_output": 2**32,
    "min_free_disk": 2**28,
    "validate_client_node_name": True,
}

# For each setting a value that it may have, in TOML, and as it is then.
GOOD: dict[str, tuple[str, Any]] = {
    "server_name": ('"push.example"', "push.example"),
    "organization": ('"acme_1-x"', "acme_1-x"),
    "state_dir": ('"/srv/pushyd"', "/srv/pushyd"),
    "database_url": ('"postgresql://pushyd@db/pushyd"', "postgresql://pushyd@db/pushyd"),
    "api_endpoint": ('"tcp:8080:interface=127.0.0.1"', "tcp:8080:interface=127.0.0.1"),
    "api_port": ("1", 1),
    "command_port": ("65535", 65535),
    "server_heartbeat_port": ("2", 2),
    "zeromq_listen_address": ('"tcp://[::1]"', "tcp://[::1]"),
    "heartbeat_interval": ("10", 10),
    "down_threshold": ("0.01", 0.01),
    "decay_window": ("1", 1),
    "detect_offline_nodes_interval": ("1", 1),
    "voting_timeout": ("1", 1),
    "default_running_timeout": ("31536000", 31_536_000),
    "rehab_timer": ("3600000", 3_600_000),
    "wait_complete_time": ("1", 1),
    "keep_alive_time": ("1", 1),
    "org_feed_expiration": ("1", 1),
    "config_lifetime": ("1", 1),
    "max_body_size": ("4096", 4096),
    "max_time_skew": ("1", 1),
    "job_retention_days": ("36500", 36_500),
    "job_retention_count": ("1", 1),
    "max_output": ("4096", 4096),
    "max_job_output": ("1125899906842624", 2**50),
    "min_free_disk": ("1", 1),
    "validate_client_node_name": ("false", False),
}

TEXTS = {"server_name", "organization", "state_dir", "zeromq_listen_address", "database_url", "api_endpoint"}
FROM_ZERO = {"job_retention_days", "job_retention_count", "min_free_disk"}
PORTS = {"api_port", "command_port", "server_heartbeat_port"}

# For each setting values that it may not have, and what is then said to be expected.
BAD: dict[str, list[tuple[str, str]]] = {
    "server_name": [
        ('""', "regex"),
        ('"a\\n"', "regex"),
        ('"a b"', "regex"),
        ('"a/b"', "regex"),
        ('"a:1"', "without a port"),
    ],
    "organization": [('""', "regex"), ('"Acme"', "regex"), ('"a/b"', "regex"), ('"a\\n"', "regex"), ('"-a"', "regex")],
    "state_dir": [('""', "length >= 1")],
    "zeromq_listen_address": [
        ('"ipc:///x"', "regex"),
        ('"tcp://a\\n"', "regex"),
        ('"*"', "regex"),
        ('"tcp://"', "regex"),
    ],
    "down_threshold": [
        ("0", "> 0"),
        ("1", "< 1"),
        ("-0.5", "> 0"),
        ("nan", "> 0"),
        ('"0.5"', "float"),
        ("true", "float"),
    ],
    "decay_window": [("0", ">= 1"), ("1001", "<= 1000")],
    "max_body_size": [("4095", ">= 4096"), ("16777217", "<= 16777216")],
    "max_output": [("4095", ">= 4096")],
    "min_free_disk": [("1125899906842625", "<= 1125899906842624")],
    "validate_client_node_name": [("1", "bool"), ('"yes"', "bool")],
}
for _name in DEFAULTS:
    _expected = BAD.setdefault(_name, [])
    if _name in TEXTS:
        _expected += [("1", "str"), ("[]", "str"), ("true", "str")]
    elif _name not in ("down_threshold", "validate_client_node_name"):
        _expected += [("-1", ">="), ("1.5", "int"), ('"5"', "int"), ("true", "int"), ("2026-01-31", "int")]
        _expected += [] if _name in FROM_ZERO else [("0", ">=")]
        _expected += [("65536" if _name in PORTS else "99999999999999999999", "<=")]


def write(directory: Path, text: str) -> Path:
    path = directory / "pushyd.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path | None, **overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, overrides)
    return str(caught.value)


def test_what_is_not_said_has_the_originals_default() -> None:
    settings = msgspec.structs.asdict(load(None, {}))
    assert settings.pop("server_name") == socket.getfqdn()
    assert settings.pop("identity") == IdentitySettings()
    assert settings == DEFAULTS


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    assert load(write(tmp_path, ""), {}) == load(None, {})


def test_every_setting_is_told_of_and_tried_here() -> None:
    names = set(Settings.__struct_fields__) - {"identity"}
    assert names == set(HELP) == set(GOOD) == DEFAULTS.keys() | {"server_name"}
    assert set(BAD) == names


@pytest.mark.parametrize("name", GOOD)
def test_a_setting_is_taken_from_the_file_or_the_command_line(tmp_path: Path, name: str) -> None:
    in_toml, value = GOOD[name]
    assert getattr(load(write(tmp_path, f"{name} = {in_toml}"), {}), name) == value
    assert getattr(load(None, {name: in_toml.strip('"')}), name) == value


@pytest.mark.parametrize(("name", "in_toml", "expected"), [(name, *case) for name in BAD for case in BAD[name]])
def test_a_wrong_one_is_refused_with_file_key_and_expectation(
    tmp_path: Path, name: str, in_toml: str, expected: str
) -> None:
    path = write(tmp_path, f"{name} = {in_toml}")
    text = refusal(path)
    assert text.startswith(f"{path}: {name}: expected ")
    assert expected in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("api_port", "abc", "int"),
        ("api_port", "0", ">= 1"),
        ("api_port", "", "int"),
        ("api_port", "1.5", "int"),
        ("down_threshold", "half", "float"),
        ("down_threshold", "2", "< 1"),
        ("validate_client_node_name", "perhaps", "bool"),
        ("organization", "", "regex"),
        ("server_name", "a:1", "without a port"),
    ],
)
def test_a_wrong_option_names_the_command_line(name: str, value: str, expected: str) -> None:
    text = refusal(None, **{name: value})
    assert text.startswith(f"command line: {name}: expected ")
    assert expected in text


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("api-port = 1", "api-port"),
        ("apiport = 1", "apiport"),
        ("[pushyd]\napi_port = 1", "pushyd"),
        ('"a b" = 1', "a b"),
    ],
)
def test_an_unknown_one_is_refused(tmp_path: Path, text: str, key: str) -> None:
    path = write(tmp_path, f"voting_timeout = 5\n{text}")
    assert refusal(path) == f"{path}: {key}: there is no such setting"


@pytest.mark.parametrize("text", ["api_port", "api_port = ", "api_port = 1\napi_port = 2", "= 1", "{}"])
def test_what_is_no_toml_is_refused(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    assert refusal(path).startswith(f"{path}: expected TOML: ")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.toml") == f"{tmp_path}/none.toml: cannot be read: No such file or directory"
    assert refusal(tmp_path) == f"{tmp_path}: cannot be read: Is a directory"
    path = tmp_path / "latin.toml"
    path.write_bytes(b'organization = "\xe9"')
    assert refusal(path).startswith(f"{path}: expected TOML: ")


def test_the_command_line_wins(tmp_path: Path) -> None:
    path = write(tmp_path, "api_port = 1\ncommand_port = 2\nvalidate_client_node_name = true")
    settings = load(path, {"api_port": "3", "validate_client_node_name": "false"})
    assert (settings.api_port, settings.command_port, settings.validate_client_node_name) == (3, 2, False)


def test_an_option_does_not_hide_what_is_wrong_in_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "api_port = 0")
    assert refusal(path, api_port="3").startswith(f"{path}: api_port: ")


@pytest.mark.parametrize(
    "text", ["api_port = 10002", "command_port = 10000", "api_port = 5\ncommand_port = 5\nserver_heartbeat_port = 5"]
)
def test_the_ports_must_differ(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    expected = "api_port, command_port, server_heartbeat_port: expected three different ports"
    assert refusal(path) == f"{path}: {expected}"
    assert refusal(None, api_port="10002") == f"command line: {expected}"


@pytest.mark.parametrize("name", ["push.example", "127.0.0.1", "::1", "2001:db8::1", "a-b", "A"])
def test_a_server_goes_by_a_name_or_an_address(name: str) -> None:
    assert load(None, {"server_name": name}).server_name == name


def test_times_come_in_seconds() -> None:
    settings = load(None, {"heartbeat_interval": "250", "rehab_timer": "1500"})
    assert (settings.heartbeat_seconds, settings.rehab_seconds) == (0.25, 1.5)


def test_the_database_is_in_the_state_directory_unless_it_is_said_to_be_elsewhere() -> None:
    assert load(None, {"state_dir": "/srv/push yd"}).database == "sqlite:////srv/push yd/pushyd.sqlite"
    assert load(None, {"state_dir": "here"}).database == f"sqlite:///{Path.cwd()}/here/pushyd.sqlite"
    assert load(None, {"state_dir": "/srv", "database_url": "postgresql:///x"}).database == "postgresql:///x"


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), st.text(max_size=20)))
def test_whatever_an_option_says_is_taken_or_explained(overrides: dict[str, str]) -> None:
    try:
        said = repr(load(None, overrides))
    except ConfigError as error:
        said = str(error)
    assert said.startswith(("Settings(", "command line: "))


CHEF = 'backend = "chef"\nchef_server_url = "https://chef.example"\nclient_name = "pushy"\nclient_key = "/k.pem"\n'

# For each setting of [identity] a value that it may have, one that it may not, and what is then said to be expected.
IDENTITY: dict[str, tuple[str, str, str]] = {
    "backend": ('"local"', '"ldap"', "enum value 'ldap'"),
    "chef_server_url": ('"https://chef.example"', "1", "str"),
    "client_name": ('"pushy"', '""', "length >= 1"),
    "client_key": ('"/etc/pushy/pushy.pem"', "[]", "str"),
    "ssl_verify_mode": ('"verify_none"', '"none"', "enum value 'none'"),
    "trusted_certs_dir": ('"/etc/chef/trusted_certs"', "true", "str"),
    "authentication_protocol_version": ('"1.1"', '"1.2"', "enum value '1.2'"),
    "request_timeout": ("0.5", "0", ">= 0.1"),
    "connections": ("1", "0", ">= 1"),
    "cache_lifetime": ("1", "0", ">= 1"),
    "negative_cache_lifetime": ("0", "-1", ">= 0"),
    "stale_lifetime": ("0", '"1"', "float"),
    "cache_size": ("100", "99", ">= 100"),
}


def test_every_setting_of_identity_is_told_of_and_tried_here() -> None:
    assert set(IdentitySettings.__struct_fields__) == set(IDENTITY_HELP) == set(IDENTITY)


@pytest.mark.parametrize("name", IDENTITY)
def test_a_setting_of_identity(tmp_path: Path, name: str) -> None:
    good, bad, expected = IDENTITY[name]
    load(write(tmp_path, f"[identity]\n{name} = {good}"), {})
    path = write(tmp_path, f"[identity]\n{name} = {bad}")
    text = refusal(path)
    assert text.startswith(f"{path}: identity.{name}: ")
    assert expected in text


def test_an_unknown_setting_of_identity_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, '[identity]\nclient = "x"')
    assert refusal(path) == f"{path}: identity.client: there is no such setting"


@pytest.mark.parametrize("missing", ["chef_server_url", "client_name", "client_key"])
def test_what_a_chef_server_needs(tmp_path: Path, missing: str) -> None:
    lines = [line for line in CHEF.splitlines() if not line.startswith(missing)]
    path = write(tmp_path, "\n".join(["[identity]", *lines]))
    assert refusal(path) == f'{path}: identity.{missing}: expected a value, as identity.backend is "chef"'


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://chef.example", "https://chef.example"),
        ("https://chef.example/", "https://chef.example"),
        ("https://chef.example:8443/organizations/acme/", "https://chef.example:8443"),
        ("http://[::1]:8889", "http://[::1]:8889"),
    ],
)
def test_the_url_of_a_chef_server(tmp_path: Path, url: str, origin: str) -> None:
    settings = load(write(tmp_path, "[identity]\n" + CHEF.replace("https://chef.example", url)), {})
    assert chef_access(settings.identity) == ChefAccess(url=origin, client_name="pushy", client_key="/k.pem")


@pytest.mark.parametrize(
    "url",
    [
        "chef.example",
        "ftp://chef.example",
        "https://",
        "https://c/x",
        "https://c/organizations/",
        "https://c:x",
        "https://c?q",
        "https://c#f",
        "https://u:p@c",
        "https://c:0",
        "https://c\\n",
        "https://\u00e9",
        "https://c/organizations/a/b",
    ],
)
def test_what_is_no_url_of_a_chef_server(tmp_path: Path, url: str) -> None:
    path = write(tmp_path, "[identity]\n" + CHEF.replace("https://chef.example", url))
    assert refusal(path).startswith(f"{path}: identity.chef_server_url: expected https://HOST[:PORT], got ")


def test_the_sample_names_every_setting_of_identity_with_its_default() -> None:
    sample = (Path(__file__).parents[2] / "etc" / "pushyd.toml").read_text()
    section = sample[sample.index("[identity]") :]
    said = tomllib.loads("\n".join(re.findall(r"^# (\w+ = .*)$", section, re.MULTILINE)))
    examples = set(re.findall(r"^# \(example\) (\w+) = ", section, re.MULTILINE))
    assert said.keys() | examples == set(IDENTITY)
    assert IdentitySettings(**said) == IdentitySettings()
    for text in IDENTITY_HELP.values():
        assert f"# {text}\n" in section
