"""``search/node``: the node objects that a query says, whole or in part."""

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, DeferredSemaphore

from pushy_protocol import api as shapes
from pushyd.background import shielded
from pushyd.node_object import NodeObject, at_path, fields, merged, named_fields
from pushyd.search import InvalidQuery, Query, compile_query
from pushyd.store.interface import Found, NodeObjectStore, StoredNode, TooMuch
from pushyd.web.app import Call
from pushyd.web.chef import Chef
from pushyd.web.errors import ApiError, Response, json_response
from pushyd.web.requests import argument

MAX_ROWS = 1000
"""The most rows of an answer."""

MAX_BYTES = 32_000_000
"""The most bytes of an answer's rows."""

_AT_A_TIME = 1  # a search reads every node object: of the store's few readers others need the rest
_WAITING = 20

_Paths = dict[str, tuple[str, ...]]


def add_routes(chef: Chef, *, nodes: NodeObjectStore) -> None:
    """Serve it, and ``search``, which says what can be searched."""
    turn = DeferredSemaphore(_AT_A_TIME)

    async def in_turn(find: Callable[[], Coroutine[Deferred[Any], Any, Found]]) -> Found:
        found: Found = await turn.run(lambda: Deferred.fromCoroutine(find()))
        return found

    async def list_indexes(call: Call) -> Response:
        return json_response({"node": chef.url(call, "search", "node")})

    async def search(call: Call, index: str) -> Response:
        return await answer(call, index, None)

    async def search_in_part(call: Call, index: str) -> Response:
        return await answer(call, index, shapes.decode(call.body, _Paths))

    async def answer(call: Call, index: str, paths: _Paths | None) -> Response:
        if index != "node":
            raise ApiError(404, f"I don't know how to search for {index} data objects.")
        start, rows = _count(call, "start", 0), min(_count(call, "rows", MAX_ROWS), MAX_ROWS)
        text = argument(call.request, "q")
        try:
            query = compile_query("*:*" if text is None else text)
        except InvalidQuery as error:
            raise ApiError(400, str(error)) from None
        base = chef.url(call, "nodes")

        def show(node: StoredNode) -> bytes:
            return node.data if paths is None else _part(node, paths, base)

        async def find() -> Found:
            return await nodes.find_node_objects(
                call.organization, _test(query), show, start=start, rows=rows, max_bytes=MAX_BYTES
            )

        if len(turn.waiting) >= _WAITING:
            raise ApiError(503, "Too many searches at a time. Try again.")
        try:
            # To its end, even where the caller goes away: what is running holds its turn.
            found: Found = await shielded(in_turn(find))
        except TooMuch:
            raise ApiError(
                400, f"rows: expected so few that they are at most {MAX_BYTES} bytes, or a part of each"
            ) from None
        return Response(body=b'{"total":%d,"start":%d,"rows":[%s]}' % (found.total, start, b",".join(found.rows)))

    chef.route("GET", "search", list_indexes)
    chef.route("GET", "search/<index>", search)
    chef.route("POST", "search/<index>", search_in_part)


def _count(call: Call, name: str, default: int) -> int:
    value = argument(call.request, name)
    if value is None:
        return default
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise ApiError(400, f"invalid '{name}' value: '{value}'")
    return int(value)


def _tree(node: StoredNode) -> dict[str, Any]:
    return merged(msgspec.json.decode(node.data, type=NodeObject))


def _test(query: Query) -> Callable[[StoredNode], bool]:
    """The query over stored nodes, by the cheapest way to the fields that it looks at."""
    if query.patterns:
        return lambda node: query.matches(fields(_tree(node), query.wants))
    if query.names <= {"name"}:
        return lambda node: query.matches({"name": [node.name]})
    return lambda node: query.matches(named_fields(_tree(node), query.names))


def _part(node: StoredNode, paths: _Paths, base: str) -> bytes:
    tree = _tree(node)
    data = {key: at_path(tree, path) for key, path in paths.items()}
    return shapes.encode({"url": f"{base}/{node.name}", "data": data})
