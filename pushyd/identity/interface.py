"""Where principals and groups come from: pushyd's own store, or a Chef Server."""

from collections.abc import Awaitable, Sequence
from typing import Protocol

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from pushyd.store.interface import IdentityStore


class IdentityUnavailable(Exception):
    """Where identities come from does not answer, or not as it should; the text is for the caller."""


class UnknownOrganization(Exception):
    """There is no such organization; the text is for the caller."""


def no_organization(name: str) -> str:
    """What is said where there is no such organization."""
    return f"organization '{name}' does not exist."


@frozen(kw_only=True)
class Principal:
    """A user, or a client of an organization, with its public keys."""

    name: str
    is_user: bool
    public_keys: tuple[RSAPublicKey, ...]
    associated: bool  # belongs to the organization that was asked about


@frozen(kw_only=True)
class Caller:
    """Who signed a request: the roles of a name whose key it was, in one organization.

    :param key: the public key that verified the signature
    """

    organization: str
    name: str
    is_user: bool
    is_client: bool
    key: RSAPublicKey


@frozen(kw_only=True)
class Group:
    """The direct members of a group, by name."""

    users: frozenset[str]
    clients: frozenset[str]
    groups: frozenset[str]


class Identity(Protocol):
    """Who and what there is. Every method may raise :class:`IdentityUnavailable`, or the store's `StoreUnavailable`."""

    async def organization_exists(self, name: str) -> bool:
        """Whether there is such an organization."""

    async def principals(self, organization: str, name: str) -> Sequence[Principal]:
        """Everyone of that name: the user, associated with the organization or not, and its client.

        :raise UnknownOrganization: there is none, and without it nobody is known
        """

    async def group(self, organization: str, name: str) -> Group | None:
        """A group of an organization, or None."""

    async def founding_organization(self) -> str:
        """The organization that was made first, whose `admins` administer the server; empty where there is none."""


class Directory(Identity, Protocol):
    """An :class:`Identity` that is kept here, and so can be changed here."""

    kept: IdentityStore
    """For reading; it also makes the changes, but only within :meth:`change`."""

    async def change(self, made: Awaitable[int]) -> None:
        """Wait for a change that `kept` makes; when this returns, all methods of `Identity` know of it.

        :raise AlreadyExists, NotFound, StoreUnavailable: as the change does
        """
