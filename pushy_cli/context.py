"""Who we are and which server we speak to: from options, the environment and Chef's credentials file.

Each setting is taken from its option, else from its environment variable, else from the profile in the first of
``~/.pushy/credentials`` and ``~/.chef/credentials`` that has it. Where all of these name no
server, what they do not say is taken from knife's configuration. Nothing is sent from here.
"""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from attrs import field, frozen
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from pushy_cli.errors import ConfigurationError
from pushy_cli.knife import KnifeConfig, find, parse
from pushy_protocol.keys import KeyFormatError, parse_private_key

REQUEST_TIMEOUT = 30.0
"""Seconds that one request may take, from the connection to the last byte, unless `--request-timeout` says else."""

MAX_FILE_BYTES = 1_000_000
"""The largest credentials or key file that is read."""

DEFAULT_PROFILE = "default"

# A setting's name: its environment variable and its names in a credentials file, Chef's first.
_SETTINGS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "server_url": ("PUSHY_SERVER_URL", ("chef_server_url", "server_url")),
    "client_name": ("PUSHY_CLIENT_NAME", ("client_name", "node_name")),
    "client_key": ("PUSHY_CLIENT_KEY", ("client_key",)),
    "ca_file": ("PUSHY_CA_FILE", ("ca_file", "ssl_ca_file")),
    "trusted_certs_dir": (None, ("trusted_certs_dir",)),
    "ssl_verify_mode": (None, ("ssl_verify_mode",)),
}
_PEM = "-----BEGIN"
_VERIFY_MODES = {"verify_peer": True, "verify_none": False}


@frozen(kw_only=True)
class Settings:
    """All that a request needs."""

    server_url: str
    """``https://HOST[:PORT]/organizations/ORG``, without a slash at its end."""

    client_name: str
    client_key: RSAPrivateKey = field(repr=False)
    key_source: str
    """Where the key is from, to be named in errors."""

    trusted: tuple[Path, ...] = ()
    """PEM files of certificates that are trusted besides the system's."""

    verify_tls: bool = True
    request_timeout: float = REQUEST_TIMEOUT


@frozen(kw_only=True)
class _Value:
    """A setting's text, where it was found, and what a relative path in it is relative to."""

    text: str
    source: str
    base: Path

    def path(self, home: Path) -> Path:
        if self.text == "~" or self.text.startswith("~/"):
            return home / self.text[2:]
        return self.base / self.text


def load_settings(
    options: Mapping[str, str],
    environment: Mapping[str, str],
    *,
    home: Path,
    cwd: Path,
    request_timeout: float = REQUEST_TIMEOUT,
) -> Settings:
    """The settings of this call.

    :param options: what the command line says of `server_url`, `client_name`, `client_key`, `ca_file`, `profile` and
        `credentials`; what it does not say is left out
    :param home: what ``~`` is
    :param request_timeout: in seconds
    :raise ConfigurationError: one is missing or wrong; it names the option, the variable, or the file and its key.
    """
    profile = options.get("profile") or environment.get("PUSHY_PROFILE")
    files = _credentials_files(options, home=home, cwd=cwd)
    is_chosen = profile is not None or "credentials" in options
    from_file, file = _read_profile(profile, files, must_exist=is_chosen)
    values = {name: value for name in _SETTINGS if (value := _find(name, options, environment, from_file, cwd))}
    own = KnifeConfig()
    # Who names a server must not get, say, another's ssl_verify_mode from the directory that happens to be the current.
    if "server_url" not in values and not is_chosen:
        own = _read_knife(environment, home=home, cwd=cwd)
        values = {**_of_knife(own), **values}
    for name in ("server_url", "client_name", "client_key"):
        if name not in values:
            raise _missing(name, profile or DEFAULT_PROFILE, files, own)
    key, key_source = _client_key(values["client_key"], home)
    return Settings(
        server_url=checked_server_url(values["server_url"].text, values["server_url"].source),
        client_name=values["client_name"].text,
        client_key=key,
        key_source=key_source,
        trusted=tuple(_trusted(values, file or own.file, home)),
        verify_tls=_verify_mode(values.get("ssl_verify_mode")),
        request_timeout=request_timeout,
    )


