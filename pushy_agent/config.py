"""The agent's settings: TOML and options in, one frozen value out, or one line that says what is wrong.

Decoding is strict: an unknown key, a wrong type, a value out of range stops the start. What an option of the command
line says goes before what the file says. The keys and certificates that the settings name are looked at here too, so
that what is wrong with them is told at once and not at the first connection.
"""

import re
import ssl
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args, get_type_hints
from urllib.parse import urlsplit

import msgspec
from attrs import frozen

from pushy_agent.chef_client import CLIENT_RB, ChefClient, ChefConfigError, client_for
from pushy_agent.facts import Labels
from pushy_agent.http import load_certificates
from pushy_agent.whitelist import Whitelist, WhitelistError, merge
from pushy_protocol.keys import KeyFormatError, parse_private_key

LogLevel = Literal["debug", "info", "warn", "error", "critical"]

_NODE_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,255}")
_ORGANIZATION = re.compile(r"/organizations/([a-z0-9][a-z0-9_-]{0,254})")
_NOTHING: Mapping[str, str] = MappingProxyType({})
_Text = Annotated[str, msgspec.Meta(min_length=1)]


class ConfigError(Exception):
    """Settings that are none; the text says where, which key, and what was expected."""


class _Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of the file, by the original's names."""

    chef_config: _Text | None = None
    chef_server_url: _Text | None = None
    server_url: _Text | None = None
    node_name: _Text | None = None
    client_key: _Text = "/etc/pushy/client.pem"
    validation_key: _Text | None = None
    validation_client_name: _Text | None = None
    ssl_verify_mode: Literal["verify_peer", "verify_none"] = "verify_peer"
    ca_file: _Text | None = None
    trusted_certs_dir: _Text | None = None
    state_dir: _Text = "/var/lib/pushy-agent"
    file_dir: _Text | None = None
    file_dir_expiry: Annotated[float, msgspec.Meta(ge=0)] = 86_400
    stop_grace: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 5
    max_body_size: Annotated[int, msgspec.Meta(ge=1024, le=2**30)] | None = None
    output_spool_limit: Annotated[int, msgspec.Meta(ge=0, le=2**40)] = 256 * 1024 * 1024
    log_level: LogLevel = "info"
    logfile: _Text | None = None
    allowed_overwritable_env_vars: list[_Text] | None = None
    tags: list[_Text] = []
    roles: list[_Text] = []
    environment: _Text | None = None
    whitelist_dir: _Text = "whitelist.d"
    whitelist: dict[str, Any] | None = None


@frozen(kw_only=True)
class Config:
    """The settings, checked. Paths are absolute, times in seconds, sizes in bytes; `max_body_size` is None for
    the server's.

    :param sources: what was read for them, files and directories
    """

    server_url: str
    organization: str
    node_name: str
    client_key: Path
    validation_key: Path | None
    validation_client_name: str
    verify_peer: bool
    trusted: tuple[Path, ...]
    state_dir: Path
    file_dir: Path
    file_dir_expiry: float
    stop_grace: float
    max_body_size: int | None
    output_spool_limit: int
    log_level: LogLevel
    logfile: Path | None
    allowed_env: frozenset[str] | None
    labels: Labels
    whitelist: Whitelist
    sources: tuple[Path, ...]


def load(
    path: Path,
    options: Mapping[str, object],
    fqdn: Callable[[], str],
    *,
    client_rb: Path = CLIENT_RB,
    environment: Mapping[str, str] = _NOTHING,
) -> Config:
    """The settings of a file, with `options` (by the same names) before them.

    Relative paths in the file are meant from the file's directory, those in options from the current one. Where neither
    names a server, what is not said is taken from Chef's configuration, if there is one; or from that of `chef_config`,
    which must be there.

    :param fqdn: gives the name of a node that is not told its name
    :param client_rb: where Chef's configuration is
    :param environment: which Chef's configuration may name
    :raise ConfigError: something is missing or wrong.
    """
    table = _read(path)
    # An option takes the place of either spelling of its key.
    if "chef_server_url" in options:
        table.pop("server_url", None)
    said = {**table, **options}
    try:
        chef = client_for(path, said, client_rb, environment)
    except ChefConfigError as error:
        raise ConfigError(str(error)) from None
    return _Reading(path, options, chef).config(
        {**{key: value for key, value in chef.settings.items() if key not in said}, **said}, fqdn
    )


