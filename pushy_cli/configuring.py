"""``config init`` and ``config show``: the profile, written and told."""

import json
import os
import re
import tomllib
from pathlib import Path
from typing import cast

from pushy_cli.checking import check
from pushy_cli.context import DEFAULT_PROFILE, checked_client_key, checked_server_url, read_small
from pushy_cli.errors import ConfigurationError, Declined
from pushy_cli.render import fact_lines
from pushy_cli.session import Session
from pushy_cli.terminal import Reader

_QUESTIONS = {
    "server_url": "Server (https://HOST[:PORT]/organizations/ORG):",
    "client_name": "Your name (of a user or client there):",
    "client_key": "File of your private key:",
}


async def init(session: Session) -> int:
    """Write a profile, and check it; the exit status is the check's."""
    place = session.place
    file = Path(session.given.get("credentials") or place.home / ".pushy/credentials")
    profile = str(session.given.get("profile") or DEFAULT_PROFILE)
    if not re.fullmatch(r"[\w-]+", profile, re.ASCII):
        raise ConfigurationError(
            f"--profile: expected letters, digits, _ and -, got {profile!r}", "Choose another name for it."
        )
    before = _existing(file, profile)
    values = {name: await _value(session, name) for name in _QUESTIONS}
    checked_server_url(values["server_url"], "--server-url")
    checked_client_key(values["client_key"], "--client-key", home=place.home, cwd=place.cwd)
    values["client_key"] = str(_absolute(values["client_key"], place.home, place.cwd))
    if ca_file := session.given.get("ca_file"):
        values["ca_file"] = str(_absolute(ca_file, place.home, place.cwd))
    keys = {"server_url": "chef_server_url"}
    lines = [
        f"[{profile}]",
        *(f"{keys.get(name, name)} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()),
    ]
    _write(file, "\n".join([*([before.rstrip("\n"), ""] if before.strip() else []), *lines, ""]))
    session.console.note(f"Wrote [{profile}] to {file}")
    return await check(session)


async def show(session: Session) -> int:
    """Show the settings."""
    settings = session.settings
    facts: dict[str, object] = {
        "server_url": settings.server_url,
        "client_name": settings.client_name,
        "client_key": settings.key_source,
        "trusted": [str(path) for path in settings.trusted],
        "verify_tls": settings.verify_tls,
        "request_timeout": settings.request_timeout,
    }
    trusted = ["the system's CAs", *map(str, settings.trusted)]
    told = {
        "Server": settings.server_url,
        "Acting as": settings.client_name,
        "Key": settings.key_source,
        "Trusting": ", ".join(trusted) if settings.verify_tls else "everybody",
        "Timeout": f"{settings.request_timeout:g} s",
    }
    session.show(facts, names=[settings.client_name], text=lambda style: fact_lines(told, style))
    return 0


async def _value(session: Session, name: str) -> str:
    if given := session.given.get(name):
        return str(given)
    option = f"--{name.replace('_', '-')}"
    if not session.console.can_ask:
        raise Declined(f"{option} is not given, and there is nobody to ask", f"Give {option}.")
    if answer := (await session.console.ask(_QUESTIONS[name], cast("Reader", session.reactor))).strip():
        return answer
    raise Declined(f"{option} is not known", "Nothing was written.")


def _existing(file: Path, profile: str) -> str:
    """The text of the credentials file so far."""
    try:
        text = read_small(file, "credentials").decode()
        profiles = tomllib.loads(text)
    except FileNotFoundError:
        return ""
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: expected TOML: {error}", "Mend the file first.") from None
    if profile in profiles:
        raise ConfigurationError(
            f"{file} has a profile [{profile}] already", "Change it there, or name another with --profile."
        )
    return text


def _absolute(text: str, home: Path, cwd: Path) -> Path:
    return home / text[2:] if text.startswith("~/") else cwd / text


def _write(file: Path, text: str) -> None:
    """Replace the file at once; only its owner can read it."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = file.with_name(f"{file.name}.new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        new.replace(file)
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be written: {error.strerror}", "Name another file with --credentials."
        ) from None
