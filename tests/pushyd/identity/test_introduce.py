"""The first principals on an empty store: made once, and made whole wherever a crash cut it short."""

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pushyd.identity.introduce import introduce
from pushyd.store.interface import AlreadyExists, Organization, StoredGroup, StoredPrincipal
from tests.pushyd.doubles import begin, failure_of

WHO = {
    "organization": "acme",
    "admin": "admin",
    "admin_key": "PEM of admin",
    "validator": "acme-validator",
    "validator_key": "PEM of validator",
}


class Died(Exception):
    """The process ended here."""


class MortalStore:
    """An identity store in memory whose process dies after some changes."""

    def __init__(self, changes: int) -> None:
        self.changes_left = changes
        self.changes = 0
        self.organizations_made: dict[str, str] = {}
        self.users: dict[str, tuple[str, list[str]]] = {}
        self.clients: dict[tuple[str, str], str] = {}
        self.members: dict[tuple[str, str], set[tuple[str, str]]] = {}

    def _change(self) -> int:
        if self.changes_left == 0:
            raise Died
        self.changes_left -= 1
        self.changes += 1
        return self.changes

    def _insert(self, table: dict[Any, Any], key: object, value: object) -> int:
        if key in table:
            raise AlreadyExists(str(key))
        generation = self._change()
        table[key] = value
        return generation

    async def create_organization(self, name: str, guid: str) -> int:
        return self._insert(self.organizations_made, name, guid)

    async def create_user(self, name: str, public_key: str, organizations: Sequence[str] = ()) -> int:
        return self._insert(self.users, name, (public_key, list(organizations)))

    async def associate(self, organization: str, user: str) -> int:
        organizations = self.users[user][1]
        if organization in organizations:
            raise AlreadyExists(user)
        generation = self._change()
        organizations.append(organization)
        return generation

    async def create_client(self, organization: str, name: str, public_key: str) -> int:
        return self._insert(self.clients, (organization, name), public_key)

    async def create_group(self, organization: str, name: str) -> int:
        return self._insert(self.members, (organization, name), set())

    async def add_to_group(self, organization: str, group: str, kind: str, member: str) -> int:
        generation = self._change()
        self.members[organization, group].add((kind, member))
        return generation

    async def groups(self, organization: str) -> Mapping[str, StoredGroup]:
        def of(kind: str, members: set[tuple[str, str]]) -> frozenset[str]:
            return frozenset(name for its_kind, name in members if its_kind == kind)

        return {
            name: StoredGroup(name=name, users=of("user", them), clients=of("client", them), groups=of("group", them))
            for (its_organization, name), them in self.members.items()
            if its_organization == organization
        }

    async def organization(self, name: str) -> Organization | None:
        raise NotImplementedError

    async def principals(self, organization: str, name: str) -> Sequence[StoredPrincipal]:
        raise NotImplementedError


class IntroduceTests(SynchronousTestCase):
    STEPS = 5

    def introduce(self, store: Any, **other: str) -> bool:
        return self.successResultOf(begin(introduce(store, **{**WHO, **other})))

    def assert_whole(self, store: MortalStore) -> None:
        self.assertEqual(list(store.organizations_made), ["acme"])
        self.assertEqual(store.users, {"admin": ("PEM of admin", ["acme"])})
        self.assertEqual(store.clients, {("acme", "acme-validator"): "PEM of validator"})
        self.assertEqual(store.members, {("acme", "admins"): {("user", "admin")}})

    def test_it_makes_the_organization_its_admin_and_its_validator(self) -> None:
        store = MortalStore(-1)
        self.assertTrue(self.introduce(store))
        self.assert_whole(store)
        self.assertEqual(store.changes, self.STEPS)

    def test_an_admin_of_another_organization_becomes_one_of_this_one(self) -> None:
        store = MortalStore(-1)
        self.introduce(store)
        self.assertTrue(self.introduce(store, organization="other", validator="other-validator"))
        self.assertEqual(store.users, {"admin": ("PEM of admin", ["acme", "other"])})
        self.assertEqual(store.members["other", "admins"], {("user", "admin")})

    def test_the_second_time_it_changes_nothing(self) -> None:
        store = MortalStore(-1)
        self.introduce(store)
        self.assertFalse(self.introduce(store, admin_key="another", validator_key="another"))
        self.assert_whole(store)
        self.assertEqual(store.changes, self.STEPS)

    def test_after_a_crash_at_any_step_the_next_start_makes_the_rest(self) -> None:
        for steps in range(self.STEPS):
            store = MortalStore(steps)
            failure_of(begin(introduce(store, **WHO)), Died)  # type: ignore[arg-type]  # what of a store is used
            store.changes_left = -1
            self.assertTrue(self.introduce(store), steps)
            self.assert_whole(store)

    def test_an_admin_who_was_replaced_does_not_come_back(self) -> None:
        for kind in ("user", "client", "group"):
            store = MortalStore(-1)
            self.introduce(store)
            store.members["acme", "admins"] = {(kind, "other")}
            self.assertFalse(self.introduce(store))
            self.assertEqual(store.members["acme", "admins"], {(kind, "other")})
