"""The settings of retention reach the store: a real server deletes what is too much."""

import json
from pathlib import Path

from demo.processes import wait_until
from tests.integration.conftest import NewFleet


def test_a_server_keeps_as_many_jobs_as_its_settings_say(new_fleet: NewFleet, tmp_path: Path) -> None:
    with new_fleet(tmp_path, {"job_retention_count": 1}) as fleet:
        server = fleet.start_server()
        body = json.dumps({"command": "true", "nodes": ["absent"]}).encode()
        made = [str(fleet.request("POST", "pushy/jobs", body)[1]["uri"]).rpartition("/")[2] for _ in range(3)]
        assert server.stop() == 0
        fleet.start_server()  # which looks at once
        wait_until(lambda: len(fleet.get("pushy/jobs")) == 1 or None, "the older jobs deleted")
        assert [job["id"] for job in fleet.get("pushy/jobs")] == made[-1:]
