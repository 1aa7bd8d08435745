"""``pushy/jobs``: make them, list them, look at one, delete old ones."""

import attrs

from pushy_protocol import api as shapes
from pushy_protocol.timestamps import format_rfc1123
from pushyd.identity.authorize import Right
from pushyd.jobs import JobService, TooLate
from pushyd.retention import Retention
from pushyd.store.interface import NO_DETAIL, JobSummary, StoredJob, UnknownJob
from pushyd.web.app import Api, Call
from pushyd.web.errors import ApiError, Response, json_response
from pushyd.web.job_query import delete_before, list_query, next_page
from pushyd.web.requests import argument, base_url


def add_routes(api: Api, *, jobs: JobService, retention: Retention, host: str) -> None:
    """:param host: HOST:PORT of this server, for callers that name none"""

    async def list_jobs(call: Call) -> Response:
        query = list_query(call.request)
        try:
            # One more than is asked for, to know whether there are more.
            found = await jobs.jobs(call.organization, attrs.evolve(query, limit=query.limit + 1))
        except UnknownJob:
            raise ApiError(
                400, f"before: expected the id of a job, got '{query.before}', of which there is none"
            ) from None
        page, rest = found[: query.limit], found[query.limit :]
        headers = {}
        if rest:
            path = f"{base_url(call.request, host)}/organizations/{call.organization}/pushy/jobs"
            headers["Link"] = f'<{path}?{next_page(call.request, page[-1].id)}>; rel="next"'
        return json_response([_summary(job) for job in page], headers=headers)

    async def delete_jobs(call: Call) -> Response:
        return json_response({"deleted": await retention.delete(call.organization, delete_before(call.request))})

    async def start_job(call: Call) -> Response:
        request = shapes.decode_job_request(call.body)
        job_id = await jobs.create(call.organization, request, call.caller.name)
        uri = f"{base_url(call.request, host)}/organizations/{call.organization}/pushy/jobs/{job_id}"
        return json_response(shapes.JobCreated(uri=uri), status=201, headers={"Location": uri})

    async def show_job(call: Call, job_id: str) -> Response:
        job = await jobs.job(call.organization, job_id)
        if job is None:
            raise unknown_job(job_id)
        include_file = argument(call.request, "include_file") == "true"
        detail = argument(call.request, "detail") == "true"
        return json_response(job_shape(job, include_file=include_file, detail=detail))

    async def abort_job(call: Call, job_id: str) -> Response:
        try:
            job = await jobs.abort(call.organization, job_id)
        except TooLate as status:
            raise ApiError(409, f"Job '{job_id}' cannot be aborted: it is {status}.") from None
        if job is None:
            raise unknown_job(job_id)
        return json_response(job_shape(job, detail=True), status=202)

    api.route("POST", "pushy/jobs/<job_id>/abort", abort_job, right=Right.WRITE)
    api.route("GET", "pushy/jobs", list_jobs, right=Right.READ)
    api.route("POST", "pushy/jobs", start_job, right=Right.WRITE)
    api.route("DELETE", "pushy/jobs", delete_jobs, right=Right.ADMINISTER)
    api.route("GET", "pushy/jobs/<job_id>", show_job, right=Right.READ)


def unknown_job(job_id: str) -> ApiError:
    """The answer about a job that the organization does not have."""
    return ApiError(404, f"There is no job '{job_id}'.")


def _summary(job: JobSummary) -> shapes.Job:
    return shapes.Job(
        id=job.id,
        command=job.command,
        status=job.status.value,
        run_timeout=_number(job.run_timeout),
        user=job.user,
        dir=job.dir,
        env=None if job.env is None else dict(job.env),
        capture_output=job.capture,
        file_specified=job.file_specified,
        created_at=format_rfc1123(job.created_at),
        updated_at=format_rfc1123(job.updated_at),
    )


def job_shape(job: StoredJob, *, include_file: bool = False, detail: bool = False) -> shapes.Job:
    """A job as the API shows it: with `include_file` its file, with `detail` each node's part in it."""
    spec = job.spec
    by_status: dict[str, list[str]] = {}
    for node, status in job.nodes.items():
        by_status.setdefault(status.value, []).append(node)
    return shapes.Job(
        id=spec.id,
        command=spec.command,
        status=job.status.value,
        run_timeout=_number(spec.run_timeout),
        nodes={status: sorted(names) for status, names in sorted(by_status.items())},
        user=spec.user,
        dir=spec.dir,
        env=None if spec.env is None else dict(spec.env),
        capture_output=spec.capture,
        output="live" if detail and spec.live else None,
        output_limit=spec.output_limit if detail else None,
        file_specified=spec.file is not None and not include_file,
        file=spec.file if include_file else None,
        reasons=job.reasons if detail else None,
        node_details={node: _node_detail(job, node) for node in sorted(job.nodes)} if detail else None,
        created_at=format_rfc1123(spec.created_at),
        updated_at=format_rfc1123(job.updated_at),
    )


def _node_detail(job: StoredJob, node: str) -> shapes.NodeDetail:
    known = job.details.get(node, NO_DETAIL)
    started, finished = known.started_at, known.finished_at
    return shapes.NodeDetail(
        status=job.nodes[node].value,
        reason=known.reason,
        exit_status=known.exit_status,
        signal=known.signal,
        started_at=None if started is None else format_rfc1123(started),
        finished_at=None if finished is None else format_rfc1123(finished),
        duration=None if started is None or finished is None else round(max(0.0, finished - started), 3),
    )


def _number(seconds: float) -> float:
    """The number as it was given: 3600, not 3600.0."""
    return int(seconds) if seconds == int(seconds) else seconds
