"""Principals and groups from pushyd's own store, and the first of them on an empty one."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from pushy_protocol.keys import parse_public_key
from pushyd.identity.interface import AlreadyExists, Group, Principal
from pushyd.store import interface as store

ADMINS = "admins"


class LocalIdentity:
    """The identity backend over the store."""

    def __init__(self, kept: store.IdentityStore) -> None:
        self._store = kept

    async def organization_exists(self, name: str) -> bool:
        """Whether there is such an organization."""
        return await self._store.organization(name) is not None

    async def principals(self, organization: str, name: str) -> Sequence[Principal]:
        """Everyone of that name: the user, associated with the organization or not, and its client."""
        return [
            Principal(
                name=found.name,
                is_user=found.kind == "user",
                public_keys=tuple(_parse(pem) for pem in found.public_keys),
                associated=found.associated,
            )
            for found in await self._store.principals(organization, name)
        ]

    async def groups(self, organization: str) -> Mapping[str, Group]:
        """The groups of an organization by name."""
        return {
            name: Group(users=group.users, clients=group.clients, groups=group.groups)
            for name, group in (await self._store.groups(organization)).items()
        }

    async def create_client(self, organization: str, name: str, public_key: str) -> None:
        """A new client with one key (PEM).

        :raise AlreadyExists: the organization has a client of that name
        """
        try:
            await self._store.create_client(organization, name, public_key)
        except store.AlreadyExists:
            raise AlreadyExists(f"client '{name}'") from None


async def introduce(
    kept: store.IdentityStore, *, organization: str, admin: str, admin_key: str, validator: str, validator_key: str
) -> bool:
    """Make an organization with its first user, in group `admins`, and its validator; False where it was there.

    The group is made last: where a crash left a part of it, the next start makes the rest.

    :param admin_key: PEM of the public key, as is `validator_key`
    """
    if ADMINS in await kept.groups(organization):
        return False
    steps: list[Callable[[], Awaitable[None]]] = [
        lambda: kept.create_organization(organization, uuid4().hex),
        lambda: kept.create_user(admin, admin_key, [organization]),
        lambda: kept.create_client(organization, validator, validator_key),
        lambda: kept.create_group(organization, ADMINS),
    ]
    for make in steps:
        try:
            await make()
        except store.AlreadyExists:
            continue
    await kept.add_to_group(organization, ADMINS, "user", admin)
    return True


# The keys of a fleet: parsing one takes longer than checking a signature with it.
@lru_cache(maxsize=20_000)
def _parse(pem: str) -> RSAPublicKey:
    return parse_public_key(pem.encode())
