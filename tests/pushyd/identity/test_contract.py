"""What every identity backend has to do, once over our own store and once over a Chef Server's double."""

from collections.abc import Sequence

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from pushy_protocol.http_signing import SigningError, sign
from pushyd.identity.authenticate import NotAssociated, Signature, authenticate
from pushyd.identity.authorize import Right, may
from pushyd.identity.interface import Caller, Group, Identity, UnknownOrganization
from pushyd.identity.local import LocalIdentity
from pushyd.store.interface import DEFAULT_KEY, StoredGroup
from pushyd.store.sql import SqlStore
from tests.pushy_agent.test_config import certificate
from tests.pushyd.identity.chef import NOW, ChefCase
from tests.pushyd.identity.keys import key_of, pem_of

READERS, WRITERS, ADMINS = "pushy_job_readers", "pushy_job_writers", "admins"
PATH = "/organizations/acme/pushy/jobs"


def pkcs1(name: str) -> str:
    """A public key in the form that old Chef Servers keep: ``BEGIN RSA PUBLIC KEY``."""
    return key_of(name).public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1).decode()


class IdentityContract:
    """The tests. `identity` is the backend; the other methods make what there is, behind its back."""

    identity: Identity

    async def make_user(self, name: str, *keys: str, member_of: Sequence[str] = ("acme",)) -> None:
        raise NotImplementedError

    async def make_client(self, name: str, *keys: str, organization: str = "acme") -> None:
        raise NotImplementedError

    async def delete_client(self, name: str) -> None:
        raise NotImplementedError

    async def make_group(
        self, name: str, *, users: Sequence[str] = (), clients: Sequence[str] = (), groups: Sequence[str] = ()
    ) -> None:
        """Members have to be there."""
        raise NotImplementedError

    async def later(self) -> None:
        """So much later that what was changed must have been noticed."""
        raise NotImplementedError

    async def call(
        self, name: str, key: RSAPrivateKey, *, version: str = "1.3", organization: str = "acme", body: bytes = b"{}"
    ) -> Caller:
        """Authenticate a request that was signed so."""
        headers = sign(private_key=key, user=name, method="POST", path=PATH, body=body, now=NOW, version=version)
        signature = Signature(
            headers={name.lower(): value for name, value in headers.items()}, method="POST", path=PATH, body=body
        )
        return await authenticate(self.identity, organization=organization, signature=signature, now=lambda: NOW)

    async def refusal(self, kind: type[Exception], name: str, key: str, *, organization: str = "acme") -> str:
        try:
            await self.call(name, key_of(key), organization=organization)
        except kind as error:
            return str(error)
        raise AssertionError(f"{name} was believed")

    async def may(self, right: Right, name: str, *, client: bool = False) -> bool:
        caller = Caller(
            organization="acme", name=name, is_user=not client, is_client=client, key=key_of(name).public_key()
        )
        return await may(self.identity, caller, right)

    # Who somebody is

    async def test_a_user_in_every_version_of_the_signature(self) -> None:
        await self.make_user("alice", pem_of("alice"))
        for version in ("1.0", "1.1", "1.3"):
            caller = await self.call("alice", key_of("alice"), version=version)
            assert (caller.name, caller.organization, caller.is_user, caller.is_client) == (
                "alice",
                "acme",
                True,
                False,
            ), version
            assert caller.key == key_of("alice").public_key()

    async def test_a_client(self) -> None:
        for name in ("web1.example.com", "a_b:c-d"):
            await self.make_client(name, pem_of(name))
            caller = await self.call(name, key_of(name))
            assert (caller.name, caller.is_user, caller.is_client) == (name, False, True)

    async def test_every_form_of_a_public_key(self) -> None:
        await self.make_client("new", pem_of("new"))
        await self.make_client("old", pkcs1("old"))
        await self.make_client("certified", certificate(key_of("certified"), "certified").decode())
        for name in ("new", "old", "certified"):
            assert (await self.call(name, key_of(name))).key == key_of(name).public_key()

    async def test_every_key_of_a_principal(self) -> None:
        await self.make_client("web1", pem_of("first"), pem_of("second"))
        await self.make_user("alice", pem_of("third"), pkcs1("fourth"))
        for name, key in (("web1", "first"), ("web1", "second"), ("alice", "third"), ("alice", "fourth")):
            assert (await self.call(name, key_of(key))).key == key_of(key).public_key()
        assert await self.refusal(SigningError, "web1", "third") == "Invalid signature for user or client 'web1'"

    async def test_a_name_that_is_a_user_and_a_client(self) -> None:
        await self.make_user("twin", pem_of("as user"))
        await self.make_client("twin", pem_of("as client"))
        for key, is_user in (("as user", True), ("as client", False)):
            caller = await self.call("twin", key_of(key))
            assert (caller.is_user, caller.is_client) == (is_user, not is_user)

    async def test_one_key_for_a_user_and_a_client(self) -> None:
        await self.make_user("twin", pem_of("twin"))
        await self.make_client("twin", pem_of("twin"))
        caller = await self.call("twin", key_of("twin"))
        assert (caller.is_user, caller.is_client) == (True, True)

    async def test_a_user_of_another_organization(self) -> None:
        await self.make_user("sam", pem_of("sam"), member_of=("other",))
        expected = "'sam' is not associated with organization 'acme'"
        assert await self.refusal(NotAssociated, "sam", "sam") == expected
        assert (await self.call("sam", key_of("sam"), organization="other")).organization == "other"

    async def test_a_client_of_another_organization_is_nobody(self) -> None:
        await self.make_client("web9", pem_of("web9"), organization="other")
        assert "Failed to authenticate as 'web9'" in await self.refusal(SigningError, "web9", "web9")

    async def test_somebody_without_a_key(self) -> None:
        await self.make_client("mute")
        assert await self.refusal(SigningError, "mute", "any") == "Invalid signature for user or client 'mute'"

    async def test_somebody_whose_key_is_none(self) -> None:
        await self.make_user("alice", pem_of("alice"))
        await self.make_client("web1", pem_of("web1"))
        assert await self.refusal(SigningError, "alice", "web1") == "Invalid signature for user or client 'alice'"

    async def test_nobody(self) -> None:
        for name in ("nobody", "..", ".", "../alice", "a/b", "a?b", "a#b", "a%2Fb", "a b", "admins::x", "x" * 300, "é"):
            assert list(await self.identity.principals("acme", name)) == [], name

    async def test_an_organization_that_is_not(self) -> None:
        await self.make_user("alice", pem_of("alice"))
        for organization in ("nowhere", "..", "acme/..", "a?b"):
            expected = f"organization '{organization}' does not exist."
            assert await self.refusal(UnknownOrganization, "alice", "alice", organization=organization) == expected
            assert not await self.identity.organization_exists(organization)
        assert await self.identity.organization_exists("acme")

    async def test_a_client_that_is_deleted_and_made_anew(self) -> None:
        await self.make_client("web1", pem_of("web1"))
        await self.call("web1", key_of("web1"))
        await self.delete_client("web1")
        await self.later()
        assert "Failed to authenticate" in await self.refusal(SigningError, "web1", "web1")
        await self.make_client("web1", pem_of("again"))
        await self.later()
        await self.call("web1", key_of("again"))
        await self.refusal(SigningError, "web1", "web1")

    # What somebody may do

    async def test_a_group_and_none(self) -> None:
        await self.make_user("alice", pem_of("alice"))
        await self.make_client("web1", pem_of("web1"))
        await self.make_group("inner")
        await self.make_group("outer", users=["alice"], clients=["web1"], groups=["inner"])
        none: frozenset[str] = frozenset()
        assert await self.identity.group("acme", "inner") == Group(users=none, clients=none, groups=none)
        assert await self.identity.group("acme", "outer") == Group(
            users=frozenset({"alice"}), clients=frozenset({"web1"}), groups=frozenset({"inner"})
        )
        assert await self.identity.group("acme", "gone") is None

    async def test_rights_without_groups_of_ours(self) -> None:
        await self.make_user("alice", pem_of("alice"))
        await self.make_user("boss", pem_of("boss"))
        await self.make_group(ADMINS, users=["boss"])
        assert await self.may(Right.READ, "alice")
        assert not await self.may(Right.WRITE, "alice")
        assert await self.may(Right.WRITE, "boss")
        assert await self.may(Right.ADMINISTER, "boss")
        assert not await self.may(Right.ADMINISTER, "alice")

    async def test_rights_with_groups_within_groups(self) -> None:
        for name in ("alice", "boss", "deep"):
            await self.make_user(name, pem_of(name))
        await self.make_client("robot", pem_of("robot"))
        await self.make_group(ADMINS, users=["boss"])
        await self.make_group("deepest", users=["deep"], clients=["robot"])
        await self.make_group("middle", groups=["deepest"])
        await self.make_group(WRITERS, groups=["middle"])
        await self.make_group(READERS, users=["alice"])
        for right, name, client, expected in (
            (Right.WRITE, "deep", False, True),
            (Right.WRITE, "robot", True, True),
            (Right.WRITE, "robot", False, False),
            (Right.WRITE, "boss", False, False),
            (Right.WRITE, "alice", False, False),
            (Right.READ, "alice", False, True),
            (Right.READ, "deep", False, False),
        ):
            assert await self.may(right, name, client=client) is expected, (right, name)

    async def test_groups_in_a_circle(self) -> None:
        await self.make_user("alice", pem_of("alice"))
        await self.make_group("one")
        await self.make_group("two", groups=["one"])
        await self.make_group("one", groups=["two"])
        await self.make_group(WRITERS, groups=["one"])
        assert not await self.may(Right.WRITE, "alice")
        await self.make_group("two", groups=["one"], users=["alice"])
        await self.later()
        assert await self.may(Right.WRITE, "alice")

    async def test_nobody_administers_the_server_by_another_organization(self) -> None:
        await self.make_user("sam", pem_of("sam"), member_of=("other",))
        caller = Caller(organization="other", name="sam", is_user=True, is_client=False, key=key_of("sam").public_key())
        assert not await may(self.identity, caller, Right.ADMINISTER_SERVER)


