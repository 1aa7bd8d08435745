"""Nodes as text for people: their presence and their node objects, in tables and one by one."""

from collections.abc import Iterable, Mapping
from typing import Any

from pushy_cli.folding import natural_key
from pushy_cli.render import COLOURS, Style, fact_lines, paint, plain, table
from pushy_protocol.api import NodeState


def node_table(states: Iterable[NodeState], style: Style) -> str:
    """Nodes in a table, by name."""
    ordered = sorted(states, key=lambda state: natural_key(state.node_name))
    rows = [(plain(state.node_name), state.status, state.availability) for state in ordered]
    return table(("NODE", "STATUS", "AVAILABILITY"), rows, style)


def node_details(node: Mapping[str, Any], state: NodeState, style: Style) -> str:
    """One node object, as far as people ask for it, and the node's presence."""
    run_list = node.get("run_list")
    facts = {
        "Node": plain(str(node.get("name", state.node_name))),
        "Status": paint(state.status, COLOURS[state.status], style),
        "Availability": paint(state.availability, COLOURS[state.availability], style),
        "Environment": plain(str(node.get("chef_environment", ""))),
        "Run list": plain(", ".join(map(str, run_list))) if isinstance(run_list, list) else "",
        "Platform": _platform(node),
        "FQDN": _attribute(node, "fqdn"),
        "IP address": _attribute(node, "ipaddress"),
    }
    return fact_lines(facts, style)


def search_table(nodes: Iterable[Mapping[str, Any]], style: Style) -> str:
    """Node objects in a table, in the order given."""
    rows = [
        (
            *(plain(str(node.get("name"))), plain(str(node.get("chef_environment", ""))), _platform(node)),
            plain(", ".join(map(str, node.get("run_list") or ()))),
        )
        for node in nodes
    ]
    return table(("NODE", "ENVIRONMENT", "PLATFORM", "RUN LIST"), rows, style)


def _platform(node: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (_attribute(node, "platform"), _attribute(node, "platform_version"))))


def _attribute(node: Mapping[str, Any], name: str) -> str:
    automatic = node.get("automatic")
    value = automatic.get(name) if isinstance(automatic, dict) else None
    return plain(value) if isinstance(value, str) else ""
