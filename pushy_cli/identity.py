"""What the ``client``, ``user`` and ``group`` commands do, by Chef's own API (:mod:`pushy_cli.chef`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from pushy_cli.chef import MEMBER_KINDS, ChefServer, Made, member_names
from pushy_cli.context import read_small
from pushy_cli.errors import ConfigurationError
from pushy_cli.folding import natural_key
from pushy_cli.jobs import Rejection
from pushy_cli.keyfile import NewKeyFile
from pushy_cli.render import fact_lines, plain
from pushy_cli.session import Session
from pushy_protocol.keys import KeyFormatError, parse_public_key

_NO_KEYS = {"private_key", "chef_key", "json_class", "chef_type"}


@frozen(kw_only=True)
class KeyOptions:
    """Where a new identity's key is from or goes to."""

    key_file: Path | None = None
    public_key: Path | None = None
    print_key: bool = False


async def list_all(session: Session, kind: str) -> int:
    """List the names of all of a kind."""
    listing = {"client": session.chef.clients, "user": session.chef.users, "group": session.chef.groups}[kind]
    names = sorted(await listing(), key=natural_key)
    session.show(names, names=names, text=lambda _style: "\n".join(map(plain, names)), empty=f"There are no {kind}s.")
    return 0


async def show(session: Session, kind: str, name: str) -> int:
    """Show one of a kind."""
    chef = session.chef
    found = await {"client": chef.client, "user": chef.user, "group": chef.group}[kind](name)
    facts = {key: _told(value) for key, value in found.items() if key not in _NO_KEYS}
    session.show(dict(found), names=[name], text=lambda style: fact_lines(facts, style))
    return 0


async def delete(session: Session, kind: str, name: str, *, yes: bool) -> int:
    """Delete one of a kind."""
    if not yes:
        await session.confirm(f"Delete the {kind} {plain(name)}?", otherwise="Say --yes.")
    chef = session.chef
    await {"client": chef.delete_client, "user": chef.delete_user, "group": chef.delete_group}[kind](name)
    _done(session, name, f"Deleted the {kind} {name}.")
    return 0


async def create_client(session: Session, name: str, key: KeyOptions) -> int:
    """Make a client."""

    async def make(chef: ChefServer, public_key: str | None) -> Made:
        return await chef.create_client(name, public_key)

    return await _create(session, "client", name, key, make)


async def create_user(session: Session, name: str, email: str | None, key: KeyOptions) -> int:
    """Make a user who belongs to the organization."""

    async def make(chef: ChefServer, public_key: str | None) -> Made:
        return await chef.create_user(name, public_key, email=email or f"{name}@localhost")

    status = await _create(session, "user", name, key, make)
    await session.chef.associate(name)
    return status


async def associate(session: Session, name: str) -> int:
    """Make a user one of the organization's."""
    await session.chef.associate(name)
    _done(session, name, f"{name} belongs to the organization.")
    return 0


async def dissociate(session: Session, name: str) -> int:
    """Let a user no longer be one of the organization's."""
    await session.chef.dissociate(name)
    _done(session, name, f"{name} no longer belongs to the organization.")
    return 0


async def create_group(session: Session, name: str) -> int:
    """Make a group."""
    await session.chef.create_group(name)
    _done(session, name, f"Made the group {name}.")
    return 0


async def change_members(
    session: Session,
    name: str,
    *,
    add: Mapping[str, Sequence[str]] | None = None,
    remove: Mapping[str, Sequence[str]] | None = None,
) -> int:
    """Add and remove members of a group, by kind; then show the group.

    :raise Rejection: one that is to be removed is no member.
    """
    group = await session.chef.group(name)
    members: dict[str, list[str]] = {}
    for kind in MEMBER_KINDS:
        present = member_names(group, kind)
        gone = list((remove or {}).get(kind, ()))
        if strange := [member for member in gone if member not in present]:
            raise Rejection(f"The group {name} has no {kind} {', '.join(strange)}", f"See: pushy group show {name}")
        members[kind] = sorted({*present, *(add or {}).get(kind, ())} - set(gone))
    await session.chef.set_members(name, members)
    return await show(session, "group", name)


async def _create(session: Session, kind: str, name: str, key: KeyOptions, make: Any) -> int:
    if key.public_key is not None:
        made: Made = await make(session.chef, _public_key(key.public_key))
        _done(session, name, f"Made the {kind} {name}.")
    elif key.print_key:
        made = await make(session.chef, None)
        value = {"name": name, "private_key": made.private_key}
        session.show(value, names=[name], text=lambda _style: made.private_key or "")
    else:
        with NewKeyFile(key.key_file or session.place.cwd / f"{name}.pem") as file:
            made = await make(session.chef, None)
            file.write(made.private_key or "")
        told = f"Made the {kind} {name}; its private key is in {file.path}"
        session.show({"name": name, "key_file": str(file.path)}, names=[name], text=lambda _style: told)
    return 0


def _public_key(path: Path) -> str:
    try:
        pem = read_small(path, "--public-key")
        parse_public_key(pem)
    except FileNotFoundError:
        raise ConfigurationError(f"--public-key: there is no file {path}", "Give the path of a public key.") from None
    except KeyFormatError as error:
        raise ConfigurationError(f"--public-key: {path}: {error}", "Give an RSA public key in PEM.") from None
    return pem.decode()


def _done(session: Session, name: str, told: str) -> None:
    session.show({"name": name}, names=[name], text=lambda _style: plain(told))


def _told(value: object) -> str:
    if isinstance(value, list):
        return plain(", ".join(map(str, value)))
    return plain(str(value)).replace("\\x0a", "\n" + " " * 14).rstrip() if isinstance(value, str | int | bool) else ""
