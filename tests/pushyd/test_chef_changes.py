"""Clients that go from a Chef Server: their sessions end without anybody asking about them. Time is a Clock."""

from collections.abc import Sequence

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pushyd.chef_changes import ChefChanges
from pushyd.domain.node import NodeRef
from pushyd.identity.interface import Caller, IdentityUnavailable, Principal
from pushyd.sessions import Sessions
from tests.pushyd.doubles import MemoryStore, begin
from tests.pushyd.identity.keys import key_of

WEB, DB, OTHER = NodeRef("acme", "web1"), NodeRef("acme", "db1"), NodeRef("other", "web1")
LOOK, LIFETIME = 60, 3600


class ChefServer:
    """Who is there, by organization and name; each has the key of the name that is told."""

    def __init__(self) -> None:
        self.clients_of: dict[str, dict[str, str]] = {"acme": {"web1": "web1", "db1": "db1"}, "other": {"web1": "web1"}}
        self.users: dict[str, str] = {}
        self.away = False
        self.lists = 0
        self.looked_up: list[str] = []
        self.forgotten: list[tuple[str, str]] = []

    async def clients(self, organization: str) -> frozenset[str]:
        self.lists += 1
        if self.away:
            raise IdentityUnavailable("away")
        return frozenset(self.clients_of[organization])

    async def principals(self, organization: str, name: str) -> Sequence[Principal]:
        self.looked_up.append(name)
        if self.away:
            raise IdentityUnavailable("away")
        found = [(self.clients_of[organization].get(name), False), (self.users.get(name), True)]
        return [
            Principal(name=name, is_user=is_user, public_keys=(key_of(key).public_key(),), associated=True)
            for key, is_user in found
            if key
        ]

    def forget(self, organization: str, name: str) -> None:
        self.forgotten.append((organization, name))


def caller(name: str, *, organization: str = "acme", user: bool = False, key: str | None = None) -> Caller:
    return Caller(
        organization=organization,
        name=name,
        is_user=user,
        is_client=not user,
        key=key_of(key or name).public_key(),
    )


class ChefChangesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.chef = ChefServer()
        self.store = MemoryStore()
        self.sessions = Sessions(secret=b"secret", store=self.store)
        self.changes = ChefChanges(
            identity=self.chef, sessions=self.sessions, clock=self.clock, seconds=LOOK, config_lifetime=LIFETIME
        )
        self.changes.start()
        self.addCleanup(self.changes.stop)

    def admit(self, node: NodeRef, by: Caller | None) -> None:
        key = f"{node.organization}{node.name}".ljust(40, "x")
        self.successResultOf(begin(self.sessions.admit(node, curve_key=key, version="2.0")))
        if by:
            self.changes.admitted(node, by)

    def there(self) -> set[NodeRef]:
        return set(self.sessions.all())

    def test_a_client_that_is_deleted_loses_its_session_at_the_next_look(self) -> None:
        for node in (WEB, DB, OTHER):
            self.admit(node, caller(node.name, organization=node.organization))
        self.clock.advance(LOOK)
        self.assertEqual(self.there(), {WEB, DB, OTHER})
        del self.chef.clients_of["acme"]["web1"]
        self.clock.advance(LOOK - 1)
        self.assertEqual(self.there(), {WEB, DB, OTHER})
        self.clock.advance(1)
        self.assertEqual(self.there(), {DB, OTHER})
        self.assertEqual(self.chef.forgotten, [("acme", "web1")])
        self.assertEqual(len(self.store.saved), 3)
        self.assertEqual(len(self.successResultOf(begin(self.store.registrations()))), 2)

    def test_a_look_is_one_request_for_an_organization(self) -> None:
        for node in (WEB, DB, OTHER):
            self.admit(node, caller(node.name, organization=node.organization))
        self.clock.advance(LOOK)
        self.assertEqual((self.chef.lists, self.chef.looked_up), (2, []))

    def test_nobody_has_to_be_looked_for_where_there_is_nobody(self) -> None:
        self.clock.advance(LOOK)
        self.assertEqual(self.chef.lists, 0)

    def test_a_session_of_an_earlier_run_is_that_of_the_client_of_its_name(self) -> None:
        self.admit(WEB, None)
        self.admit(DB, None)
        del self.chef.clients_of["acme"]["db1"]
        self.clock.advance(LOOK)
        self.assertEqual(self.there(), {WEB})

    def test_while_it_is_away_everybody_stays(self) -> None:
        self.admit(WEB, caller("web1"))
        self.admit(NodeRef("acme", "desk"), caller("alice", user=True))
        self.chef.users["alice"] = "alice"
        self.chef.clients_of["acme"].clear()
        self.chef.away = True
        for _ in range(100):
            self.clock.advance(LOOK)
        self.assertEqual(len(self.there()), 2)
        self.chef.away = False
        self.clock.advance(LOOK)
        self.assertEqual(self.there(), {NodeRef("acme", "desk")})

    def test_a_session_that_a_user_began_lasts_as_long_as_the_user(self) -> None:
        desk = NodeRef("acme", "desk")
        self.chef.users["alice"] = "alice"
        self.admit(desk, caller("alice", user=True))
        self.clock.advance(LOOK)
        self.assertEqual(self.there(), {desk})
        self.chef.users.clear()
        self.clock.advance(LOOK)
        self.assertEqual(self.there(), set())

    def test_a_client_with_another_key_loses_its_session_when_it_should_have_shown_it(self) -> None:
        self.admit(WEB, caller("web1"))
        self.admit(DB, caller("db1"))
        self.chef.clients_of["acme"]["web1"] = "another"
        for _ in range(LIFETIME // LOOK):
            self.clock.advance(LOOK)
        self.assertEqual((self.there(), self.chef.looked_up), ({WEB, DB}, []))
        for _ in range(LIFETIME // LOOK // 4):
            self.clock.advance(LOOK)
        self.assertEqual(self.there(), {DB})
        self.assertEqual(sorted(self.chef.looked_up), ["db1", "web1"])

    def test_who_shows_its_key_in_time_is_not_asked_about(self) -> None:
        for _ in range(3):
            self.admit(WEB, caller("web1"))
            for _ in range(LIFETIME // LOOK):
                self.clock.advance(LOOK)
        self.assertEqual((self.there(), self.chef.looked_up), ({WEB}, []))

    def test_a_look_can_be_asked_for(self) -> None:
        self.admit(WEB, caller("web1"))
        del self.chef.clients_of["acme"]["web1"]
        self.changes.look_soon()
        self.assertEqual(self.there(), set())
