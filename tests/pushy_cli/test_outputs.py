"""Output as it comes and as it is asked for, from the command line to the texts, against the double of the server."""

import base64
import json
from collections import deque
from typing import Any

from tests.pushy_cli.push_server import JOB_ID, Fault, Feed, Follow
from tests.pushy_cli.test_program import OLD_ID, STARTED, WEB, ProgramTestCase, untimed

DONE = {"status": "complete", "nodes": {"succeeded": WEB}}
SUMMARY = f"Job {JOB_ID} is complete: 3 of 3 nodes succeeded, in 0:00.\n  succeeded  3  web[1-3]\n"


def piece(node: str, offset: int, text: bytes, channel: str = "stdout") -> tuple[str, dict[str, Any]]:
    data = {"node": node, "channel": channel, "offset": offset, "data": base64.b64encode(text).decode()}
    return "output", data


LIVE = (
    ("start", {"node_count": 3}),
    piece("web1", 0, b"one\ntw"),
    piece("web2", 0, b"eins\n"),
    piece("web1", 6, b"o\n", "stderr"),
    piece("web1", 6, b"o\npart"),
    ("run_complete", {"node": "web1", "status": "success"}),
    piece("web2", 5, b"zwei"),
    ("job_complete", {"status": "complete"}),
)


class LiveTests(ProgramTestCase):
    def keep(self, *events: tuple[str, dict[str, Any]]) -> None:
        self.server.next_job = [DONE]
        self.server.feeds[JOB_ID] = deque([Feed(events=events)])
        self.server.outputs = {("web1", "stdout"): b"one\ntwo\npart", ("web2", "stdout"): b"eins\nzwei"}

    async def test_lines_as_they_come_then_the_summary(self) -> None:
        self.keep(*LIVE)
        result = await self.run_pushy("job", "start", "--live", "--output-limit", "64k", "x", *WEB)
        assert result.status == 0
        assert untimed(result.out) == (
            f"{STARTED}web1 | one\nweb2 | eins\nweb1 | two\nweb1 | part\nweb2 | zwei\n{SUMMARY}"
        )
        assert "web1 ! (6 bytes are missing here)\nweb1 ! o\n" in result.err
        request = self.server.jobs[JOB_ID].request
        assert (request["capture_output"], request["output_limit"]) == ("live", 65536)
        assert self.server.requests[1:] == [f"GET job_status_feed/{JOB_ID}", f"GET jobs/{JOB_ID}"]

    async def test_it_is_shown_again_if_that_is_wanted(self) -> None:
        for option in ("--capture", "--grouped", "-L", "--diff"):
            self.keep(*LIVE)
            result = await self.run_pushy("job", "start", "--live", option, "x", *WEB)
            assert "web2 | zwei\n---------------\nweb1\n---------------\none\ntwo\npart\n" in result.out

    async def test_what_did_not_come_as_it_was_written_is_shown_at_the_end(self) -> None:
        self.keep(("start", {"node_count": 3}), ("job_complete", {"status": "complete"}))
        result = await self.run_pushy("job", "start", "--live", "x", *WEB)
        assert "---------------\nweb2\n---------------\neins\nzwei\n" in result.out

    async def test_a_document_stays_alone_on_stdout(self) -> None:
        self.keep(*LIVE)
        result = await self.run_pushy("job", "start", "--live", "-F", "json", "x", *WEB)
        assert json.loads(result.out)["output"]["web2"] == {"stdout": "eins\nzwei"}
        assert "web1 | one\nweb2 | eins\n" in result.err

    async def test_an_older_server(self) -> None:
        self.server.offers_more = False
        self.keep()
        self.server.feeds.clear()
        for options in (["--live"], ["--capture", "--output-limit", "1M"], ["--live", "--output-limit", "1M"]):
            result = await self.run_pushy("job", "start", *options, "x", *WEB)
            assert result.status == 0
            assert result.err.startswith("This server is older: output comes at the end of the job")
            assert "---------------\nweb2\n---------------\neins\nzwei\n" in result.out
            assert self.server.jobs[JOB_ID].request == {"command": "x", "nodes": WEB, "capture_output": True}

    async def test_a_limit_that_the_server_does_not_allow(self) -> None:
        result = await self.run_pushy("job", "start", "--live", "--output-limit", "1G", "x", *WEB)
        self.assert_error(result, 2, "output_limit: expected at most 67108864 bytes")
        assert self.server.requests == ["POST jobs"]
        for wrong in ("0", "1T", "-1", "x"):
            result = await self.run_pushy("job", "start", "--live", "--output-limit", wrong, "x", *WEB)
            assert (result.status, self.server.requests) == (2, ["POST jobs"])

    async def test_what_does_not_go_together(self) -> None:
        for words in (["--live", "--poll-interval", "1"], ["--output-limit", "1k"]):
            assert (await self.run_pushy("job", "start", *words, "x", *WEB)).status == 2
        assert self.server.requests == []

    async def test_watch(self) -> None:
        self.keep(*LIVE)
        self.server.add_job(JOB_ID, DONE, capture_output=True)
        result = await self.run_pushy("job", "watch", "--live", JOB_ID)
        assert result.err.startswith("The job was started without --live: what it writes may come late.\n")
        assert "web1 | one\nweb2 | eins\n" in result.out
        self.server.feeds.clear()
        self.server.add_job(OLD_ID, DONE)
        result = await self.run_pushy("job", "watch", "--live", OLD_ID)
        assert result.err.startswith("Nothing is captured: the job was started without --live or --capture.\n")

    async def test_rerun(self) -> None:
        self.server.next_job = [DONE]
        self.server.add_job(OLD_ID, {**DONE, "output": "live", "output_limit": 7}, nodes=WEB, capture_output=True)
        for words, capture in ([OLD_ID], "live"), (["--live", OLD_ID], "live"):
            assert (await self.run_pushy("job", "rerun", "-b", *words)).status == 0
            request = self.server.jobs.pop(JOB_ID).request
            assert (request["capture_output"], request["output_limit"]) == (capture, 7)