def check_setting(key: str, value: object) -> None:
    """Check one key of the file by itself; no file is looked at.

    :raise ConfigError: there is no such key, or it cannot have that value.
    """
    try:
        settings = msgspec.convert({key: value}, _Settings)
        if key in {"chef_server_url", "server_url"}:
            _server_and_organization(settings.chef_server_url or settings.server_url)
        if settings.node_name:
            _checked_node_name(settings.node_name)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(error)[1]) from None
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _server_and_organization(url: str | None) -> tuple[str, str]:
    """The URL without a slash at its end, and the organization in it.

    :raise ValueError: it is no URL of an organization
    """
    expected = "expected https://HOST[:PORT]/organizations/ORG"
    if url is None:
        raise ValueError(f"{expected}, got nothing")
    url = url.rstrip("/")
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no number
    except ValueError:
        raise ValueError(f"{expected}, got {url!r}") from None
    organization = _ORGANIZATION.fullmatch(parts.path)
    if parts.scheme not in {"https", "http"} or not parts.hostname or parts.query or parts.username:
        organization = None
    if organization is None:
        raise ValueError(f"{expected}, got {url!r}")
    return url, organization[1]


def _checked_node_name(name: str) -> str:
    if not _NODE_NAME.fullmatch(name):
        raise ValueError(f"expected letters, digits and _.:- only, got {name!r}")
    return name


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected TOML: {error}") from None


