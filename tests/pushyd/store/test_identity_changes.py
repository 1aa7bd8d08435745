"""The contracts of an IdentityStore where users, clients and groups change, and of a NodeObjectStore; on both."""

from collections.abc import Awaitable, Callable

from pushy_protocol.states import JobStatus
from pushyd.store.interface import (
    AlreadyExists,
    Found,
    JobStatusChange,
    NotFound,
    Organization,
    Registration,
    StillNeeded,
    StoredGroup,
    StoredNode,
    TooMuch,
    UnknownMember,
)
from tests.pushyd.store.backend import ORGANIZATION, Postgres, Sqlite, StoreCase, job_spec


def group(name: str, *, users: str = "", clients: str = "", groups: str = "") -> StoredGroup:
    return StoredGroup(
        name=name, users=frozenset(users.split()), clients=frozenset(clients.split()), groups=frozenset(groups.split())
    )


class ChangesContract(StoreCase):
    __test__ = False

    async def group(self, name: str, organization: str = ORGANIZATION) -> StoredGroup:
        return (await self.store.groups(organization))[name]

    async def test_organizations_in_the_order_in_which_they_were_made(self) -> None:
        await self.store.create_organization("zebra", "guid-2", "The zebras")
        await self.store.create_organization("aardvark", "guid-3")
        await self.store.rename_organization("aardvark", "The aardvarks")
        self.assertEqual(
            await self.store.organizations(),
            [
                Organization(name=ORGANIZATION, guid="guid-1"),
                Organization(name="zebra", guid="guid-2", full_name="The zebras"),
                Organization(name="aardvark", guid="guid-3", full_name="The aardvarks"),
            ],
        )
        self.assertEqual((await self.store.organizations())[1], await self.store.organization("zebra"))
        with self.assertRaises(NotFound):
            await self.store.rename_organization("nowhere", "x")

    async def test_an_organization_that_is_another_one_now(self) -> None:
        await self.store.create_organization("zebra", "guid-2", "The zebras")
        before = await self.store.identity_generation()
        self.assertGreater(await self.store.identify_organization("zebra", "guid-3"), before)
        expected = Organization(name="zebra", guid="guid-3", full_name="The zebras")
        self.assertEqual(await self.store.organization("zebra"), expected)
        with self.assertRaises(AlreadyExists):
            await self.store.identify_organization("zebra", "guid-1")
        with self.assertRaises(NotFound):
            await self.store.identify_organization("nowhere", "guid-4")
        self.assertEqual(await self.store.organization("zebra"), expected)

    async def test_an_organization_is_deleted_with_all_that_belongs_to_it(self) -> None:
        await self.store.create_user("u", "USER KEY")
        await self.store.found_organization(
            "new", guid="g", full_name="", admin="u", validator="new-v", validator_key="KEY"
        )
        await self.store.create_node_object("new", StoredNode(name="n", data=b"{}"))
        await self.store.save_registration(
            Registration(organization="new", node="n", curve_key="k", session_salt=b"s", protocol_version="2.0")
        )
        await self.store.create_job(job_spec(organization="new"))
        before = await self.store.identity_generation()
        with self.assertRaises(StillNeeded):
            await self.store.delete_organization("new")
        self.assertEqual(await self.store.identity_generation(), before)
        self.assertEqual(await self.store.clients("new"), ["new-v"])
        self.store.record(JobStatusChange(job_id=job_spec().id, status=JobStatus.COMPLETE, at=1))
        await self.store.recorded()
        self.assertEqual(await self.store.retire_jobs("new", limit=10), 1)
        self.assertGreater(await self.store.delete_organization("new"), before)
        self.assertIsNone(await self.store.organization("new"))
        self.assertEqual((await self.store.clients("new"), dict(await self.store.groups("new"))), ([], {}))
        self.assertEqual((await self.store.node_names("new"), await self.store.registrations()), ([], []))
        self.assertEqual(await self.store.users(), ["u"])
        self.assertEqual(await self.store.purge(100), 4, "the job's row and those of its nodes")
        with self.assertRaises(NotFound):
            await self.store.delete_organization("new")

    async def test_an_organization_with_its_first_principals(self) -> None:
        async def found(name: str, admin: str) -> None:
            await self.store.found_organization(
                name, guid=f"guid of {name}", full_name="", admin=admin, validator=f"{name}-v", validator_key="KEY"
            )

        await self.store.create_user("u", "USER KEY")
        await found("new", "u")
        self.assertEqual(await self.store.users("new"), ["u"])
        self.assertEqual(await self.store.clients("new"), ["new-v"])
        self.assertEqual(await self.store.groups("new"), {"admins": group("admins", users="u")})
        with self.assertRaises(AlreadyExists):
            await found("new", "u")
        with self.assertRaises(NotFound):
            await found("other", "nobody")
        self.assertIsNone(await self.store.organization("other"))

    async def test_every_change_makes_the_next_generation(self) -> None:
        store = self.store
        before = await store.identity_generation()
        changes: list[Callable[[], Awaitable[int]]] = [
            lambda: store.create_organization("other", "guid-2"),
            lambda: store.rename_organization("other", "Other"),
            lambda: store.create_user("u", "KEY"),
            lambda: store.change_user("u", "v", {}),
            lambda: store.associate(ORGANIZATION, "v"),
            lambda: store.create_client(ORGANIZATION, "c", "KEY"),
            lambda: store.rename_client(ORGANIZATION, "c", "d"),
            lambda: store.put_key(ORGANIZATION, "d", "default", "NEW"),
            lambda: store.create_group(ORGANIZATION, "g"),
            lambda: store.set_group(ORGANIZATION, group("g", users="v")),
            lambda: store.add_to_group(ORGANIZATION, "g", "client", "d"),
            lambda: store.remove_from_group(ORGANIZATION, "g", "client", "d"),
            lambda: store.delete_group(ORGANIZATION, "g"),
            lambda: store.dissociate(ORGANIZATION, "v"),
            lambda: store.delete_client(ORGANIZATION, "d"),
            lambda: store.delete_user("v"),
        ]
        made = [await change() for change in changes]
        self.assertEqual(made, [before + number for number in range(1, len(changes) + 1)])
        self.assertEqual(await store.identity_generation(), made[-1])
        with self.assertRaises(NotFound):
            await store.delete_user("v")
        self.assertEqual(await store.identity_generation(), made[-1], "what was refused is no change")

    async def test_another_program_sees_the_generation(self) -> None:
        other = await self.open_store()
        made = await other.create_group(ORGANIZATION, "g")
        self.assertEqual(await self.store.identity_generation(), made)

    async def test_keys(self) -> None:
        await self.store.create_client(ORGANIZATION, "c", None)
        await self.store.create_user("c", "USER KEY")
        self.assertEqual(await self.store.keys(ORGANIZATION, "c"), {})
        await self.store.put_key(ORGANIZATION, "c", "default", "ONE")
        await self.store.put_key(ORGANIZATION, "c", "more", "TWO")
        await self.store.put_key(ORGANIZATION, "c", "default", "THREE")
        await self.store.put_key(None, "c", "default", "NEW USER KEY")
        self.assertEqual(await self.store.keys(ORGANIZATION, "c"), {"default": "THREE", "more": "TWO"})
        self.assertEqual(await self.store.keys(None, "c"), {"default": "NEW USER KEY"})
        for organization in (None, ORGANIZATION):
            self.assertIsNone(await self.store.keys(organization, "nobody"))
            with self.assertRaises(NotFound):
                await self.store.put_key(organization, "nobody", "default", "KEY")

    async def test_users_and_their_profiles(self) -> None:
        await self.store.create_user("u", None, profile={"email": "u@example.com"})
        await self.store.create_user("v", "KEY", [ORGANIZATION])
        self.assertEqual(await self.store.users(), ["u", "v"])
        self.assertEqual(await self.store.users(ORGANIZATION), ["v"])
        self.assertEqual(await self.store.profile("u"), {"email": "u@example.com"})
        self.assertEqual(await self.store.profile("v"), {})
        self.assertIsNone(await self.store.profile("nobody"))
        await self.store.change_user("v", "v", {"email": "é\0"})
        self.assertEqual(await self.store.profile("v"), {"email": "é\0"})

    async def test_a_user_with_another_name_stays_where_it_was(self) -> None:
        await self.store.create_user("u", "KEY", [ORGANIZATION])
        await self.store.create_user("taken", "KEY")
        await self.store.create_client(ORGANIZATION, "u", "CLIENT KEY")
        await self.store.create_group(ORGANIZATION, "g")
        await self.store.set_group(ORGANIZATION, group("g", users="u", clients="u"))
        await self.store.change_user("u", "new", {"email": "e"})
        self.assertEqual(await self.store.users(ORGANIZATION), ["new"])
        self.assertEqual(await self.store.keys(None, "new"), {"default": "KEY"})
        self.assertEqual(await self.group("g"), group("g", users="new", clients="u"))
        self.assertIsNone(await self.store.profile("u"))
        with self.assertRaises(AlreadyExists):
            await self.store.change_user("new", "taken", {})
        with self.assertRaises(NotFound):
            await self.store.change_user("u", "u", {})
        with self.assertRaises(NotFound):
            await self.store.change_user("u", "w", {})
        self.assertEqual(await self.store.users(), ["new", "taken"])

    async def test_who_gets_the_name_of_a_deleted_one_is_in_none_of_its_groups(self) -> None:
        await self.store.create_organization("other", "guid-2")
        await self.store.create_user("u", "KEY", [ORGANIZATION, "other"])
        for organization in (ORGANIZATION, "other"):
            await self.store.create_client(organization, "c", "KEY")
            for name in ("g", "inner"):
                await self.store.create_group(organization, name)
            await self.store.set_group(organization, group("g", users="u", clients="c", groups="inner"))
        await self.store.delete_client(ORGANIZATION, "c")
        await self.store.delete_group(ORGANIZATION, "inner")
        self.assertEqual(await self.group("g"), group("g", users="u"))
        self.assertEqual(await self.group("g", "other"), group("g", users="u", clients="c", groups="inner"))
        await self.store.dissociate("other", "u")
        self.assertEqual(await self.group("g", "other"), group("g", clients="c", groups="inner"))
        self.assertEqual(await self.store.users(), ["u"])
        await self.store.delete_user("u")
        self.assertEqual(await self.group("g"), group("g"))
        self.assertEqual(await self.store.users(ORGANIZATION), [])

    async def test_a_client_with_another_name_stays_in_its_groups(self) -> None:
        for name in ("c", "taken"):
            await self.store.create_client(ORGANIZATION, name, f"KEY OF {name}")
        await self.store.create_group(ORGANIZATION, "g")
        await self.store.set_group(ORGANIZATION, group("g", clients="c"))
        await self.store.rename_client(ORGANIZATION, "c", "new")
        self.assertEqual(await self.store.clients(ORGANIZATION), ["new", "taken"])
        self.assertEqual(await self.store.keys(ORGANIZATION, "new"), {"default": "KEY OF c"})
        self.assertEqual(await self.group("g"), group("g", clients="new"))
        with self.assertRaises(AlreadyExists):
            await self.store.rename_client(ORGANIZATION, "new", "taken")
        with self.assertRaises(NotFound):
            await self.store.rename_client(ORGANIZATION, "c", "d")
        self.assertEqual(await self.store.clients(ORGANIZATION), ["new", "taken"])

    async def test_a_deleted_client_is_registered_no_more(self) -> None:
        for name in ("c", "d"):
            await self.store.create_client(ORGANIZATION, name, "KEY")
            await self.store.save_registration(
                Registration(
                    organization=ORGANIZATION, node=name, curve_key=name, session_salt=b"", protocol_version="2.0"
                )
            )
        await self.store.delete_client(ORGANIZATION, "c")
        self.assertEqual([registration.node for registration in await self.store.registrations()], ["d"])

    async def test_associations(self) -> None:
        await self.store.create_user("u", "KEY")
        await self.store.associate(ORGANIZATION, "u")
        with self.assertRaises(AlreadyExists):
            await self.store.associate(ORGANIZATION, "u")
        with self.assertRaises(NotFound):
            await self.store.associate(ORGANIZATION, "nobody")
        with self.assertRaises(NotFound):
            await self.store.associate("nowhere", "u")
        await self.store.dissociate(ORGANIZATION, "u")
        with self.assertRaises(NotFound):
            await self.store.dissociate(ORGANIZATION, "u")

    async def test_only_who_is_there_can_be_in_a_group(self) -> None:
        await self.store.create_user("u", "KEY", [ORGANIZATION])
        await self.store.create_user("stranger", "KEY")
        await self.store.create_group(ORGANIZATION, "g")
        await self.store.set_group(ORGANIZATION, group("g", users="u", groups="g"))
        with self.assertRaises(UnknownMember) as caught:
            await self.store.set_group(ORGANIZATION, group("g", users="u stranger", clients="u", groups="h"))
        self.assertEqual(str(caught.exception), "user 'stranger', client 'u', group 'h'")
        self.assertEqual(await self.group("g"), group("g", users="u", groups="g"))
        with self.assertRaises(NotFound):
            await self.store.set_group(ORGANIZATION, group("h"))
        await self.store.remove_from_group(ORGANIZATION, "g", "group", "g")
        await self.store.remove_from_group(ORGANIZATION, "g", "group", "g")
        self.assertEqual(await self.group("g"), group("g", users="u"))
        await self.store.delete_group(ORGANIZATION, "g")
        with self.assertRaises(NotFound):
            await self.store.delete_group(ORGANIZATION, "g")

    async def test_what_is_not_there_cannot_go(self) -> None:
        for gone in (
            self.store.delete_client(ORGANIZATION, "c"),
            self.store.delete_user("u"),
            self.store.delete_group(ORGANIZATION, "g"),
        ):
            with self.assertRaises(NotFound):
                await gone


