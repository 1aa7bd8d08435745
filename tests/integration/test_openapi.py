"""A real pushyd is asked everything that its OpenAPI document allows, and more: it answers as the document says.

The feeds are left out, for they do not end; and so is what would lock the test out.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from requests.auth import AuthBase
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from demo.fleet import SERVER_NAME, Fleet
from pushy_protocol.http_signing import sign
from pushy_protocol.keys import parse_private_key
from pushyd.web.openapi import document
from tests.integration.conftest import NewFleet

CHECKED = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 5
"""For each operation, beside those that cover every parameter."""

schema = schemathesis.openapi.from_dict(document()).exclude(path_regex="job_status_feed|jobs_status_feed")


class Signed(AuthBase):
    """Signs a request as it is sent, as the admin of the server."""

    def __init__(self, fleet: Fleet) -> None:
        self._key = parse_private_key((fleet.state / "admin.pem").read_bytes())

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body = request.body or b""
        assert isinstance(body, str | bytes)
        version = request.headers.get("X-Ops-Server-API-Version", "0")
        signed = sign(
            private_key=self._key,
            user="admin",
            method=request.method or "",
            path=request.path_url.partition("?")[0],
            body=body.encode() if isinstance(body, str) else body,
            now=time.time(),
            server_api_version=version if isinstance(version, str) else version.decode(),
        )
        request.headers.update(signed)
        return request


@pytest.fixture(scope="module")
def fleet(new_fleet: NewFleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with new_fleet(tmp_path_factory.mktemp("fleet")) as fleet:
        fleet.start_server()
        yield fleet
        assert fleet.server
        assert "incident" not in fleet.server.said()


@pytest.fixture(scope="module")
def session(fleet: Fleet) -> Iterator[requests.Session]:
    """One connection for all requests: most of the time would go into TLS."""
    with requests.Session() as session:
        session.auth = Signed(fleet)
        yield session


@pytest.fixture(scope="module")
def job(fleet: Fleet) -> str:
    """The id of a job that is there."""
    body = json.dumps({"command": "true", "nodes": ["absent"], "user": "www", "env": {"A": "1"}, "file": "raw:x"})
    status, answer = fleet.request("POST", "pushy/jobs", body.encode())
    assert status == 201, answer
    return str(answer["uri"]).rpartition("/")[2]


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    deadline=None,
    derandomize=True,
    database=None,
)
def test_it_answers_as_the_document_says(
    case: schemathesis.Case[Any], fleet: Fleet, session: requests.Session, job: str
) -> None:
    if "organization" in case.path_parameters:
        case.path_parameters["organization"] = fleet.organization
    if "job_id" in case.path_parameters:
        case.path_parameters["job_id"] = job
    response = case.call(
        base_url=f"https://{SERVER_NAME}:{fleet.api_port}",
        session=session,
        verify=str(fleet.state / "ca.pem"),
        timeout=10,
    )
    case.validate_response(response, checks=CHECKED)
