"""``/pushy/_status``: whether the server is there, for everybody."""

from collections.abc import Callable

from pushy_protocol.api import ServerStatus
from pushyd.web.app import Api
from pushyd.web.errors import Response, json_response


def add_routes(
    api: Api, *, incarnation_id: str, online_nodes: Callable[[], int], live_jobs: Callable[[], list[str]]
) -> None:
    """Serve the status of this process."""

    def status() -> Response:
        return json_response(
            ServerStatus(
                status="it's alive",
                incarnation_id=incarnation_id,
                node_fsm_count=online_nodes(),
                job_processes=live_jobs(),
            )
        )

    api.open_route("GET", "/pushy/_status", status)
