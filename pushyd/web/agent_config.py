"""``pushy/config/NODE``: what a node needs to speak with this server; section 4 of the protocol.

With its answer a node's CURVE key is admitted and its session begins.
"""

import re
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from attrs import frozen
from cryptography.hazmat.primitives.asymmetric import padding

from pushy_protocol import api as shapes
from pushy_protocol.keys import KeyFormatError, check_curve_key
from pushy_protocol.messages import PROTOCOL_VERSION, PROTOCOL_VERSION_3
from pushyd.domain.node import NodeRef
from pushyd.identity.authorize import Right
from pushyd.identity.interface import Caller
from pushyd.node_object import check_depth, with_facts
from pushyd.sessions import KeyTaken, Session, Sessions
from pushyd.store.interface import NodeObjectStore
from pushyd.web.app import Api, Call
from pushyd.web.errors import ApiError, Response, json_response
from pushyd.web.requests import argument

_NODE_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,255}")
_BAD_KEY = "Bad ccpk"

MAX_FACTS_BYTES = 65_536
"""The largest report of an agent, in bytes."""


@frozen(kw_only=True)
class Offer:
    """What is the same in every node's configuration. Times are in seconds."""

    server_name: str
    heartbeat: shapes.HeartbeatConfig
    public_key: str
    curve_public_key: str
    lifetime: int
    max_message_skew: int
    max_body_size: int
    incarnation_id: str
    names_must_match: bool


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST config/NODE``: what an agent says of its node."""

    facts: dict[str, Any]


def add_routes(
    api: Api,
    *,
    sessions: Sessions,
    nodes: NodeObjectStore | None,
    offer: Offer,
    admitted: Callable[[NodeRef, Caller], None],
) -> None:
    """Serve it by its name in 2.x and by that of 1.0; an agent of 3.0 can report facts of its node with it.

    :param nodes: where the facts go; None where nobody reports any
    :param admitted: called when a session has begun or was renewed, by whom it was
    """

    async def config(call: Call, node: str) -> Response:
        await _require_node(api, call.caller, node, offer)
        return await admit(call, node)

    async def report(kept_nodes: NodeObjectStore, call: Call, node: str) -> Response:
        await _require_node(api, call.caller, node, offer)
        if not (call.caller.is_client and call.caller.name == node):
            raise ApiError(403, "Client and node name must match")
        facts = _facts(call.body, node)
        answer = await admit(call, node)
        await kept_nodes.change_node_object(call.organization, node, lambda kept: with_facts(kept, node, facts))
        return answer

    async def admit(call: Call, node: str) -> Response:
        _check_name(node)
        curve_key = _curve_key(argument(call.request, "ccpk"))
        asked = argument(call.request, "version") or PROTOCOL_VERSION
        version = PROTOCOL_VERSION_3 if asked.startswith("3.") else PROTOCOL_VERSION
        try:
            session = await sessions.admit(NodeRef(call.organization, node), curve_key=curve_key, version=version)
        except KeyTaken:
            raise ApiError(401, _BAD_KEY) from None
        await _require_known(api, sessions, call.caller, session)
        admitted(session.node, call.caller)
        return json_response(_config(offer, session, call.caller))

    for name in ("config", "connect"):
        api.route("GET", f"pushy/{name}/<node>", config, right=None)
    if nodes is not None:
        api.route("POST", "pushy/config/<node>", partial(report, nodes), right=None)


async def _require_known(api: Api, sessions: Sessions, caller: Caller, session: Session) -> None:
    """Take a session back whose client was deleted, or got another key, while it was being made."""
    found = await api.identity.principals(caller.organization, caller.name)
    if not any(caller.key in principal.public_keys for principal in found):
        await sessions.revoke(session.node)
        raise ApiError(403, f"'{caller.name}' is not associated with organization '{caller.organization}'")


def _facts(body: bytes, node: str) -> dict[str, Any]:
    if len(body) > MAX_FACTS_BYTES:
        raise shapes.InvalidRequest(f"facts: expected at most {MAX_FACTS_BYTES} bytes")
    facts = shapes.decode(body, Report).facts
    if facts.get("name", node) != node:
        raise shapes.InvalidRequest(f"facts: expected the name '{node}', or none")
    check_depth("facts", facts)
    return facts


async def _require_node(api: Api, caller: Caller, node: str, offer: Offer) -> None:
    """A client may ask for its own name only, a user who may read for any."""
    if caller.is_client and (caller.name == node or not offer.names_must_match):
        return
    if not caller.is_user:
        raise ApiError(403, "Client and node name must match")
    await api.require(caller, Right.READ)


def _check_name(node: str) -> None:
    """It becomes a part of paths, logs and messages."""
    if not _NODE_NAME.fullmatch(node):
        raise shapes.InvalidRequest("node: expected a name of 1 to 255 letters, digits, _ . : and -")


def _curve_key(ccpk: str | None) -> str:
    if not ccpk:
        raise ApiError(400, "Missing ccpk")
    try:
        check_curve_key(ccpk)
    except KeyFormatError:
        raise ApiError(401, _BAD_KEY) from None
    return ccpk


def _config(offer: Offer, session: Session, caller: Caller) -> shapes.AgentConfig:
    encrypted = caller.key.encrypt(session.session_key, padding.PKCS1v15())
    return shapes.AgentConfig(
        host=offer.server_name,
        node=session.node.name,
        organization=session.node.organization,
        push_jobs=shapes.PushJobsConfig(heartbeat=offer.heartbeat),
        public_key=offer.public_key,
        curve_public_key=offer.curve_public_key,
        encoded_session_key=shapes.EncodedSessionKey(method="hmac_sha256", key=b64encode(encrypted).decode()),
        lifetime=offer.lifetime,
        max_message_skew=offer.max_message_skew,
        max_body_size=offer.max_body_size,
        incarnation_id=offer.incarnation_id,
        extensions=sorted(session.extensions) or None,
    )
