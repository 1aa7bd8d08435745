"""The contracts of an IdentityStore and a RegistrationStore, over both databases."""

from pushyd.store.interface import AlreadyExists, NotFound, Organization, Registration, StoredGroup, StoredPrincipal
from tests.pushyd.store.backend import ORGANIZATION, Postgres, Sqlite, StoreCase


def registration(node: str = "web1", **values: str) -> Registration:
    defaults = {"organization": ORGANIZATION, "curve_key": "k" * 40, "protocol_version": "3.0"}
    return Registration(node=node, session_salt=bytes(range(16)), **defaults | values)


class IdentityContract(StoreCase):
    __test__ = False

    async def test_organizations(self) -> None:
        self.assertEqual(await self.store.organization(ORGANIZATION), Organization(name=ORGANIZATION, guid="guid-1"))
        self.assertIsNone(await self.store.organization("Acme"))
        with self.assertRaises(AlreadyExists):
            await self.store.create_organization(ORGANIZATION, "guid-2")
        with self.assertRaises(AlreadyExists):
            await self.store.create_organization("other", "guid-1")
        self.assertIsNone(await self.store.organization("other"))

    async def test_nobody(self) -> None:
        self.assertEqual(await self.store.principals(ORGANIZATION, "nobody"), [])

    async def test_a_user_and_a_client_of_one_name(self) -> None:
        await self.store.create_organization("other", "guid-2")
        await self.store.create_user("both", "USER KEY", [ORGANIZATION])
        await self.store.create_client(ORGANIZATION, "both", "CLIENT KEY")
        user = StoredPrincipal(name="both", kind="user", public_keys=("USER KEY",), associated=True)
        client = StoredPrincipal(name="both", kind="client", public_keys=("CLIENT KEY",), associated=True)
        self.assertEqual(await self.store.principals(ORGANIZATION, "both"), [user, client])
        stranger = StoredPrincipal(name="both", kind="user", public_keys=("USER KEY",), associated=False)
        self.assertEqual(await self.store.principals("other", "both"), [stranger])

    async def test_a_user_of_several_organizations(self) -> None:
        await self.store.create_organization("other", "guid-2")
        await self.store.create_organization("third", "guid-3")
        await self.store.create_user("u", "KEY", [ORGANIZATION, "other"])
        found = {
            organization: [principal.associated for principal in await self.store.principals(organization, "u")]
            for organization in (ORGANIZATION, "other", "third")
        }
        self.assertEqual(found, {ORGANIZATION: [True], "other": [True], "third": [False]})

    async def test_names_that_are_taken(self) -> None:
        await self.store.create_user("u", "KEY")
        await self.store.create_client(ORGANIZATION, "c", "KEY")
        await self.store.create_group(ORGANIZATION, "g")
        with self.assertRaises(AlreadyExists):
            await self.store.create_user("u", "OTHER", [ORGANIZATION])
        with self.assertRaises(AlreadyExists):
            await self.store.create_client(ORGANIZATION, "c", "OTHER")
        with self.assertRaises(AlreadyExists):
            await self.store.create_group(ORGANIZATION, "g")
        [user] = await self.store.principals(ORGANIZATION, "u")
        self.assertEqual((user.public_keys, user.associated), (("KEY",), False))

    async def test_organizations_that_are_not_there(self) -> None:
        with self.assertRaises(NotFound):
            await self.store.create_user("u", "KEY", [ORGANIZATION, "nowhere"])
        self.assertEqual(await self.store.principals(ORGANIZATION, "u"), [])
        with self.assertRaises(NotFound):
            await self.store.create_client("nowhere", "c", "KEY")
        with self.assertRaises(NotFound):
            await self.store.create_group("nowhere", "g")
        with self.assertRaises(NotFound):
            await self.store.add_to_group(ORGANIZATION, "nogroup", "user", "u")
        with self.assertRaises(NotFound):
            await self.store.save_registration(registration(organization="nowhere"))

    async def test_groups(self) -> None:
        await self.store.create_organization("other", "guid-2")
        await self.store.create_group("other", "admins")
        await self.store.create_group(ORGANIZATION, "admins")
        await self.store.create_group(ORGANIZATION, "empty")
        for kind, member in (("user", "u"), ("user", "v"), ("client", "u"), ("group", "admins"), ("user", "u")):
            await self.store.add_to_group(ORGANIZATION, "admins", kind, member)
        none: frozenset[str] = frozenset()
        admins = StoredGroup(
            name="admins", users=frozenset({"u", "v"}), clients=frozenset({"u"}), groups=frozenset({"admins"})
        )
        empty = StoredGroup(name="empty", users=none, clients=none, groups=none)
        self.assertEqual(await self.store.groups(ORGANIZATION), {"admins": admins, "empty": empty})
        self.assertEqual(
            await self.store.groups("other"),
            {"admins": StoredGroup(name="admins", users=none, clients=none, groups=none)},
        )
        self.assertEqual(await self.store.groups("nowhere"), {})

    async def test_registrations(self) -> None:
        self.assertEqual(await self.store.registrations(), [])
        await self.store.save_registration(registration("web1"))
        await self.store.save_registration(registration("web2"))
        newer = registration("web1", curve_key="n" * 40, protocol_version="2.0")
        await self.store.save_registration(newer)
        self.assertCountEqual(await self.store.registrations(), [newer, registration("web2")])

    async def test_hostile_names(self) -> None:
        for name in ("x\0y", "lone \ud800", "\ufdd0", "'; DROP TABLE users; --", "", "é", "e\u0301"):
            await self.store.create_client(ORGANIZATION, name, "KEY " + name)
            [client] = await self.store.principals(ORGANIZATION, name)
            self.assertEqual((client.name, client.public_keys), (name, ("KEY " + name,)))
            await self.store.save_registration(registration(name))
            self.assertIn(registration(name), await self.store.registrations())


class SqliteIdentity(Sqlite, IdentityContract):
    __test__ = True


class PostgresIdentity(Postgres, IdentityContract):
    __test__ = True