class OutputTests(ProgramTestCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
        await super().setUp()
        self.server.add_job(OLD_ID, {"status": "running", "nodes": {"running": WEB}}, DONE, capture_output=True)
        self.server.outputs = {(node, "stdout"): b"1\n2\n3\n" for node in WEB} | {("web3", "stderr"): b"a\nb"}

    async def test_all_nodes_come_in_one_answer(self) -> None:
        self.server.problem = "the disk is full"
        result = await self.run_pushy("job", "output", OLD_ID)
        stderr = "---------------\nweb3 [stderr]\n---------------\na\nb\n"
        assert result.out == f"---------------\nweb[1-3] (3)\n---------------\n1\n2\n3\n{stderr}"
        assert "Some stdout of web[1-3] is missing: the disk is full.\n" in result.err
        assert self.server.requests == [f"GET jobs/{OLD_ID}", f"GET jobs/{OLD_ID}/output"]
        self.server.problem = None
        for self.server.offers_more in (True, False):
            again = await self.run_pushy("job", "output", OLD_ID)
            assert (again.out, again.err) == (result.out, "")
            one = await self.run_pushy("job", "output", OLD_ID, "--channel", "stderr")
            assert one.out == stderr

    async def test_the_last_lines(self) -> None:
        for count, shown in (("1", "3\n"), ("2", "2\n3\n"), ("9", "1\n2\n3\n")):
            result = await self.run_pushy("job", "output", OLD_ID, "--tail", count, "--channel", "stdout")
            assert result.out == f"---------------\nweb[1-3] (3)\n---------------\n{shown}"
        result = await self.run_pushy("job", "output", OLD_ID, "web3", "--tail", "1", "--channel", "stderr")
        assert result.out == "b"
        assert (await self.run_pushy("job", "output", OLD_ID, "--tail", "0")).err == "There is no output.\n"

    async def test_what_is_missing_of_some_nodes_is_told(self) -> None:
        self.server.problem = "the disk is full"
        result = await self.run_pushy("job", "output", OLD_ID, "web1", "web2", "--channel", "stdout")
        assert result.err == "Some stdout of web[1-2] is missing: the disk is full.\n"
        result = await self.run_pushy("job", "output", OLD_ID, "web1", "--tail", "1", "--channel", "stdout")
        assert (result.out, result.err) == ("3\n", "Some stdout of web1 is missing: the disk is full.\n")
        result = await self.run_pushy("job", "output", OLD_ID, *WEB, "--to-dir", str(self.home / "out"))
        assert result.out == "Wrote 4 files.\n"
        assert result.err.splitlines() == [
            "Some stdout of web[1-3] is missing: the disk is full.",
            "Some stderr of web3 is missing: the disk is full.",
        ]

    async def test_answers_that_are_none(self) -> None:
        for body in (b"[]\n", b'{"data": "x"}\n', b'{"offset": 0, "data": ""}\n', b"{\n"):
            self.server.faults.extend([None, Fault(status=200, body=body)])
            self.assert_error(await self.run_pushy("job", "output", OLD_ID), 6, "is no push server")

    async def follow(self, *words: str) -> tuple[str, str]:
        result = await self.run_pushy("job", "output", OLD_ID, "web1", "--follow", *words)
        assert result.status == 0, result
        return result.out, result.err

    async def test_follow(self) -> None:
        self.server.follows = {
            ("web1", "stdout"): deque([Follow(data=b"1\n\xff", breaks=True), Follow(data=b"1\n\xff2\n")]),
            ("web1", "stderr"): deque([Follow(data=b"oh\n")]),
        }
        self.server.problem = "a piece was lost"
        out, err = await self.follow()
        assert out == "1\n\udcff2\n"
        assert sorted(err.splitlines()) == [
            "Some stderr is missing: a piece was lost.", "Some stdout is missing: a piece was lost.", "oh"
        ]  # fmt: skip
        assert self.server.ranges.count(None) == 2
        assert self.server.ranges[-1] == "bytes=3-"

    async def test_follow_from_the_last_lines(self) -> None:
        self.server.follows = {("web1", "stdout"): deque([Follow(data=b"1\n2\n3\n4\n")])}
        assert await self.follow("--tail", "2", "--channel", "stdout") == ("2\n3\n4\n", "")
        assert self.server.ranges == ["bytes=6-"]

    async def test_follow_on_an_older_server(self) -> None:
        """It has the output when the node has ended, and not before."""
        self.server.offers_more = False
        del self.server.outputs["web1", "stdout"]
        self.server.jobs[OLD_ID].states.appendleft({"status": "running", "nodes": {"running": WEB}})
        looks = iter([None, None, b"1\n"])

        def look() -> None:
            if (text := next(looks, None)) is not None:
                self.server.outputs["web1", "stdout"] = text

        self.server.on_look = look
        out, err = await self.follow()
        assert (out, err) == (
            "1\n",
            "This server does not give output as it comes: it is shown when the job has ended.\n",
        )

    async def test_follow_where_there_is_nothing(self) -> None:
        self.server.outputs.clear()
        self.server.add_job(OLD_ID, DONE, capture_output=True)
        assert await self.follow() == ("", "")
        self.server.add_job(OLD_ID, DONE)
        assert (await self.follow())[1].startswith("Nothing is captured")

    async def test_what_cannot_be_followed(self) -> None:
        for words in ([], WEB, ["web1", "-L"], ["web1", "--to-dir", "x"], ["web1", "-F", "json"]):
            assert (await self.run_pushy("job", "output", OLD_ID, "--follow", *words)).status == 2
        assert (await self.run_pushy("job", "output", OLD_ID, "--to-dir", "x", "--tail", "1")).status == 2
        assert self.server.requests == []
