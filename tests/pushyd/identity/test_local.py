"""What is held of identity, and when it is dropped. The store here counts what it is asked, and can be made slow."""

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pushyd.identity.interface import Directory
from pushyd.identity.local import LocalIdentity
from pushyd.store.interface import NotFound, Organization, StoredGroup, StoredPrincipal, StoreUnavailable
from tests.pushyd.doubles import begin, failure_of
from tests.pushyd.identity.keys import key_of, pem_of


class CountingStore:
    """Of an identity store, what is asked while nodes come and go."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.generation = 1
        self.clients: dict[str, str] = {}
        self.members: set[str] = set()
        self.slow: Deferred[None] | None = None
        self.broken = False

    def take(self) -> list[str]:
        asked, self.asked = self.asked, []
        return asked

    async def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.broken:
            raise StoreUnavailable("gone")

    async def identity_generation(self) -> int:
        await self._ask("generation")
        return self.generation

    async def organization(self, name: str) -> Organization | None:
        await self._ask("organization")
        return Organization(name=name, guid="guid") if name == "acme" else None

    async def organizations(self) -> Sequence[Organization]:
        await self._ask("organizations")
        return [Organization(name=name, guid=name) for name in ("first", "acme")]

    async def principals(self, organization: str, name: str) -> Sequence[StoredPrincipal]:
        await self._ask("principals")
        pem = self.clients.get(name)
        if self.slow:
            await self.slow
        if pem is None:
            return []
        return [StoredPrincipal(name=name, kind="client", public_keys=(pem,), associated=True)]

    async def groups(self, organization: str) -> Mapping[str, StoredGroup]:
        await self._ask("groups")
        none: frozenset[str] = frozenset()
        return {"admins": StoredGroup(name="admins", users=frozenset(self.members), clients=none, groups=none)}

    def changed(self) -> int:
        self.generation += 1
        return self.generation

    async def put_key(self, name: str, pem: str) -> int:
        self.clients[name] = pem
        return self.changed()

    async def delete_client(self, name: str) -> int:
        if name not in self.clients:
            raise NotFound(name)
        del self.clients[name]
        return self.changed()


class LocalIdentityTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = CountingStore()
        self.store.clients["web1"] = pem_of("web1")
        self.clock = Clock()
        kept: Any = self.store
        self.identity: Directory = LocalIdentity(kept, seconds=self.clock.seconds, believed_seconds=1.0)

    def keys(self, name: str = "web1") -> list[object]:
        found = self.successResultOf(begin(self.identity.principals("acme", name)))
        return [key for principal in found for key in principal.public_keys]

    def admins(self) -> set[str]:
        group = self.successResultOf(begin(self.identity.group("acme", "admins")))
        assert group is not None
        return set(group.users)

    def test_what_is_held_costs_the_store_nothing(self) -> None:
        for _ in range(3):
            self.assertEqual(self.keys(), [key_of("web1").public_key()])
            self.assertEqual(self.admins(), set())
            self.assertTrue(self.successResultOf(begin(self.identity.organization_exists("acme"))))
            self.assertEqual(self.successResultOf(begin(self.identity.founding_organization())), "first")
        self.assertEqual(self.store.take(), ["generation", "principals", "groups", "organization", "organizations"])

    def test_the_generation_is_looked_at_once_a_second(self) -> None:
        self.keys()
        self.store.take()
        for _ in range(30):
            self.clock.advance(0.1)
            self.keys()
        self.assertIn(self.store.take(), (["generation"] * 2, ["generation"] * 3))

    def test_a_change_of_this_process_is_seen_at_once_and_not_loaded_again(self) -> None:
        self.keys()
        self.successResultOf(begin(self.identity.change(self.store.put_key("web1", pem_of("new")))))
        self.assertEqual(self.keys(), [key_of("new").public_key()])
        self.successResultOf(begin(self.identity.change(self.store.delete_client("web1"))))
        self.assertEqual(self.keys(), [])
        self.store.clients["web2"] = pem_of("web2")
        self.keys("web2")
        self.store.take()
        self.clock.advance(2)
        self.keys("web2")
        self.assertEqual(self.store.take(), ["generation"], "which is the one that it made")

    def test_a_change_of_another_process_is_seen_within_a_second(self) -> None:
        self.keys()
        self.admins()
        self.store.members.add("new")
        self.store.changed()
        self.clock.advance(0.9)
        self.assertEqual(self.admins(), set())
        self.clock.advance(0.1)
        self.assertEqual(self.admins(), {"new"})

    def test_a_change_of_another_process_before_one_of_this_is_not_hidden_by_it(self) -> None:
        self.admins()
        self.store.members.add("new")
        self.store.changed()
        self.successResultOf(begin(self.identity.change(self.store.put_key("web1", pem_of("new")))))
        self.assertEqual(self.admins(), {"new"})

    def test_what_was_on_its_way_while_something_changed_is_not_held(self) -> None:
        self.store.slow = Deferred()
        on_its_way = begin(self.identity.principals("acme", "web1"))
        self.successResultOf(begin(self.identity.change(self.store.delete_client("web1"))))
        slow, self.store.slow = self.store.slow, None
        slow.callback(None)
        self.successResultOf(on_its_way)
        self.assertEqual(self.keys(), [])

    def test_who_is_not_there_is_not_held(self) -> None:
        self.assertEqual(self.keys("web2"), [])
        self.store.clients["web2"] = pem_of("web2")  # by another process, not yet noticed
        self.assertEqual(self.keys("web2"), [key_of("web2").public_key()])
        for _ in range(2):
            self.assertFalse(self.successResultOf(begin(self.identity.organization_exists("nowhere"))))
        self.assertEqual(self.store.take().count("organization"), 2)

    def test_who_asked_last_is_held(self) -> None:
        kept: Any = self.store
        self.identity = LocalIdentity(kept, seconds=self.clock.seconds, holds=2)
        for name in ("web1", "web2", "web3"):
            self.store.clients[name] = pem_of("web1")
        for name in ("web1", "web2", "web1", "web3", "web1"):
            self.keys(name)
        self.assertEqual(self.store.take().count("principals"), 3)
        self.keys("web2")
        self.assertEqual(self.store.take(), ["principals"])

    def test_a_change_that_is_refused_is_told(self) -> None:
        failure_of(begin(self.identity.change(self.store.delete_client("nobody"))), NotFound)
        self.assertEqual(self.keys(), [key_of("web1").public_key()])

    def test_without_the_store_nothing_is_believed_for_longer_than_that(self) -> None:
        self.keys()
        self.store.broken = True
        self.clock.advance(0.5)
        self.assertEqual(len(self.keys()), 1)
        self.clock.advance(0.5)
        for _ in range(2):
            failure_of(begin(self.identity.principals("acme", "web1")), StoreUnavailable)
        self.store.broken = False
        self.assertEqual(len(self.keys()), 1)