class LocalContractTests(IdentityContract, TestCase):
    """Over our own store, in SQLite."""

    timeout = 30

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
        store = SqlStore(url=f"sqlite:///{self.mktemp()}", reactor=reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(store.close()))
        await store.open()
        for name in ("acme", "other"):
            await store.create_organization(name, f"guid of {name}")
        self.store = store
        self.identity = LocalIdentity(store, seconds=lambda: 0.0, believed_seconds=0)

    async def make_user(self, name: str, *keys: str, member_of: Sequence[str] = ("acme",)) -> None:
        await self.store.create_user(name, None, member_of)
        await self._give(None, name, keys)

    async def make_client(self, name: str, *keys: str, organization: str = "acme") -> None:
        await self.store.create_client(organization, name, None)
        await self._give(organization, name, keys)

    async def _give(self, organization: str | None, name: str, keys: Sequence[str]) -> None:
        for number, key in enumerate(keys):
            await self.store.put_key(organization, name, f"{number}" if number else DEFAULT_KEY, key)

    async def delete_client(self, name: str) -> None:
        await self.store.delete_client("acme", name)

    async def make_group(
        self, name: str, *, users: Sequence[str] = (), clients: Sequence[str] = (), groups: Sequence[str] = ()
    ) -> None:
        if name not in await self.store.groups("acme"):
            await self.store.create_group("acme", name)
        made = StoredGroup(name=name, users=frozenset(users), clients=frozenset(clients), groups=frozenset(groups))
        await self.store.set_group("acme", made)

    async def later(self) -> None:
        """It looks each time."""


class ChefContractTests(IdentityContract, ChefCase):
    """Over a Chef Server."""

    async def make_user(self, name: str, *keys: str, member_of: Sequence[str] = ("acme",)) -> None:
        self.world.make_user(name, *keys, member_of=tuple(member_of))

    async def make_client(self, name: str, *keys: str, organization: str = "acme") -> None:
        self.world.make_client(organization, name, *keys)

    async def delete_client(self, name: str) -> None:
        self.world.delete_client("acme", name)

    async def make_group(
        self, name: str, *, users: Sequence[str] = (), clients: Sequence[str] = (), groups: Sequence[str] = ()
    ) -> None:
        self.world.make_group("acme", name, users=users, clients=clients, groups=groups)

    async def later(self) -> None:
        self.clock.advance(60)