class _Reading:
    """One reading of settings: knows where a key came from, for paths and complaints."""

    def __init__(self, path: Path, options: Mapping[str, object], chef: ChefClient) -> None:
        self._file = path
        self._options = options
        self._chef = chef
        self._sources: Mapping[str, str] = {}  # of the settings that Chef's configuration says

    def config(self, table: Mapping[str, object], fqdn: Callable[[], str]) -> Config:
        self._sources = {
            key: source for key, source in self._chef.sources.items() if table.get(key) == self._chef.settings.get(key)
        }
        settings = self._decode(table)
        server_url, organization = self._server(settings)
        state_dir = self._directory("state_dir", settings.state_dir)
        whitelist, sources = self._whitelist(settings)
        return Config(
            server_url=server_url,
            organization=organization,
            node_name=self._node_name(settings.node_name or fqdn()),
            client_key=self._client_key(settings),
            validation_key=self._path("validation_key", settings.validation_key),
            validation_client_name=settings.validation_client_name or f"{organization}-validator",
            verify_peer=settings.ssl_verify_mode == "verify_peer",
            trusted=self._certificates(settings),
            state_dir=state_dir,
            file_dir=self._path("file_dir", settings.file_dir) or state_dir / "files",
            file_dir_expiry=settings.file_dir_expiry,
            stop_grace=settings.stop_grace,
            max_body_size=settings.max_body_size,
            output_spool_limit=settings.output_spool_limit,
            log_level=settings.log_level,
            logfile=self._path("logfile", settings.logfile),
            allowed_env=None
            if settings.allowed_overwritable_env_vars is None
            else frozenset(settings.allowed_overwritable_env_vars),
            labels=Labels(tags=tuple(settings.tags), roles=tuple(settings.roles), environment=settings.environment),
            whitelist=whitelist,
            sources=(*sources, *self._chef.files),
        )

    def _decode(self, table: Mapping[str, object]) -> _Settings:
        try:
            return msgspec.convert(dict(table), _Settings)
        except msgspec.ValidationError as error:
            raise self._wrong(*_explain(error)) from None

    def _wrong(self, key: str, said: str) -> ConfigError:
        where = "option" if key in self._options else self._sources.get(key, self._file)
        return ConfigError(f"{where}: {key}: {said}")

    def _path(self, key: str, text: str | None) -> Path | None:
        return None if text is None else self._base(key) / Path(text).expanduser()

    def _directory(self, key: str, text: str) -> Path:
        return self._base(key) / Path(text).expanduser()

    def _base(self, key: str) -> Path:
        return Path.cwd() if key in self._options else self._file.absolute().parent

    def _server(self, settings: _Settings) -> tuple[str, str]:
        if settings.chef_server_url and settings.server_url:
            raise self._wrong("server_url", "expected either this or chef_server_url, got both")
        key = "server_url" if settings.server_url else "chef_server_url"
        url = settings.server_url or settings.chef_server_url
        try:
            return _server_and_organization(url)
        except ValueError as error:
            raise self._wrong(key, str(error)) from None

    def _node_name(self, name: str) -> str:
        try:
            return _checked_node_name(name)
        except ValueError as error:
            raise self._wrong("node_name", str(error)) from None

    def _client_key(self, settings: _Settings) -> Path:
        path = self._base("client_key") / Path(settings.client_key).expanduser()
        validation = self._path("validation_key", settings.validation_key)
        if path.exists():
            self._check_key("client_key", path)
        elif validation is None:
            raise self._wrong("client_key", f"expected a key at {path}, or a validation_key to register a new one with")
        else:
            self._check_key("validation_key", validation)
        return path

    def _check_key(self, key: str, path: Path) -> None:
        try:
            parse_private_key(path.read_bytes())
        except OSError as error:
            raise self._wrong(key, f"{path}: {error.strerror}") from None
        except KeyFormatError as error:
            raise self._wrong(key, f"{path}: {error}") from None

    def _certificates(self, settings: _Settings) -> tuple[Path, ...]:
        files: list[tuple[str, Path]] = []
        if (file := self._path("ca_file", settings.ca_file)) is not None:
            files.append(("ca_file", file))
        if (directory := self._path("trusted_certs_dir", settings.trusted_certs_dir)) is not None:
            if not directory.is_dir():
                raise self._wrong("trusted_certs_dir", f"expected a directory, got {directory}")
            found = sorted([*directory.glob("*.crt"), *directory.glob("*.pem")])
            files += [("trusted_certs_dir", file) for file in found]
        for key, file in files:
            self._check_certificates(key, file)
        return tuple(file for _, file in files)

    def _check_certificates(self, key: str, path: Path) -> None:
        try:
            load_certificates(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), [path])
        except ssl.SSLError:
            raise self._wrong(key, f"{path}: expected certificates in PEM") from None
        except OSError as error:
            raise self._wrong(key, f"{path}: {error.strerror}") from None

    def _whitelist(self, settings: _Settings) -> tuple[Whitelist, tuple[Path, ...]]:
        """The whitelist of the file and the files beside it, and all of what was looked at."""
        directory = self._directory("whitelist_dir", settings.whitelist_dir)
        files = sorted(directory.glob("*.toml"))
        tables = [(self._file, settings.whitelist)] if settings.whitelist is not None else []
        try:
            whitelist = merge([*tables, *((file, _read(file)) for file in files)])
        except WhitelistError as error:
            raise ConfigError(str(error)) from None
        return whitelist, (self._file, directory, *files)


_UNKNOWN = re.compile(r"unknown field `(.*)`", re.DOTALL)
_AT = re.compile(r" - at `\$\.(.*)`$", re.DOTALL)
_WORDS = {
    "`str | null`": "a string",
    "`str`": "a string",
    "`int | null`": "an integer",
    "`int`": "an integer",
    "`float`": "a number",
    "`bool`": "a boolean",
    "`array`": "an array",
    "`object | null`": "a table",
    "`array | null`": "an array",
    "`object`": "a table",
}


def _explain(error: msgspec.ValidationError) -> tuple[str, str]:
    """The key of an error, and what was expected, in TOML's words."""
    text = str(error)
    if unknown := _UNKNOWN.search(text):
        return unknown[1], "unknown key"
    at = _AT.search(text)
    said = text[: at.start()] if at else text
    if at and said.startswith("Invalid enum value"):
        choices = ", ".join(get_args(get_type_hints(_Settings)[at[1]]))
        return at[1], f"expected one of {choices}, got{said.removeprefix('Invalid enum value')}"
    for kind, word in _WORDS.items():
        said = said.replace(kind, word)
    return at[1] if at else "", said[:1].lower() + said[1:]
