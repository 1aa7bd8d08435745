"""``nodes``: Chef's node objects, kept for whoever searches them. Whether a node is there, `node_states` says."""

import msgspec

from pushyd.identity.authorize import Right
from pushyd.node_object import NodeObject, decode_node
from pushyd.store.interface import AlreadyExists, NodeObjectStore, NotFound, StoredNode
from pushyd.web.app import Call
from pushyd.web.chef import Chef, refusing
from pushyd.web.clients import require_own
from pushyd.web.errors import ApiError, Response, json_response


def add_routes(chef: Chef, *, nodes: NodeObjectStore) -> None:
    """Serve them. A client writes the object of its own name, who administers the organization every one."""

    async def list_nodes(call: Call) -> Response:
        names = await nodes.node_names(call.organization)
        return json_response({name: chef.url(call, "nodes", name) for name in names})

    async def create(call: Call) -> Response:
        # What it is about is in the body, so that is looked at first; nothing is told of what is there already.
        node = decode_node(call.body)
        await require_own(chef, call, node.name)
        with refusing(AlreadyExists, 409, "Node already exists"):
            await nodes.create_node_object(call.organization, _stored(node))
        uri = chef.url(call, "nodes", node.name)
        return json_response({"uri": uri}, status=201, headers={"Location": uri})

    async def show(call: Call, name: str) -> Response:
        return Response(body=await _load(nodes, call, name))

    async def change(call: Call, name: str) -> Response:
        await require_own(chef, call, name)
        node = decode_node(call.body)
        if node.name != name:
            raise ApiError(400, "Node name mismatch.")

        def replace(before: bytes | None) -> bytes:
            if before is None:
                raise NotFound(f"node '{name}'")
            return _stored(node).data

        with refusing(NotFound, 404, _unknown(name)):
            await nodes.change_node_object(call.organization, name, replace)
        return json_response(node)

    async def delete(call: Call, name: str) -> Response:
        data = await _load(nodes, call, name)
        with refusing(NotFound, 404, _unknown(name)):
            await nodes.delete_node_object(call.organization, name)
        return Response(body=data)

    chef.route("GET", "nodes", list_nodes)
    chef.route("POST", "nodes", create)
    chef.route("GET", "nodes/<name>", show)
    chef.route("PUT", "nodes/<name>", change)
    chef.route("DELETE", "nodes/<name>", delete, right=Right.ADMINISTER)


def _stored(node: NodeObject) -> StoredNode:
    return StoredNode(name=node.name, data=msgspec.json.encode(node))


async def _load(nodes: NodeObjectStore, call: Call, name: str) -> bytes:
    data = await nodes.node_object(call.organization, name)
    if data is None:
        raise ApiError(404, _unknown(name))
    return data


def _unknown(name: str) -> str:
    return f"node '{name}' not found"
