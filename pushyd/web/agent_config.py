"""``pushy/config/NODE``: what a node needs to speak with this server; section 4 of the protocol.

With its answer a node's CURVE key is admitted and its session begins.
"""

from base64 import b64encode

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric import padding

from pushy_protocol import api as shapes
from pushy_protocol.keys import KeyFormatError, check_curve_key
from pushy_protocol.messages import PROTOCOL_VERSION, PROTOCOL_VERSION_3
from pushyd.domain.node import NodeRef
from pushyd.identity.authorize import Right
from pushyd.identity.interface import Caller
from pushyd.sessions import Session, Sessions
from pushyd.web.app import Api, Call
from pushyd.web.errors import ApiError, Response, json_response
from pushyd.web.requests import argument


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


def add_routes(api: Api, *, sessions: Sessions, offer: Offer) -> None:
    """Serve it by its name in 2.x and by that of 1.0."""

    async def config(call: Call, node: str) -> Response:
        await _require_node(api, call.caller, node, offer)
        curve_key = _curve_key(argument(call.request, "ccpk"))
        asked = argument(call.request, "version") or PROTOCOL_VERSION
        version = PROTOCOL_VERSION_3 if asked.startswith("3.") else PROTOCOL_VERSION
        session = await sessions.admit(NodeRef(call.organization, node), curve_key=curve_key, version=version)
        return json_response(_config(offer, session, call.caller))

    for name in ("config", "connect"):
        api.route("GET", f"pushy/{name}/<node>", config, right=None)


async def _require_node(api: Api, caller: Caller, node: str, offer: Offer) -> None:
    """A client may ask for its own name only, a user who may read for any."""
    if caller.is_client and (caller.name == node or not offer.names_must_match):
        return
    if not caller.is_user:
        raise ApiError(403, "Client and node name must match")
    await api.require(caller, Right.READ)


def _curve_key(ccpk: str | None) -> str:
    if not ccpk:
        raise ApiError(400, "Missing ccpk")
    try:
        check_curve_key(ccpk)
    except KeyFormatError:
        raise ApiError(401, "Bad ccpk") from None
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
