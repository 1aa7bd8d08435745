"""Identities that another process deletes: their sessions end without anybody asking about them. Time is a Clock."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pushyd.domain.node import NodeRef
from pushyd.outside_changes import OutsideChanges
from pushyd.sessions import Sessions
from tests.pushyd.doubles import MemoryStore, begin

WEB, DB = NodeRef("acme", "web1"), NodeRef("acme", "db1")


class GenerationStore(MemoryStore):
    """A store whose generation a test changes, as a writer of identities does."""

    generation = 0

    async def identity_generation(self) -> int:
        return self.generation


class OutsideChangesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.store = GenerationStore()
        self.sessions = Sessions(secret=b"secret", store=self.store)
        for node, key in ((WEB, "w" * 40), (DB, "d" * 40)):
            self.successResultOf(begin(self.sessions.admit(node, curve_key=key, version="2.0")))
        self.changes = OutsideChanges(
            store=self.store,  # type: ignore[arg-type]  # what of an IdentityStore is used
            sessions=self.sessions,
            clock=self.clock,
        )
        self.changes.start()
        self.addCleanup(self.changes.stop)
        self.clock.advance(2)

    def delete_outside(self, node: NodeRef) -> None:
        self.successResultOf(begin(self.store.delete_registration(*node)))

    def test_a_session_whose_registration_is_gone_ends(self) -> None:
        self.delete_outside(WEB)
        self.store.generation += 1
        self.clock.advance(2)
        self.assertIsNone(self.sessions.of(WEB))
        self.assertIsNone(self.sessions.by_peer("w" * 40))
        self.assertIsNotNone(self.sessions.of(DB))

    def test_nothing_is_read_while_nothing_has_changed(self) -> None:
        self.delete_outside(WEB)
        self.clock.advance(2)
        self.assertIsNotNone(self.sessions.of(WEB))

    def test_a_session_that_begins_during_the_look_stays(self) -> None:
        self.store.hold()
        new = NodeRef("acme", "new")
        admitting = begin(self.sessions.admit(new, curve_key="n" * 40, version="2.0"))
        self.store.generation += 1
        self.clock.advance(2)
        self.store.release()
        self.successResultOf(admitting)
        self.assertIsNotNone(self.sessions.of(new))
