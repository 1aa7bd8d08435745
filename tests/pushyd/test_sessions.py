"""Who may speak on the command channel: by CURVE key, by node, now and after a restart."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pushyd.domain.node import NodeRef
from pushyd.sessions import KeyTaken, Session, Sessions
from pushyd.store.interface import Registration, StoreUnavailable
from tests.pushyd.doubles import MemoryStore, begin, failure_of

WEB1, WEB2 = NodeRef("acme", "web1"), NodeRef("acme", "web2")
OTHER_WEB1 = NodeRef("other", "web1")
KEYS = [letter * 40 for letter in "abcdef"]


class SessionsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = MemoryStore()
        self.sessions = self.loaded()

    def loaded(self, secret: bytes = b"secret") -> Sessions:
        """The sessions of a server that has just started."""
        sessions = Sessions(secret=secret, store=self.store)
        self.successResultOf(begin(sessions.load()))
        return sessions

    def admitting(self, node: NodeRef, curve_key: str, version: str = "2.0") -> Deferred[Session]:
        return begin(self.sessions.admit(node, curve_key=curve_key, version=version))

    def admit(self, node: NodeRef, curve_key: str, version: str = "2.0") -> Session:
        return self.successResultOf(self.admitting(node, curve_key, version))

    def test_a_key_is_admitted_for_its_node(self) -> None:
        session = self.admit(WEB1, KEYS[0])
        assert session.node == WEB1
        assert self.sessions.by_peer(KEYS[0]) is self.sessions.of(WEB1) is session
        assert self.sessions.by_peer(KEYS[1]) is None
        assert self.sessions.of(WEB2) is None

    def test_nodes_are_those_of_an_organization(self) -> None:
        for number, node in enumerate((WEB1, OTHER_WEB1, WEB2)):
            self.admit(node, KEYS[number])
        assert sorted(self.sessions.nodes("acme")) == ["web1", "web2"]
        assert self.sessions.nodes("other") == ["web1"]
        assert self.sessions.nodes("nowhere") == []

    def test_session_keys_are_of_32_bytes_and_differ_by_node_and_organization(self) -> None:
        keys = {self.admit(node, KEYS[number]).session_key for number, node in enumerate((WEB1, WEB2, OTHER_WEB1))}
        assert len(keys) == 3
        assert {len(key) for key in keys} == {32}

    def test_where_the_organization_ends_and_the_name_begins_makes_a_difference(self) -> None:
        """The same salt for both, as no server makes it, so that only the names can tell them apart."""
        for organization, node in (("a", "bc"), ("ab", "c")):
            registration = Registration(
                organization=organization,
                node=node,
                curve_key=organization * 20,
                session_salt=b"s" * 16,
                protocol_version="2.0",
            )
            self.successResultOf(begin(self.store.save_registration(registration)))
        sessions = self.loaded()
        first, second = sessions.of(NodeRef("a", "bc")), sessions.of(NodeRef("ab", "c"))
        assert first
        assert second
        assert first.session_key != second.session_key

    def test_a_key_that_is_replaced_is_cut_off_and_the_session_key_stays(self) -> None:
        first = self.admit(WEB1, KEYS[0])
        second = self.admit(WEB1, KEYS[1])
        assert self.sessions.by_peer(KEYS[0]) is None
        assert self.sessions.by_peer(KEYS[1]) is second
        assert second.session_key == first.session_key

    def test_the_same_again_is_not_written_again(self) -> None:
        first = self.admit(WEB1, KEYS[0])
        assert self.admit(WEB1, KEYS[0]) == first
        assert len(self.store.saved) == 1
        assert self.sessions.by_peer(KEYS[0]) == first

    def test_a_new_version_is_written(self) -> None:
        assert self.admit(WEB1, KEYS[0], "2.0").extensions == frozenset()
        assert "reasons" in self.admit(WEB1, KEYS[0], "3.0").extensions
        assert [registration.protocol_version for registration in self.store.saved] == ["2.0", "3.0"]

    def test_they_outlive_a_restart(self) -> None:
        before = [self.admit(WEB1, KEYS[0], "3.0"), self.admit(OTHER_WEB1, KEYS[1])]
        after = self.loaded()
        assert [after.of(WEB1), after.of(OTHER_WEB1)] == before
        assert [after.by_peer(KEYS[0]), after.by_peer(KEYS[1])] == before

    def test_another_secret_makes_other_session_keys(self) -> None:
        before = self.admit(WEB1, KEYS[0])
        after = self.loaded(b"another").of(WEB1)
        assert after is not None
        assert after.session_key != before.session_key

    def test_a_key_is_not_admitted_before_it_is_kept(self) -> None:
        self.store.hold()
        admitting = self.admitting(WEB1, KEYS[0])
        assert not admitting.called
        assert self.sessions.by_peer(KEYS[0]) is None
        self.store.release()
        assert self.sessions.by_peer(KEYS[0]) is self.successResultOf(admitting)

    def test_one_that_cannot_be_kept_is_not_and_the_earlier_one_stays(self) -> None:
        before = self.admit(WEB1, KEYS[0])
        self.store.break_down()
        failure_of(self.admitting(WEB1, KEYS[1]), StoreUnavailable)
        assert self.sessions.by_peer(KEYS[1]) is None
        assert self.sessions.by_peer(KEYS[0]) is self.sessions.of(WEB1) is before

    def test_of_two_at_once_the_last_one_counts_now_and_after_a_restart(self) -> None:
        self.store.hold()
        first, second = self.admitting(WEB1, KEYS[0]), self.admitting(WEB1, KEYS[1])
        self.store.release()
        self.successResultOf(first)
        session = self.successResultOf(second)
        assert self.sessions.of(WEB1) is self.sessions.by_peer(KEYS[1]) is session
        assert self.sessions.by_peer(KEYS[0]) is None
        assert self.loaded().of(WEB1) == session

    def test_one_that_is_revoked_is_over_and_the_next_has_another_key(self) -> None:
        before = self.admit(WEB1, KEYS[0])
        self.successResultOf(begin(self.sessions.revoke(WEB1)))
        assert self.sessions.of(WEB1) is self.sessions.by_peer(KEYS[0]) is None
        assert self.loaded().of(WEB1) is None
        assert self.admit(WEB1, KEYS[0]).session_key != before.session_key

    def test_another_nodes_key_is_refused_and_cuts_nobody_off(self) -> None:
        """A CURVE key is public: whoever has seen it could present it."""
        held = self.admit(WEB1, KEYS[0])
        own = self.admit(WEB2, KEYS[1])
        for other in (WEB2, OTHER_WEB1):
            failure_of(self.admitting(other, KEYS[0]), KeyTaken)
        assert self.sessions.by_peer(KEYS[0]) is self.sessions.of(WEB1) is held
        assert self.sessions.by_peer(KEYS[1]) is self.sessions.of(WEB2) is own
        assert self.sessions.of(OTHER_WEB1) is None
        assert len(self.store.saved) == 2

    def test_a_key_that_was_given_up_is_free(self) -> None:
        self.admit(WEB1, KEYS[0])
        self.admit(WEB1, KEYS[1])
        assert self.admit(WEB2, KEYS[0]).node == WEB2
        self.successResultOf(begin(self.sessions.revoke(WEB1)))
        assert self.admit(OTHER_WEB1, KEYS[1]).node == OTHER_WEB1

    def test_of_two_nodes_that_present_a_key_at_once_the_first_has_it(self) -> None:
        self.store.hold()
        first = self.admitting(WEB1, KEYS[0])
        failure_of(self.admitting(WEB2, KEYS[0]), KeyTaken)
        self.store.release()
        assert self.sessions.by_peer(KEYS[0]) is self.successResultOf(first)
        assert self.sessions.of(WEB2) is None

    def test_a_key_that_could_not_be_kept_is_free(self) -> None:
        self.store.break_down()
        failure_of(self.admitting(WEB1, KEYS[0]), StoreUnavailable)
        self.store.mend()
        assert self.admit(WEB2, KEYS[0]).node == WEB2

    def test_to_revoke_one_leaves_a_key_that_is_another_nodes(self) -> None:
        """Two nodes with one key, as a database of an earlier version can have them."""
        for node in (WEB1, WEB2):
            registration = Registration(
                organization=node.organization,
                node=node.name,
                curve_key=KEYS[0],
                session_salt=node.name.encode(),
                protocol_version="2.0",
            )
            self.successResultOf(begin(self.store.save_registration(registration)))
        sessions = self.loaded()
        self.successResultOf(begin(sessions.revoke(WEB1)))
        assert sessions.by_peer(KEYS[0]) is sessions.of(WEB2) is not None

    def test_one_that_is_revoked_while_it_is_admitted_is_over(self) -> None:
        self.store.hold()
        admitting = self.admitting(WEB1, KEYS[0])
        revoking = begin(self.sessions.revoke(WEB1))
        self.store.release()
        self.successResultOf(admitting)
        self.successResultOf(revoking)
        assert self.sessions.of(WEB1) is self.sessions.by_peer(KEYS[0]) is None
        assert self.loaded().of(WEB1) is None

    def test_secrets_are_not_shown(self) -> None:
        session = self.admit(WEB1, KEYS[0])
        for secret in (session.session_key, session.registration.session_salt):
            assert repr(secret) not in repr(session)