def _credentials_files(options: Mapping[str, str], *, home: Path, cwd: Path) -> tuple[Path, ...]:
    if given := options.get("credentials"):
        return (_Value(text=given, source="--credentials", base=cwd).path(home),)
    return home / ".pushy/credentials", home / ".chef/credentials"


def _find(
    name: str, options: Mapping[str, str], environment: Mapping[str, str], from_file: Mapping[str, _Value], cwd: Path
) -> _Value | None:
    """The value that takes precedence; an empty variable counts as none, as is usual."""
    variable, keys = _SETTINGS[name]
    if name in options:
        return _Value(text=options[name], source=f"--{name.replace('_', '-')}", base=cwd)
    if variable and environment.get(variable):
        return _Value(text=environment[variable], source=variable, base=cwd)
    return next((from_file[key] for key in keys if key in from_file), None)


def _read_profile(
    profile: str | None, files: tuple[Path, ...], *, must_exist: bool
) -> tuple[dict[str, _Value], Path | None]:
    """The profile's settings, and the file that has them: the first one that has such a profile."""
    name = profile or DEFAULT_PROFILE
    others: list[str] = []
    for file in files:
        try:
            document = tomllib.loads(read_small(file, "credentials").decode())
        except FileNotFoundError:
            continue
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"{file}: expected TOML: {error}",
                'Mend the file; it looks like: [default], then lines such as client_name = "admin".',
            ) from None
        table = document.get(name)
        if isinstance(table, dict):
            return dict(_strings(table, file, name)), file
        others += [f"[{other}] of {file}" for other, value in document.items() if isinstance(value, dict)]
    if must_exist:
        looked = " nor ".join(map(str, files))
        raise ConfigurationError(
            f"There is no profile [{name}] in {looked}",
            f"Choose one that is there with --profile: {', '.join(others)}." if others else "Write the file.",
        )
    return {}, None


def _strings(table: Mapping[str, object], file: Path, profile: str) -> Iterator[tuple[str, _Value]]:
    """Those of a profile's settings that are ours; Chef's other tools keep theirs in the same place."""
    for _, keys in _SETTINGS.values():
        for key in keys:
            if (value := table.get(key)) is not None:
                source = f"{file}: [{profile}] {key}"
                if not isinstance(value, str) or not value:
                    raise ConfigurationError(f"{source}: expected a string, got {value!r}", "Mend it there.")
                yield key, _Value(text=value, source=source, base=file.parent)


def _read_knife(environment: Mapping[str, str], *, home: Path, cwd: Path) -> KnifeConfig:
    file = find(environment, home=home, cwd=cwd)
    try:
        return parse(file, read_small(file, "knife's configuration"), environment) if file else KnifeConfig()
    except FileNotFoundError:
        return KnifeConfig()


def _of_knife(own: KnifeConfig) -> dict[str, _Value]:
    values = {}
    for name, (_, keys) in _SETTINGS.items():
        for key in keys:
            if own.file and (found := own.settings.get(key)):
                source = f"{own.file}:{found.line}: {key}"
                values[name] = _Value(text=found.text, source=source, base=own.file.parent)
    return values


def _missing(name: str, profile: str, files: tuple[Path, ...], own: KnifeConfig) -> ConfigurationError:
    variable, (key, *_) = _SETTINGS[name]
    for unread, line in own.unread.items():
        if unread in _SETTINGS[name][1]:
            return ConfigurationError(
                f"{own.file}:{line}: {unread} is set by Ruby code, and none is run here",
                f"Write a plain value there or into {files[0]}, give --{name.replace('_', '-')}, or set {variable}.",
            )
    what = {"server_url": "Which server to ask", "client_name": "Whom to act for", "client_key": "Which key to use"}
    return ConfigurationError(
        f"{what[name]} is not known: there is no {key} in the profile [{profile}] of {' or '.join(map(str, files))}",
        f"Write it there, give --{name.replace('_', '-')}, or set {variable}.",
    )


