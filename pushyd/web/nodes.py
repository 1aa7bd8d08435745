"""``pushy/node_states``: which nodes are there."""

from pushy_protocol.api import NodeState
from pushyd.domain.node import NodeRef, Presence
from pushyd.identity.authorize import Right
from pushyd.nodes import NodeService
from pushyd.web.app import Api, Call
from pushyd.web.errors import Response, json_response


def add_routes(api: Api, *, nodes: NodeService) -> None:
    """Serve the states of all nodes and of one."""

    async def list_states(call: Call) -> Response:
        return json_response([_state(name, presence) for name, presence in nodes.presences(call.organization).items()])

    async def show_state(call: Call, node: str) -> Response:
        return json_response(_state(node, nodes.presence(NodeRef(call.organization, node))))

    api.route("GET", "pushy/node_states", list_states, right=Right.READ)
    api.route("GET", "pushy/node_states/<node>", show_state, right=Right.READ)


def _state(name: str, presence: Presence) -> NodeState:
    return NodeState(
        node_name=name,
        status="offline" if presence is Presence.OFFLINE else "online",
        availability="available" if presence is Presence.IDLE else "unavailable",
    )
