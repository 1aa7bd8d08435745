"""What the ``node`` commands do: show which nodes there are, and how they are."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pushy_cli import node_text, render
from pushy_cli.chef import NoSuch
from pushy_cli.errors import NotOffered
from pushy_cli.folding import fold, natural_key
from pushy_cli.session import Session
from pushy_cli.targets import Targets, resolve
from pushy_protocol.api import NodeState

_FEW = 8
"""Up to so many nodes are asked for one by one."""


class NodeSource:
    """What knows of nodes, for :func:`pushy_cli.targets.resolve`: the push server, and Chef's search."""

    def __init__(self, session: Session) -> None:
        self.node_states = session.server.node_states
        self.search = session.chef.search


async def status(session: Session, targets: Targets) -> int:
    """Show those nodes, or all that the server has seen."""
    states = await _states(session, targets)
    states.sort(key=lambda state: natural_key(state.node_name))
    session.show(
        states,
        names=[state.node_name for state in states],
        text=lambda style: node_text.node_table(states, style),
        empty="The server has not seen any node yet.",
    )
    return 0


async def list_nodes(session: Session) -> int:
    """List the nodes' names: those of node objects, where the server has them, and those that it has seen."""
    names = {state.node_name for state in await session.server.node_states()}
    try:
        names.update(await session.chef.nodes())
    except NotOffered as error:
        session.console.note(f"Only nodes that were seen: {error.what}.")
    ordered = sorted(names, key=natural_key)
    session.show(
        ordered,
        names=ordered,
        text=lambda _style: "\n".join(map(render.plain, ordered)),
        empty="There are no nodes yet.",
    )
    return 0


async def show(session: Session, name: str) -> int:
    """Show one node: its node object and its presence; either may be all there is."""
    state = await session.server.node_state(name)
    try:
        node: Mapping[str, Any] = await session.chef.node(name)
    except (NoSuch, NotOffered):
        if name not in {seen.node_name for seen in await session.server.node_states()}:
            raise
        node = {"name": name}
    push = {"status": state.status, "availability": state.availability}
    session.show({**node, "push": push}, names=[name], text=lambda style: node_text.node_details(node, state, style))
    return 0


async def search(session: Session, query: str) -> int:
    """Show the node objects that a query finds."""
    found = sorted(await session.chef.search_nodes(query), key=lambda node: natural_key(str(node.get("name"))))
    session.show(
        found,
        names=[str(node.get("name")) for node in found],
        text=lambda style: node_text.search_table(found, style),
        empty="The search found no node.",
    )
    return 0


async def never_seen(session: Session, names: Collection[str]) -> list[str]:
    """Those of the names that the server has not seen yet, maybe because they are misspelled."""
    known = {state.node_name for state in await session.server.node_states()}
    return sorted(set(names) - known, key=natural_key)


def note_never_seen(session: Session, names: Sequence[str]) -> None:
    """Say which nodes the server has not seen, if there are any."""
    if names:
        session.console.note(
            f"The server has never seen {fold(names)}: a misspelled name, or an agent that has not connected yet."
        )


async def _states(session: Session, targets: Targets) -> list[NodeState]:
    if targets.is_empty:
        return await session.server.node_states()
    names = await resolve(targets, NodeSource(session))
    if len(names) <= _FEW:
        states = [await session.server.node_state(name) for name in names]
        if offline := [state.node_name for state in states if state.status == "offline"]:
            note_never_seen(session, await never_seen(session, offline))
        return states
    known = {state.node_name: state for state in await session.server.node_states()}
    note_never_seen(session, [name for name in names if name not in known])
    # As the server itself says of a node that it has never seen.
    return [known.get(name, NodeState(name, "offline", "unavailable")) for name in names]