def checked_server_url(text: str, source: str) -> str:
    """The URL of an organization, without a slash at its end.

    :raise ConfigurationError: it is none.
    """
    url = text.rstrip("/")
    try:
        parts = urlsplit(url)
        port_is_good = parts.port != 0
    except ValueError:
        port_is_good = False
    organization = url.rpartition("/organizations/")[2]
    if (
        not port_is_good
        or not url.isascii()
        or not url.isprintable()
        or set(url) & set(' "<>\\^`{|}')
        or parts.scheme not in {"https", "http"}
        or not parts.hostname
        or parts.username is not None
        or parts.query
        or parts.fragment
        or "/organizations/" not in parts.path
        or not organization
        or "/" in organization
    ):
        raise ConfigurationError(
            f"{source}: expected https://HOST[:PORT]/organizations/ORG, got {text!r}", "Mend it there."
        )
    return url


def checked_client_key(text: str, source: str, *, home: Path, cwd: Path) -> RSAPrivateKey:
    """The private key in a file, or in a text.

    :param source: what named it, for errors
    :raise ConfigurationError: there is none.
    """
    return _client_key(_Value(text=text, source=source, base=cwd), home)[0]


def _client_key(value: _Value, home: Path) -> tuple[RSAPrivateKey, str]:
    if value.text.lstrip().startswith(_PEM):
        pem, source = value.text.encode(), value.source
    else:
        path = value.path(home)
        try:
            pem, source = read_small(path, value.source), str(path)
        except FileNotFoundError:
            raise ConfigurationError(
                f"{value.source}: there is no file {path}",
                "Give the path of the private key, or the key itself in PEM.",
            ) from None
    try:
        return parse_private_key(pem), source
    except KeyFormatError as error:
        where = value.source if source == value.source else f"{value.source}: {source}"
        raise ConfigurationError(
            f"{where}: {' '.join(str(error).split())}", "Give the key that was made for this client or user."
        ) from None


def _trusted(values: Mapping[str, _Value], file: Path | None, home: Path) -> Iterator[Path]:
    if value := values.get("ca_file"):
        path = value.path(home)
        if not path.is_file():
            raise ConfigurationError(
                f"{value.source}: there is no file {path}", "Give a file of CA certificates in PEM."
            )
        yield path
    if value := values.get("trusted_certs_dir"):
        directory = value.path(home)
        if not directory.is_dir():
            raise ConfigurationError(
                f"{value.source}: there is no directory {directory}", "Give a directory of certificates in PEM."
            )
        directories = [directory]
    else:
        directories = [file.parent / "trusted_certs"] if file else []  # where `knife ssl fetch` puts them
    directories.append(own_certificates(home))
    for directory in dict.fromkeys(directories):
        yield from sorted(path for path in directory.glob("*") if path.suffix in {".crt", ".pem"})


def own_certificates(home: Path) -> Path:
    """The directory of the certificates that ``pushy config fetch-ca`` was told to trust."""
    return home / ".pushy/trusted_certs"


def _verify_mode(value: _Value | None) -> bool:
    if value is None:
        return True
    mode = value.text.removeprefix(":")  # Ruby's symbols
    if mode not in _VERIFY_MODES:
        raise ConfigurationError(f"{value.source}: expected verify_peer or verify_none, got {mode!r}", "Mend it there.")
    return _VERIFY_MODES[mode]


def read_small(path: Path, source: str) -> bytes:
    """A file of at most :data:`MAX_FILE_BYTES`.

    :param source: what named it, for errors
    :raise ConfigurationError: it cannot be read.
    :raise FileNotFoundError: there is none.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigurationError(
            f"{source}: {path} cannot be read: {error.strerror}", "Mend the path or its permissions."
        ) from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigurationError(
            f"{source}: {path} has more than {MAX_FILE_BYTES} bytes", "Give the path of the file that was meant."
        )
    return data
