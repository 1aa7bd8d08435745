"""The shapes of a Chef Server's answers, read strictly where something depends on it. Pure; nothing is asked here.

What is not known for sure counts as no: a principal without `org_member` is none of the organization, a key that
cannot be read is no key, a group without `users` has none.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from pushy_protocol.api import InvalidRequest, decode
from pushy_protocol.keys import KeyFormatError, parse_public_key
from pushyd.identity.interface import Group, Principal

API_VERSIONS = (1, 2, 0)
"""The versions of the server API whose answers are understood, the one that is asked for first of all first."""


T = TypeVar("T")


class NotChef(Exception):
    """An answer that no Chef Server gives; the text says what was expected."""


class _Principal(msgspec.Struct, frozen=True, kw_only=True):
    """One key of a user or client, as Chef lists them."""

    name: str
    type: str
    public_key: str | None = None
    org_member: bool | None = None


class _Principals(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of version 1 and later."""

    principals: list[_Principal]


class _Group(msgspec.Struct, frozen=True, kw_only=True):
    users: frozenset[str] = frozenset()
    clients: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()


class FoundOrganization(msgspec.Struct, frozen=True, kw_only=True):
    """An organization; not every server gives it an id."""

    name: str
    guid: str | None = None
    full_name: str | None = None


class _Refusal(msgspec.Struct, frozen=True, kw_only=True):
    error: str | list[str]
    not_found: str | None = None


class _Versions(msgspec.Struct, frozen=True, kw_only=True):
    min_api_version: int
    max_api_version: int


def read_principals(body: bytes, name: str) -> Sequence[Principal]:
    """Everyone of that name, in either version's form.

    :raise NotChef: it is neither
    """
    listed = _read(body, dict[str, Any])
    found = _read(body, _Principals).principals if "principals" in listed else [_read(body, _Principal)]
    roles: dict[bool, list[_Principal]] = {}
    for one in found:
        if one.name == name and one.type in {"user", "client"}:
            roles.setdefault(one.type == "user", []).append(one)
    return [
        Principal(
            name=name,
            is_user=is_user,
            public_keys=_keys(ones),
            # A client is found in its organization only.
            associated=all(one.org_member if one.org_member is not None else not is_user for one in ones),
        )
        for is_user, ones in sorted(roles.items(), reverse=True)
    ]


def read_group(body: bytes) -> Group:
    """A group, without its members of other organizations (`other::name`).

    :raise NotChef: it is none
    """
    group = _read(body, _Group)
    return Group(
        users=group.users, clients=group.clients, groups=frozenset(one for one in group.groups if is_name(one))
    )


def read_organization(body: bytes) -> FoundOrganization:
    """:raise NotChef: it is none"""
    return _read(body, FoundOrganization)


def read_names(body: bytes) -> frozenset[str]:
    """The names of a list such as that of the clients.

    :raise NotChef: it is none
    """
    return frozenset(_read(body, dict[str, str]))


def read_refusal(body: bytes) -> str:
    """What a refusal says, in one line.

    :raise NotChef: it is not one of a Chef Server
    """
    error = _read(body, _Refusal).error
    return " ".join((error if isinstance(error, str) else "; ".join(error)).split())[:300]


def lacks_organization(body: bytes) -> bool:
    """Whether what was not found is the whole organization.

    :raise NotChef: it is no such answer
    """
    return _read(body, _Refusal).not_found in {"org", "organization"}


def version_for(body: bytes) -> int | None:
    """The version of the server API that both sides speak, from the answer to one that they do not; None: none."""
    try:
        offered = _read(body, _Versions)
    except NotChef:
        return None
    return next(
        (version for version in API_VERSIONS if offered.min_api_version <= version <= offered.max_api_version), None
    )


def is_name(text: str) -> bool:
    """Whether a name can be a part of a path below an organization, and means nothing else there."""
    return 0 < len(text) <= 255 and text.isprintable() and not set(text) & set("/?#%\\") and _is_local(text)


def _is_local(text: str) -> bool:
    return "::" not in text and text.strip(".") != ""


def _keys(ones: Sequence[_Principal]) -> tuple[RSAPublicKey, ...]:
    keys = (_key(one.public_key) for one in ones if one.public_key)
    return tuple(key for key in keys if key is not None)


# Kept beyond the life of an answer: parsing a key takes longer than checking a signature with it.
@lru_cache(maxsize=20_000)
def _key(pem: str) -> RSAPublicKey | None:
    try:
        return parse_public_key(pem.encode())
    except (KeyFormatError, UnicodeEncodeError):
        return None


def _read(body: bytes, shape: type[T]) -> T:
    try:
        return decode(body, shape)
    except InvalidRequest as error:
        raise NotChef("; ".join(map(str, error.args))) from None