class NodeObjectContract(StoreCase):
    __test__ = False

    async def find(self, start: int = 0, rows: int = 1000, max_bytes: int = 1000) -> Found:
        return await self.store.find_node_objects(
            ORGANIZATION,
            lambda node: node.data != b"other",
            lambda node: node.name.encode() + b"=" + node.data,
            start=start,
            rows=rows,
            max_bytes=max_bytes,
        )

    async def test_a_node_object(self) -> None:
        await self.store.create_node_object(ORGANIZATION, StoredNode(name="web1", data=b'{"a\xc3\xa9": "\x00"}'))
        self.assertEqual(await self.store.node_object(ORGANIZATION, "web1"), b'{"a\xc3\xa9": "\x00"}')
        self.assertEqual(await self.store.node_names(ORGANIZATION), ["web1"])
        self.assertIsNone(await self.store.node_object(ORGANIZATION, "web2"))
        with self.assertRaises(AlreadyExists):
            await self.store.create_node_object(ORGANIZATION, StoredNode(name="web1", data=b"x"))
        with self.assertRaises(NotFound):
            await self.store.create_node_object("nowhere", StoredNode(name="web1", data=b"x"))
        await self.store.delete_node_object(ORGANIZATION, "web1")
        with self.assertRaises(NotFound):
            await self.store.delete_node_object(ORGANIZATION, "web1")

    async def test_a_change_sees_what_is_there(self) -> None:
        seen: list[bytes | None] = []

        def change(kept: bytes | None) -> bytes | None:
            seen.append(kept)
            return {None: b"one", b"one": b"two", b"two": None}[kept]

        for expected in (b"one", b"two", b"two"):
            await self.store.change_node_object(ORGANIZATION, "web1", change)
            self.assertEqual(await self.store.node_object(ORGANIZATION, "web1"), expected)
        self.assertEqual(seen, [None, b"one", b"two"])

        def refuse(kept: bytes | None) -> bytes | None:
            raise LookupError("mine")

        with self.assertRaises(LookupError):
            await self.store.change_node_object(ORGANIZATION, "web1", refuse)

    async def test_finding_some_of_them(self) -> None:
        await self.store.create_organization("other", "guid-2")
        await self.store.create_node_object("other", StoredNode(name="n000", data=b"elsewhere"))
        for number in range(205):  # more than are read at a time
            data = b"other" if number % 2 else b"%d" % number
            await self.store.create_node_object(ORGANIZATION, StoredNode(name=f"n{number:03}", data=data))
        self.assertEqual(await self.find(rows=2), Found(total=103, rows=[b"n000=0", b"n002=2"]))
        self.assertEqual(await self.find(start=101), Found(total=103, rows=[b"n202=202", b"n204=204"]))
        self.assertEqual(await self.find(start=103), Found(total=103, rows=[]))
        self.assertEqual(await self.find(rows=0), Found(total=103, rows=[]))
        with self.assertRaises(TooMuch):
            await self.find(rows=2, max_bytes=11)
        self.assertEqual(len((await self.find(rows=2, max_bytes=12)).rows), 2)


class SqliteChanges(Sqlite, ChangesContract):
    __test__ = True


class PostgresChanges(Postgres, ChangesContract):
    __test__ = True


class SqliteNodeObjects(Sqlite, NodeObjectContract):
    __test__ = True


class PostgresNodeObjects(Postgres, NodeObjectContract):
    __test__ = True
