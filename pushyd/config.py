"""pushyd's settings: their names, defaults and limits, read from TOML and from the command line.

A setting that is unknown, or of the wrong type or range, is an error that names the file, the key and what was
expected. Nothing is created here.
"""

import re
import socket
import tomllib
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from pushyd.identity_settings import IdentitySettings, WrongSetting, chef_access

Port = Annotated[int, Meta(ge=1, le=65535)]
Seconds = Annotated[int, Meta(ge=1, le=31_536_000)]
Bytes = Annotated[int, Meta(ge=4096, le=2**50)]
Milliseconds = Annotated[int, Meta(ge=10, le=3_600_000)]
ORGANIZATION_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,254}\Z"


class ConfigError(Exception):
    """A setting that cannot be taken; the text is for the operator."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting, by the original's names where it had one. See :data:`HELP` for what each is for."""

    server_name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9.:-]{1,253}\Z")] = msgspec.field(
        default_factory=socket.getfqdn
    )
    organization: Annotated[str, Meta(pattern=ORGANIZATION_PATTERN)] = "default"
    state_dir: Annotated[str, Meta(min_length=1)] = "/var/lib/pushyd"
    database_url: str | None = None
    api_endpoint: str | None = None
    api_port: Port = 10003
    command_port: Port = 10002
    server_heartbeat_port: Port = 10000
    zeromq_listen_address: Annotated[str, Meta(pattern=r"^tcp://[^/\s]+\Z")] = "tcp://*"
    heartbeat_interval: Milliseconds = 1000
    down_threshold: Annotated[float, Meta(gt=0, lt=1)] = 0.6
    decay_window: Annotated[int, Meta(ge=1, le=1000)] = 4
    detect_offline_nodes_interval: Seconds = 4
    voting_timeout: Seconds = 60
    default_running_timeout: Seconds = 3600
    rehab_timer: Milliseconds = 1000
    wait_complete_time: Seconds = 5
    keep_alive_time: Seconds = 15
    org_feed_expiration: Seconds = 60
    config_lifetime: Seconds = 3600
    max_body_size: Annotated[int, Meta(ge=4096, le=16_777_216)] = 65536
    max_time_skew: Seconds = 300
    job_retention_days: Annotated[int, Meta(ge=0, le=36_500)] = 0
    job_retention_count: Annotated[int, Meta(ge=0, le=2_000_000_000)] = 0
    max_output: Bytes = 64 * 1024 * 1024
    max_job_output: Bytes = 4 * 1024 * 1024 * 1024
    min_free_disk: Annotated[int, Meta(ge=0, le=2**50)] = 256 * 1024 * 1024
    validate_client_node_name: bool = True
    identity: IdentitySettings = IdentitySettings()

    @property
    def heartbeat_seconds(self) -> float:
        """`heartbeat_interval` in seconds."""
        return self.heartbeat_interval / 1000

    @property
    def rehab_seconds(self) -> float:
        """`rehab_timer` in seconds."""
        return self.rehab_timer / 1000

    @property
    def database(self) -> str:
        """The URL of the database."""
        return self.database_url or f"sqlite:///{Path(self.state_dir).absolute() / 'pushyd.sqlite'}"


