"""Jobs over the API: how they are asked for, what is refused, and how they are shown."""

from typing import Any

from pushy_protocol import messages
from tests.pushyd.web.serving import BELOW, NOW, ORG, TODAY, ApiTestCase

JOBS = f"{BELOW}/jobs"
JOB_ID = r"[0-9a-f]{32}"


class StartTests(ApiTestCase):
    async def test_the_answer_says_where_the_job_is(self) -> None:
        answer = await self.post(JOBS, {"command": "true", "nodes": ["web1"]})
        self.assertEqual(answer.status, 201)
        self.assertEqual(list(answer.json), ["uri"])
        uri = answer.json["uri"]
        self.assertEqual(answer.headers["location"], uri)
        self.assertRegex(uri, rf"^http://{self.host}/organizations/{ORG}/pushy/jobs/{JOB_ID}$")
        self.assertEqual((await self.get(uri.partition(self.host)[2])).status, 200)

    async def test_the_uri_is_made_of_the_host_that_the_caller_named(self) -> None:
        for said, headers, expected in (
            ("push.example", {}, "http://push.example"),
            ("push.example:10003", {}, "http://push.example:10003"),
            ("push.example:80", {}, "http://push.example"),
            ("push.example:443", {"X-Forwarded-Proto": "https"}, "https://push.example"),
            ("push.example:8443", {"X-Forwarded-Proto": "https"}, "https://push.example:8443"),
            ("push.example", {"X-Forwarded-Proto": "http"}, "http://push.example"),
            ("push.example", {"X-Forwarded-Proto": "gopher"}, "http://push.example"),
            ("[::1]:443", {"X-Forwarded-Proto": "https"}, "https://[::1]"),
            ("[::1]:10003", {}, "http://[::1]:10003"),
        ):
            body = b'{"command":"true","nodes":["web1"]}'
            signed = self.signed("POST", JOBS, body=body)
            answer = await self.raw(b"POST", JOBS.encode(), {**signed, **headers, "Host": said}, body)
            self.assertEqual(answer.json["uri"].partition("/organizations/")[0], expected, said)

    async def test_without_a_host_it_is_the_servers_own(self) -> None:
        body = b'{"command":"true","nodes":["web1"]}'
        connection = await self.connect()
        lines = [f"{name}: {value}" for name, value in self.signed("POST", JOBS, body=body).items()]
        request = "\r\n".join([f"POST {JOBS} HTTP/1.0", *lines, f"Content-Length: {len(body)}", "", ""])
        connection.write(request.encode(), body)
        uri = (await connection.answer()).json["uri"]
        self.assertTrue(uri.startswith(f"http://push.example:10003/organizations/{ORG}/pushy/jobs/"), uri)

    async def test_it_can_be_sent_as_any_content_type(self) -> None:
        for content_type in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
            answer = await self.post(
                JOBS, {"command": "a=b&c", "nodes": ["web1"]}, headers={"Content-Type": content_type}
            )
            self.assertEqual(answer.status, 201, content_type)

    async def test_a_form_is_no_job(self) -> None:
        content_type = "multipart/form-data; boundary=x"
        for body in (b"rubbish", b"--x\r\n", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n'):
            answer = await self.post(JOBS, body, headers={"Content-Type": content_type})
            self.assertEqual(answer.status, 400)
            self.assertIn("invalid JSON", answer.refusal[1])

    async def test_what_is_refused_names_the_key_and_creates_nothing(self) -> None:
        good: dict[str, Any] = {"command": "true", "nodes": ["web1"]}
        wrong: list[tuple[dict[str, Any], str]] = [
            ({"nodes": ["web1"]}, "command"),
            ({"command": "true"}, "nodes"),
            ({**good, "command": 1}, "command"),
            ({**good, "command": ""}, "command"),
            ({**good, "nodes": []}, "nodes"),
            ({**good, "nodes": "web1"}, "nodes"),
            ({**good, "nodes": [1]}, "nodes"),
            ({**good, "run_timeout": "1"}, "run_timeout"),
            ({**good, "run_timeout": 0}, "run_timeout"),
            ({**good, "quorum": "1"}, "quorum"),
            ({**good, "quorum": -1}, "quorum"),
            ({**good, "user": 1}, "user"),
            ({**good, "dir": ["/"]}, "dir"),
            ({**good, "env": "A=1"}, "env"),
            ({**good, "env": {"A": 1}}, "env"),
            ({**good, "file": "x"}, "file"),
            ({**good, "file": "base64:*"}, "file"),
            ({**good, "file": "raw:" + "x" * 100_001}, "file"),
            ({**good, "capture_output": "true"}, "capture_output"),
            ({**good, "command": "x" * 65536}, "command"),
        ]
        for value, key in wrong:
            answer = await self.post(JOBS, value)
            self.assertEqual(answer.status, 400, key)
            self.assertIn(key, answer.refusal[1], value)
            self.assertIn("expected", answer.refusal[1], value)
        self.assertEqual((await self.get(JOBS)).json, [])
        self.assertEqual(self.live.ids(), [])

    async def test_an_unknown_key_is_refused(self) -> None:
        answer = await self.post(JOBS, {"command": "true", "nodes": ["web1"], "nodez": 1})
        self.assertEqual((answer.status, answer.error[0]), (400, "invalid key supplied"))

    async def test_an_environment_that_says_something_twice_is_refused(self) -> None:
        answer = await self.post(JOBS, b'{"command":"true","nodes":["web1"],"env":{"A":"1","A":"2"}}')
        self.assertEqual(answer.status, 400)
        self.assertTrue(answer.refusal[1].startswith("env: "))

    async def test_what_is_no_json_is_refused(self) -> None:
        for body in (
            b"",
            b"{",
            b"[" * 100_000,
            b"null",
            b"[]",
            b'"x"',
            b"\xff\xfe",
            b'{"command":"\\ud800","nodes":["a"]}',
        ):
            self.assertEqual((await self.post(JOBS, body)).status, 400, body[:20])


class ShowTests(ApiTestCase):
    async def test_a_job_that_asks_for_nothing_special_has_no_keys_for_it(self) -> None:
        await self.bring_up("web1", "web2")
        job_id = await self.start_job("web2", "web1", "web2")
        answer = await self.get(f"{JOBS}/{job_id}")
        self.assertEqual(answer.status, 200)
        self.assertEqual(
            answer.json,
            {
                "id": job_id,
                "command": "true",
                "status": "voting",
                "run_timeout": 3600,
                "nodes": {"new": ["web1", "web2"]},
                "created_at": TODAY,
                "updated_at": TODAY,
            },
        )

    async def test_it_has_what_was_asked_for(self) -> None:
        await self.bring_up("web1")
        asked = {"run_timeout": 2.5, "user": "joe", "dir": "/tmp", "env": {"A": "1", "B": "é"}, "capture_output": True}
        job_id = await self.start_job("web1", file="raw:content", quorum=1, **asked)
        shown = (await self.get(f"{JOBS}/{job_id}")).json
        self.assertEqual({key: shown[key] for key in asked}, asked)
        self.assertIs(shown["file_specified"], True)
        self.assertNotIn("file", shown)
        whole = (await self.get(f"{JOBS}/{job_id}", query="?include_file=true")).json
        self.assertEqual(whole["file"], "raw:content")
        self.assertNotIn("file_specified", whole)
        self.assertIs((await self.get(f"{JOBS}/{job_id}", query="?include_file=false")).json["file_specified"], True)

    async def test_what_is_false_is_not_shown(self) -> None:
        job_id = await self.start_job("web1", capture_output=False, user=None, env=None)
        shown = (await self.get(f"{JOBS}/{job_id}")).json
        self.assertFalse({"capture_output", "user", "env", "dir", "file", "file_specified", "reasons"} & shown.keys())

    async def test_it_is_the_same_while_it_lives_and_when_it_has_ended(self) -> None:
        await self.bring_up("web1", "web2", "web3")
        job_id = await self.start_job("web1", "web2", "web3", "away", quorum=2, capture_output=True)
        self.assertEqual(
            (await self.get(f"{JOBS}/{job_id}")).json["nodes"],
            {"new": ["web1", "web2", "web3"], "unavailable": ["away"]},
        )
        self.now = NOW + 61
        self.node_says("web1", messages.AckCommit, job_id)
        self.node_says("web2", messages.AckCommit, job_id)
        self.node_says("web3", messages.NackCommit, job_id)
        running = (await self.get(f"{JOBS}/{job_id}")).json
        self.assertEqual(running["status"], "running")
        self.assertEqual(running["nodes"], {"nacked": ["web3"], "ready": ["web1", "web2"], "unavailable": ["away"]})
        self.assertEqual(running["updated_at"], "Sat, 31 Jan 2026 12:01:01 GMT")
        self.assertEqual(running["created_at"], TODAY)
        for name in ("web1", "web2"):
            self.node_says(name, messages.AckRun, job_id)
        self.now = NOW + 62
        self.node_says("web1", messages.Succeeded, job_id)
        self.node_says("web2", messages.Failed, job_id, exit_status=3)
        await self.store.recorded()
        ended = (await self.get(f"{JOBS}/{job_id}")).json
        self.assertEqual(
            ended,
            {
                **running,
                "status": "complete",
                "nodes": {"failed": ["web2"], "nacked": ["web3"], "succeeded": ["web1"], "unavailable": ["away"]},
                "updated_at": "Sat, 31 Jan 2026 12:01:02 GMT",
            },
        )
        self.assertIsNone(self.live.snapshot(job_id), "so it came from the store")

    async def test_reasons_are_told_to_who_asks(self) -> None:
        await self.bring_up("web1")
        job_id = await self.start_job("web1", "away", quorum=1)
        self.node_says("web1", messages.NackCommit, job_id, reason="not_whitelisted")
        self.assertNotIn("reasons", (await self.get(f"{JOBS}/{job_id}")).json)
        self.assertNotIn("reasons", (await self.get(f"{JOBS}/{job_id}", query="?detail=false")).json)
        detailed = (await self.get(f"{JOBS}/{job_id}", query="?detail=true")).json
        self.assertEqual(detailed["reasons"], {"web1": "not_whitelisted", "away": "down"})

    async def test_how_each_node_ended_is_told_to_who_asks(self) -> None:
        await self.bring_up("web1", "web2")
        job_id = await self.start_job("web1", "web2", "away", quorum=2)
        for kind in (messages.AckCommit, messages.AckRun):
            self.node_says("web1", kind, job_id)
            self.node_says("web2", kind, job_id)
        self.now = NOW + 2.25
        self.node_says("web1", messages.Failed, job_id, exit_status=3)
        self.assertNotIn("node_details", (await self.get(f"{JOBS}/{job_id}")).json)
        began = {"started_at": TODAY}
        expected: dict[str, dict[str, Any]] = {
            "away": {"status": "unavailable", "reason": "down", "finished_at": TODAY},
            "web1": {"status": "failed", "reason": "exit status 3", "exit_status": 3, **began},
            "web2": {"status": "running", **began},
        }
        expected["web1"] |= {"finished_at": "Sat, 31 Jan 2026 12:00:02 GMT", "duration": 2.25}
        shown = (await self.get(f"{JOBS}/{job_id}", query="?detail=true")).json["node_details"]
        self.assertEqual(shown, expected)

    async def test_a_job_that_is_not_there(self) -> None:
        job_id = await self.start_job("web1")
        for unknown in ("0" * 32, job_id.upper(), "nonsense", "%00", "%F0%9F%90%9F"):
            answer = await self.get(f"{JOBS}/{unknown}")
            self.assertEqual(answer.status, 404, unknown)
            self.assertIn("There is no job", answer.refusal[1])

    async def test_the_jobs_of_other_organizations_are_not_there(self) -> None:
        job_id = await self.start_job("web1", "web2")
        await self.bring_up("web1")
        live_id = await self.start_job("web1")
        for known in (job_id, live_id):
            path = f"/organizations/other/pushy/jobs/{known}"
            self.assertEqual((await self.get(path, by="sam")).status, 404)
            self.assertEqual((await self.get(f"{path}/output/web1/stdout", by="sam")).status, 404)
        self.assertEqual((await self.get("/organizations/other/pushy/jobs", by="sam")).json, [])


class ListTests(ApiTestCase):
    async def test_the_newest_is_first_and_none_has_nodes(self) -> None:
        await self.bring_up("web1")
        ids = []
        for age in range(3):
            self.now = NOW + age
            ids.append(await self.start_job("web1", file="raw:", capture_output=True, env={"A": "1"}))
        listed = (await self.get(JOBS)).json
        self.assertEqual([job["id"] for job in listed], ids[::-1])
        self.assertEqual(
            listed[0],
            {
                "id": ids[2],
                "command": "true",
                "status": "voting",
                "run_timeout": 3600,
                "env": {"A": "1"},
                "capture_output": True,
                "file_specified": True,
                "created_at": "Sat, 31 Jan 2026 12:00:02 GMT",
                "updated_at": "Sat, 31 Jan 2026 12:00:02 GMT",
            },
        )

    async def test_there_is_none(self) -> None:
        answer = await self.get(JOBS)
        self.assertEqual((answer.status, answer.json), (200, []))


class OutputTests(ApiTestCase):
    async def ended(self, **asked: Any) -> str:
        """A job that web1 has done and web2 has not; its id."""
        await self.bring_up("web1", "web2")
        job_id = await self.start_job("web1", "web2", **asked)
        for name in ("web1", "web2"):
            self.node_says(name, messages.AckCommit, job_id)
        for name in ("web1", "web2"):
            self.node_says(name, messages.AckRun, job_id)
        self.node_says("web1", messages.Succeeded, job_id, stdout="Zeile é\n\0", stderr="")
        return job_id

    async def test_it_is_given_byte_for_byte(self) -> None:
        job_id = await self.ended(capture_output=True)
        for channel, written in (("stdout", "Zeile é\n\0".encode()), ("stderr", b"")):
            answer = await self.get(
                f"{JOBS}/{job_id}/output/web1/{channel}", headers={"Accept": "application/octet-stream"}
            )
            self.assertEqual((answer.status, answer.body), (200, written))
            self.assertEqual(answer.headers["content-type"], "application/octet-stream")

    async def test_there_is_none(self) -> None:
        captured, silent = await self.ended(capture_output=True), await self.ended()
        for path in (
            f"{captured}/output/web2/stdout",
            f"{captured}/output/web3/stdout",
            f"{silent}/output/web1/stdout",
            f"{'0' * 32}/output/web1/stdout",
            f"{captured}/output/web1/stdin",
            f"{captured}/output/web1",
            f"{'0' * 32}/output",
        ):
            answer = await self.get(f"{JOBS}/{path}")
            self.assertEqual(answer.status, 404, path)
            self.assertEqual(len(answer.error), 1)


class NodeStateTests(ApiTestCase):
    async def test_a_node_is_offline_then_online_then_available(self) -> None:
        self.assertEqual(await self.state("web1"), ("offline", "unavailable"))
        await self.bring_up("web1")
        self.assertEqual(await self.state("web1"), ("online", "available"))
        self.node_says("web1", messages.NodeHeartbeat, "f" * 32)
        self.assertEqual(await self.state("web1"), ("online", "unavailable"))

    async def test_the_list_has_every_node_that_ever_came(self) -> None:
        self.assertEqual((await self.get(f"{BELOW}/node_states")).json, [])
        await self.bring_up("web2", "web1")
        listed = (await self.get(f"{BELOW}/node_states")).json
        self.assertEqual(
            listed,
            [{"node_name": name, "status": "online", "availability": "available"} for name in ("web1", "web2")],
        )

    async def test_a_name_in_the_path_may_be_quoted(self) -> None:
        answer = await self.get(f"{BELOW}/node_states/n%C3%B8de%20one")
        self.assertEqual(answer.json["node_name"], "nøde one")

    async def test_the_nodes_of_other_organizations_are_not_seen(self) -> None:
        await self.bring_up("web1")
        self.assertEqual((await self.get("/organizations/other/pushy/node_states", by="sam")).json, [])
        answer = await self.get("/organizations/other/pushy/node_states/web1", by="sam")
        self.assertEqual(answer.json["status"], "offline")

    async def state(self, name: str) -> tuple[str, str]:
        answer = await self.get(f"{BELOW}/node_states/{name}")
        self.assertEqual((answer.status, list(answer.json)), (200, ["node_name", "status", "availability"]))
        self.assertEqual(answer.json["node_name"], name)
        return answer.json["status"], answer.json["availability"]
