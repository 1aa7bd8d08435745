"""``pushy/jobs/ID/output``: what the commands of a job wrote, byte for byte."""

from pushyd.identity.authorize import Right
from pushyd.jobs import JobService
from pushyd.web.app import Api, Call
from pushyd.web.errors import ApiError, Response
from pushyd.web.jobs import unknown_job

_BYTES = "application/octet-stream"


def add_routes(api: Api, *, jobs: JobService) -> None:
    """Serve both channels."""

    async def output(call: Call, job_id: str, node: str, channel: str) -> Response:
        written = await jobs.output(call.organization, job_id, node, channel)
        if written is not None:
            return Response(body=written, content_type=_BYTES)
        if await jobs.job(call.organization, job_id) is None:
            raise unknown_job(job_id)
        raise ApiError(404, f"No {channel} of node '{node}' was captured in job '{job_id}'.")

    path = "pushy/jobs/<job_id>/output/<node>/<any(stdout, stderr):channel>"
    api.route("GET", path, output, right=Right.READ, content_type=_BYTES)
