"""Principals and groups from pushyd's own store, and the first of them on an empty one.

A request needs its caller's keys and the groups of its organization. Those of the last callers are held here (not of
all: a fleet has megabytes of them, and a node needs its own once in a while). They are dropped as soon as anything
about identity is changed: at once where this process changed it, and within a second where another one did
(`pushyd-ctl`), for then the store's generation is not the one known.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from pushy_protocol.keys import parse_public_key
from pushyd.identity.interface import Group, Principal
from pushyd.store import interface as store

BELIEVED_SECONDS = 1.0
"""How long what is held is believed without a look at the generation."""

_HELD = 2000
"""How many answers are held; each may have parsed keys, of 3 KB."""

T = TypeVar("T")


class LocalIdentity:
    """The identity backend over the store; a :class:`pushyd.identity.interface.Directory`."""

    def __init__(
        self,
        kept: store.IdentityStore,
        *,
        seconds: Callable[[], float],
        believed_seconds: float = BELIEVED_SECONDS,
        holds: int = _HELD,
    ) -> None:
        """:param seconds: of a clock that never goes back
        :param holds: how many answers are held, those that were asked for last
        """
        self._holds = holds
        self.kept = kept
        self._seconds = seconds
        self._believed_seconds = believed_seconds
        self._generation: int | None = None  # that what is held is of
        self._looked = 0.0
        self._drops = 0
        self._held: OrderedDict[tuple[str, ...], object] = OrderedDict()

    async def organization_exists(self, name: str) -> bool:
        """Whether there is such an organization."""
        return await self._get(("organization", name), lambda: self.kept.organization(name)) is not None

    async def founding_organization(self) -> str:
        """The organization that was made first, whose `admins` administer the server; empty where there is none."""
        found = await self._get(("organizations",), self.kept.organizations)
        return found[0].name if found else ""

    async def principals(self, organization: str, name: str) -> Sequence[Principal]:
        """Everyone of that name: the user, associated with the organization or not, and its client."""

        async def load() -> Sequence[Principal]:
            return [_principal(found) for found in await self.kept.principals(organization, name)]

        return await self._get(("principals", organization, name), load)

    async def group(self, organization: str, name: str) -> Group | None:
        """A group of an organization, or None."""

        async def load() -> Mapping[str, Group]:
            return {
                name: Group(users=group.users, clients=group.clients, groups=group.groups)
                for name, group in (await self.kept.groups(organization)).items()
            }

        return (await self._get(("groups", organization), load)).get(name)

    async def change(self, made: Awaitable[int]) -> None:
        """Wait for a change that the store makes; when this returns, all methods here know of it."""
        try:
            generation = await made
        except BaseException:
            self._drop()  # it may have been done, or be done yet; then the store's generation will tell
            raise
        self._drop()
        self._generation = generation  # what is loaded from now on has seen this change and all before it

    async def _get(self, key: tuple[str, ...], load: Callable[[], Awaitable[T]]) -> T:
        """What is held under `key`; else what is loaded, and held if it is something and nothing changed meanwhile."""
        await self._look()
        held: T | None = self._held.get(key)  # type: ignore[assignment]  # what was loaded for this key
        if held is not None:
            self._held.move_to_end(key)
            return held
        drops = self._drops
        loaded = await load()
        # Nobody who is not there is held: a new client is found at once, and names made up by strangers cost nothing.
        if loaded and drops == self._drops:
            self._held[key] = loaded
            if len(self._held) > self._holds:
                self._held.popitem(last=False)
        return loaded

    async def _look(self) -> None:
        """Drop what is held where the store's generation is not the one that it is of."""
        now = self._seconds()
        if self._generation is not None and now - self._looked < self._believed_seconds:
            return
        generation = await self.kept.identity_generation()
        if generation != self._generation:
            self._drop()
            self._generation = generation
        self._looked = now

    def _drop(self) -> None:
        self._drops += 1
        self._held = OrderedDict()


def _principal(found: store.StoredPrincipal) -> Principal:
    return Principal(
        name=found.name,
        is_user=found.kind == "user",
        public_keys=tuple(_parse(pem) for pem in found.public_keys),
        associated=found.associated,
    )


# Kept when what is held is dropped: parsing a key takes longer than checking a signature with it.
@lru_cache(maxsize=_HELD)
def _parse(pem: str) -> RSAPublicKey:
    return parse_public_key(pem.encode())
