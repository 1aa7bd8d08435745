"""What the ``node`` commands do: show which nodes are there."""

from collections.abc import Sequence

from pushy_cli import render
from pushy_cli.json_results import to_json
from pushy_cli.session import Session


async def status(session: Session, names: Sequence[str]) -> int:
    """Show those nodes, or all that the server has seen."""
    if names:
        states = [await session.server.node_state(name) for name in dict.fromkeys(names)]
    else:
        states = await session.server.node_states()
    if session.json:
        session.console.result(to_json(states))
    elif states:
        session.console.result(render.node_table(states, session.console.out_style))
    else:
        session.console.note("The server has not seen any node yet.")
    return 0
