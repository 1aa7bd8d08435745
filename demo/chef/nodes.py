"""The double's node objects, and a search over them that knows ``field:pattern`` and ``*:*``."""

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from demo.chef.answers import Answer, refusal
from demo.chef.data import ADMINS, CLIENTS, USERS
from demo.chef.identities import Call

KINDS = ("nodes", "search")


def answer(call: Call, arguments: Mapping[bytes, list[bytes]], body: bytes) -> Answer:
    """The answer to a request about nodes."""
    match call.method, call.parts:
        case "GET", ("nodes",):
            call.require(ADMINS, USERS, CLIENTS)
            return Answer.of({name: f"{call.base}/nodes/{name}" for name in call.organization.nodes})
        case "GET", ("nodes", name):
            call.require(ADMINS, USERS, CLIENTS)
            if name not in call.organization.nodes:
                raise refusal(404, f"node '{name}' not found")
            return Answer.of(call.organization.nodes[name])
        case "GET", ("search",):
            return Answer.of({"node": f"{call.base}/search/node"})
        case (("GET" | "POST"), ("search", "node")):
            call.require(ADMINS, USERS, CLIENTS)
            return _search(call, arguments, body)
        case (("GET" | "POST"), ("search", index)):
            raise refusal(404, f"I don't know how to search for {index} data objects.")
    raise refusal(404, f"There is nothing at {'/'.join(call.parts)} for {call.method}")


def _search(call: Call, arguments: Mapping[bytes, list[bytes]], body: bytes) -> Answer:
    def argument(name: bytes, default: str) -> str:
        return arguments.get(name, [default.encode()])[0].decode()

    name, colon, pattern = argument(b"q", "*:*").partition(":")
    if not colon:
        raise refusal(400, f"invalid search query: '{name}'")
    found = [
        node
        for _, node in sorted(call.organization.nodes.items())
        if name == "*" or any(fnmatchcase(value, pattern) for value in _values(node, name))
    ]
    start, rows = int(argument(b"start", "0")), int(argument(b"rows", "1000"))
    shown: list[Any] = found[start : start + rows]
    if call.method == "POST":
        paths: dict[str, list[str]] = json.loads(body)
        shown = [
            {
                "url": f"{call.base}/nodes/{node['name']}",
                "data": {key: _at(node, path) for key, path in paths.items()},
            }
            for node in shown
        ]
    return Answer.of({"total": len(found), "start": start, "rows": shown})


def _values(node: Mapping[str, Any], name: str) -> list[str]:
    value = node.get(name, node.get("automatic", {}).get(name, []))
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


def _at(node: Mapping[str, Any], path: list[str]) -> Any:
    value: Any = {**node, **node.get("automatic", {})}
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value
