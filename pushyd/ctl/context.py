"""What every command of pushyd-ctl works with, and how it ends where that cannot be had."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click
from attrs import frozen

from pushy_protocol.keys import KeyFormatError, make_rsa_key, parse_public_key, private_pem, public_pem, write_private
from pushyd.config import ORGANIZATION_PATTERN, ConfigError, Settings, load
from pushyd.state_dir import StateDirError
from pushyd.store.direct import DirectStore
from pushyd.store.interface import AlreadyExists, NotFound, StoreUnavailable

P = ParamSpec("P")
T = TypeVar("T")


@frozen(kw_only=True)
class Server:
    """The server that is administered, by its settings."""

    settings: Settings

    @property
    def state(self) -> Path:
        """Its state directory."""
        return Path(self.settings.state_dir)

    @contextmanager
    def store(self) -> Iterator[DirectStore]:
        """Its database, for the time of a command."""
        store = DirectStore(self.settings.database)
        try:
            store.open()
            yield store
        finally:
            store.close()


def open_server(config: Path | None, overrides: dict[str, str], *, user: int) -> Server:
    """The server of these settings.

    :param user: the id of who runs the command; files that are made must not be another's than the server's
    :raise click.ClickException: a setting cannot be taken, or the state directory is another user's
    """
    try:
        settings = load(config, overrides)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    state = Path(settings.state_dir)
    try:
        owner = state.stat().st_uid
    except FileNotFoundError:
        return Server(settings=settings)
    except OSError as error:
        raise click.ClickException(f"{state}: {error.strerror}") from None
    if owner != user:
        raise click.ClickException(
            f"{state}: belongs to the user with id {owner}; run this as that user, e.g. sudo -u '#{owner}' pushyd-ctl …"
        )
    return Server(settings=settings)


pass_server = click.make_pass_decorator(Server)


def told_in_one_line(command: Callable[P, T]) -> Callable[P, T]:
    """A command, whose errors are told in one line."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except AlreadyExists:
            raise click.ClickException("there is one of that name already; nothing was changed") from None
        except NotFound as error:
            raise click.ClickException(f"{error}: there is none; nothing was changed") from None
        except (StoreUnavailable, StateDirError, ConfigError, KeyFormatError, ValueError) as error:
            raise click.ClickException(" ".join(str(error).split())) from None
        except OSError as error:
            raise click.ClickException(f"{error.filename2 or error.filename or 'system'}: {error.strerror}") from None

    return run


class _Text(click.ParamType[str]):
    """A text of one form."""

    def __init__(self, name: str, pattern: str, expected: str) -> None:
        self.name = name
        self._pattern = re.compile(pattern)
        self._expected = expected

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text itself."""
        text = str(value)
        if not self._pattern.fullmatch(text):
            self.fail(f"{text!r}: expected {self._expected}", param, ctx)
        return text


NAME = _Text("name", r"[A-Za-z0-9_.:-]{1,255}", "1 to 255 letters, digits and _ . : -")
ORGANIZATION = _Text(
    "organization", ORGANIZATION_PATTERN.removeprefix("^").removesuffix("$"), "lower-case letters, digits, _ and -"
)

GUID = _Text("guid", r"[A-Za-z0-9-]{1,64}", "letters, digits and -")

FILE = click.Path(dir_okay=False, path_type=Path)

organization_option = click.option(
    "--organization", "-o", type=ORGANIZATION, help="The organization (default: that of the settings)."
)
key_options = [
    click.option(
        "--file", "-f", "file", type=FILE, help="Where the new private key is written (default: NAME.pem here)."
    ),
    click.option("--public-key", type=FILE, help="Take this public key (PEM), and make none."),
]


def with_key_options(command: Callable[P, T]) -> Callable[P, T]:
    """Add the options of :func:`new_key`."""
    for option in reversed(key_options):
        command = option(command)
    return command


@contextmanager
def new_key(name: str, file: Path | None, public_key: Path | None) -> Iterator[str]:
    """The public key (PEM) of a principal; its private key is in a new file, unless what follows fails.

    :raise KeyFormatError: the public key that was given is none
    :raise OSError: the private key cannot be written, or a file of that name is there
    """
    if public_key:
        yield public_pem(parse_public_key(public_key.read_bytes()))
        return
    key = make_rsa_key()
    path = file or Path(f"{name}.pem")
    write_private(path, private_pem(key))
    try:
        yield public_pem(key.public_key())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    click.echo(f"The private key of {name} is in {path}.")


def user_id() -> int:
    """Who runs this."""
    return os.geteuid()


def require_local(server: Server) -> None:
    """:raise click.ClickException: users, clients and groups are not in this server's own store"""
    if server.settings.identity.backend == "chef":
        raise click.ClickException(
            f"users, clients and groups are on the Chef Server {server.settings.identity.chef_server_url} "
            "(identity.backend); change them there, with knife or chef-server-ctl"
        )


def required(found: T | None, what: str) -> T:
    """What was looked for.

    :raise NotFound: it was not found
    """
    if found is None:
        raise NotFound(what)
    return found


def echo_all(lines: Iterable[str]) -> None:
    """Print one below the other."""
    for line in lines:
        click.echo(line)
