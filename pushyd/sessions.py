"""The nodes that may speak on the command channel: which CURVE key is whose, and the session key it signs with.

A session begins when a node fetches its configuration and is kept in the store, so that nodes reconnect to a server
that was restarted without asking for anything. A session key is not stored: it is derived from the server's secret
and a salt of the node's.
"""

import hmac
import secrets
from collections.abc import Collection

from attrs import field, frozen

from pushy_protocol.envelope import SessionSigner
from pushy_protocol.messages import PROTOCOL_VERSION_3
from pushyd.domain.node import NodeRef
from pushyd.store.interface import Registration, RegistrationStore

EXTENSIONS = ("alive", "facts", "output", "reasons", "results", "resume")
"""What of protocol 3.0 is offered to an agent that asks for it."""

_SALT_BYTES = 16


class KeyTaken(Exception):
    """A CURVE key is another node's."""


@frozen(kw_only=True)
class Session:
    """What is agreed with one node."""

    node: NodeRef
    session_key: bytes = field(repr=False)
    signer: SessionSigner = field(repr=False, eq=False)
    extensions: frozenset[str]
    registration: Registration


class Sessions:
    """Every session, by node and by CURVE key."""

    def __init__(self, *, secret: bytes, store: RegistrationStore, extensions: Collection[str] = EXTENSIONS) -> None:
        """:param extensions: what of protocol 3.0 is offered"""
        self._offered = frozenset(extensions)
        self._secret = secret
        self._store = store
        self._by_node: dict[NodeRef, Session] = {}
        self._by_peer: dict[str, Session] = {}
        self._being_kept: dict[str, NodeRef] = {}  # CURVE keys, and who will have them

    async def load(self) -> None:
        """Take up the sessions of earlier runs."""
        for registration in await self._store.registrations():
            self._add(registration)

    async def admit(self, node: NodeRef, *, curve_key: str, version: str) -> Session:
        """Let a CURVE key (Z85) in, for this node alone and instead of the one that it had; kept when this returns.

        The caller has been authenticated, and may act for the node.

        :raise KeyTaken: another node has the key; it is public, so who presents it need not be who made it
        :raise StoreUnavailable: it could not be kept, and what was is unchanged
        """
        if self._holder(curve_key) not in (None, node):
            raise KeyTaken(curve_key)
        before = self._by_node.get(node)
        registration = Registration(
            organization=node.organization,
            node=node.name,
            curve_key=curve_key,
            session_salt=before.registration.session_salt if before else secrets.token_bytes(_SALT_BYTES),
            protocol_version=version,
        )
        if before is None or before.registration != registration:
            self._being_kept[curve_key] = node
            try:
                await self._store.save_registration(registration)
            finally:
                self._being_kept.pop(curve_key, None)
        return self._add(registration)

    async def revoke(self, node: NodeRef) -> None:
        """End a node's session, now: what it says is dropped from here on, and a later session has another key."""
        self._remove(node)
        await self._store.delete_registration(node.organization, node.name)
        # One that was being admitted meanwhile is no longer kept either.
        self._remove(node)

    async def reconcile(self) -> None:
        """End the sessions whose registration is no longer kept: another process (`pushyd-ctl`) deleted the client."""
        before = dict(self._by_node)
        kept = {NodeRef(one.organization, one.node): one for one in await self._store.registrations()}
        for node, session in before.items():
            # One that began meanwhile was kept after the look, and is not in question.
            if self._by_node.get(node) is session and kept.get(node) != session.registration:
                self._remove(node)

    def by_peer(self, curve_key: str) -> Session | None:
        """The session of what connected with this key."""
        return self._by_peer.get(curve_key)

    def of(self, node: NodeRef) -> Session | None:
        """The session of a node."""
        return self._by_node.get(node)

    def all(self) -> list[NodeRef]:
        """The nodes of all organizations that ever asked for their configuration."""
        return list(self._by_node)

    def nodes(self, organization: str) -> list[str]:
        """The nodes of an organization that ever asked for their configuration."""
        return [node.name for node in self._by_node if node.organization == organization]

    def _add(self, registration: Registration) -> Session:
        node = NodeRef(registration.organization, registration.node)
        session_key = self._session_key(node, registration.session_salt)
        session = Session(
            node=node,
            session_key=session_key,
            signer=SessionSigner(session_key),
            extensions=self._offered if registration.protocol_version == PROTOCOL_VERSION_3 else frozenset(),
            registration=registration,
        )
        self._remove(node)
        self._by_node[node] = self._by_peer[registration.curve_key] = session
        return session

    def _remove(self, node: NodeRef) -> None:
        session = self._by_node.pop(node, None)
        if session and self._by_peer.get(session.registration.curve_key) is session:
            del self._by_peer[session.registration.curve_key]

    def _holder(self, curve_key: str) -> NodeRef | None:
        session = self._by_peer.get(curve_key)
        return session.node if session else self._being_kept.get(curve_key)

    def _session_key(self, node: NodeRef, salt: bytes) -> bytes:
        text = b"\0".join((salt, node.organization.encode(), node.name.encode()))
        return hmac.digest(self._secret, text, "sha256")
