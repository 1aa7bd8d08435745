"""Against an original 2.x push server: what it can serve works, and what it cannot is said plainly.

It knows no `detail`, `limit` or `before`, nothing may be aborted or deleted, and its feeds may be without ids. Chef's
API is not its own; where nobody else serves it at the same URL, what needs it cannot be done.
"""

import json
from collections import deque

from tests.pushy_cli.push_server import JOB_ID, Feed
from tests.pushy_cli.test_formats import COMMANDS, FormatTestCase
from tests.pushy_cli.test_program import OLD_ID, WEB, ProgramTestCase

NOT_SERVED = {
    "job abort": "This server cannot abort jobs",
    "job purge": "This server cannot delete jobs",
    "node search": "This server has no search/node",
    "client list": "This server has no clients",
    "client create": "This server has no clients",
    "user list": "This server has no users",
    "user create": "This server has no users",
    "group list": "This server has no groups",
    **dict.fromkeys(("client show", "client delete"), ""),
    **dict.fromkeys(("user show", "user delete", "user add", "user remove"), ""),
    **dict.fromkeys(("group show", "group create", "group delete", "group add", "group remove"), ""),
}


class EveryCommandTests(FormatTestCase):
    async def test_what_it_serves(self) -> None:
        """In JSON only: the formats are the same whatever the server is."""
        for command, (words, keys, _) in COMMANDS.items():
            for self.server.missing_status in (404, 405):
                self.server.offers_more = False
                if command in NOT_SERVED:
                    self.fill()
                    result = await self.run_pushy(*command.split(), *words)
                    self.assert_error(result, 1, NOT_SERVED[command])
                    assert not list(self.home.glob("new*.pem"))
                else:
                    words_here = ("web1",) if command == "node show" else words
                    value = json.loads(await self.call(command, words_here, "json"))
                    self.check(command, value, keys)


class FeedTests(ProgramTestCase):
    async def test_a_feed_without_ids(self) -> None:
        self.server.offers_more = False
        self.server.next_job = [{"status": "complete", "nodes": {"succeeded": WEB}}]
        events = (("start", {"node_count": 3}), ("job_complete", {"status": "complete"}))
        self.server.feeds[JOB_ID] = deque([Feed(events=events, has_ids=False)])
        result = await self.run_pushy("job", "start", "uptime", *WEB)
        assert (result.status, result.err) == (0, "voting: 3 new\ncomplete: 3 new\ncomplete: 3 succeeded\n")

    async def test_a_feed_without_ids_that_breaks_off(self) -> None:
        """It cannot be gone on with, so the job is looked at."""
        self.server.offers_more = False
        self.server.next_job = [{"status": "running", "nodes": {"running": WEB}}] * 2
        self.server.next_job.append({"status": "complete", "nodes": {"succeeded": WEB}})
        self.server.feeds[JOB_ID] = deque([Feed(events=(("start", {"node_count": 3}),), has_ids=False)])
        result = await self.run_pushy("job", "start", "uptime", *WEB)
        assert result.status == 0
        assert f"Job {JOB_ID} is complete: 3 of 3 nodes succeeded" in result.out

    async def test_the_abort_of_an_interrupted_job(self) -> None:
        self.server.offers_more = False
        self.server.add_job(OLD_ID, {"status": "running", "nodes": {"running": WEB}})
        for self.server.missing_status in (404, 405):
            self.assert_error(await self.run_pushy("job", "abort", OLD_ID), 1, "This server cannot abort jobs")