# Table `identity` has its own, and no options on the command line.
HELP: Mapping[str, str] = {
    "server_name": "the name by which nodes and workstations reach this server (default: its fully qualified name)",
    "organization": "the organization that is made on an empty state directory",
    "state_dir": "the directory of keys and, unless database_url says otherwise, of the database",
    "database_url": "sqlite:///FILE or postgresql://USER@HOST/NAME (default: pushyd.sqlite in state_dir)",
    "api_endpoint": "a Twisted endpoint for the API, e.g. tcp:10003:interface=127.0.0.1 behind a proxy that does TLS "
    "(default: TLS on api_port with the certificate in state_dir)",
    "api_port": "port of the API",
    "command_port": "port of the command channel",
    "server_heartbeat_port": "port of the server's heartbeat",
    "zeromq_listen_address": "where the two channels listen: tcp://* or tcp://ADDRESS",
    "heartbeat_interval": "milliseconds between heartbeats, both ways",
    "down_threshold": "a node is down when its average of heartbeats per interval is below this",
    "decay_window": "intervals that the average looks back",
    "detect_offline_nodes_interval": "seconds between looks for nodes that are down",
    "voting_timeout": "seconds that nodes have to answer a commit",
    "default_running_timeout": "seconds that a job may run when its request does not say",
    "rehab_timer": "milliseconds between aborts to a node that does not answer them",
    "wait_complete_time": "seconds that the feed of an ended job can still be read from its beginning",
    "keep_alive_time": "seconds between keep-alive comments in a feed",
    "org_feed_expiration": "seconds that an event stays in an organization's feed",
    "config_lifetime": "seconds after which an agent fetches its configuration again",
    "max_body_size": "bytes of the largest message on the command channel",
    "max_time_skew": "seconds that an agent's clock may be off",
    "job_retention_days": "days after which an ended job is deleted; 0: never",
    "job_retention_count": "jobs that each organization keeps, the newest of them; 0: all",
    "max_output": "bytes that a job may ask to keep of each node's stdout, and of its stderr",
    "max_job_output": "bytes of output that are kept of one job, all its nodes together",
    "min_free_disk": "bytes of the disk that output leaves free; with SQLite, whose disk this server knows",
    "validate_client_node_name": "a client may only fetch the configuration of the node of its own name",
}


def check_setting(name: str, value: object) -> None:
    """Check one setting of the file by itself.

    :raise ConfigError: there is no such setting, or it cannot have that value
    """
    try:
        msgspec.convert({name: value}, Settings)
    except msgspec.ValidationError as error:
        raise ConfigError(_explained(error)[1]) from None


def load(path: Path | None, overrides: Mapping[str, str]) -> Settings:
    """The settings of a TOML file (None: there is none), with `overrides` from the command line above them.

    :raise ConfigError: the file cannot be read, or a setting cannot be taken
    """
    from_file = _read(path) if path else {}
    # Checked apart, so that an error names the place that has to be mended.
    if path:
        _convert(from_file, str(path), strict=True)
    # What overrides are is text, so numbers are read from it.
    options = _convert(dict(overrides), "command line", strict=False)
    chosen = {name: getattr(options, name) for name in overrides}
    settings = _convert({**from_file, **chosen}, str(path or "command line"), strict=True)
    try:
        check_together(settings)
    except ConfigError as error:
        raise ConfigError(f"{path or 'command line'}: {error}") from None
    return settings


def check_together(settings: Settings) -> None:
    """Check what no setting's type says.

    :raise ConfigError: they do not go together
    """
    ports = ("api_port", "command_port", "server_heartbeat_port")
    if len({getattr(settings, port) for port in ports}) < len(ports):
        raise ConfigError(f"{', '.join(ports)}: expected three different ports")
    if ":" in settings.server_name and not _is_address(settings.server_name):
        raise ConfigError("server_name: expected a host name or an address, without a port")
    if settings.identity.backend == "chef":
        try:
            chef_access(settings.identity)
        except WrongSetting as error:
            raise ConfigError(str(error)) from None


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected TOML: {error}") from None


_KEY = re.compile(r"`\$\.?([^`]*)`$")
_UNKNOWN = re.compile(r"unknown field `(.*?)`(?: - at `|$)")


def _convert(values: dict[str, Any], where: str, *, strict: bool) -> Settings:
    try:
        return msgspec.convert(values, Settings, strict=strict)
    except msgspec.ValidationError as error:
        raise ConfigError(": ".join((where, *_explained(error)))) from None


def _explained(error: msgspec.ValidationError) -> tuple[str, str]:
    """The name of the setting, and what is wrong with it."""
    text = str(error)
    key = _KEY.search(text)
    if unknown := _UNKNOWN.search(text):
        return f"{key[1]}.{unknown[1]}" if key else unknown[1], "there is no such setting"
    expected = text.partition(" - at ")[0].replace("`", "")
    return key[1] if key else "", f"{expected[:1].lower()}{expected[1:]}"
