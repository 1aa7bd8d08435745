"""``GET`` and ``DELETE pushy/jobs``: the query, page after page, and who may delete."""

import contextlib
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushy_protocol.states import JobStatus
from pushy_protocol.timestamps import format_rfc1123
from pushyd.domain.job import JobSpec
from pushyd.store.interface import JobStatusChange
from pushyd.web.dates import parse_date
from tests.pushyd.web.serving import BELOW, NOW, ORG, ApiTestCase

JOBS = f"{BELOW}/jobs"


class ListCase(ApiTestCase):
    async def make(self, count: int, **values: Any) -> list[str]:
        """Jobs that have ended, a second apart; their ids, newest first."""
        made = []
        for number in range(count):
            spec: dict[str, Any] = {
                "id": f"{number:032x}",
                "organization": ORG,
                "command": "true",
                "nodes": ("web1",),
                "quorum": 1,
                "run_timeout": 10,
                "voting_timeout": 60,
                "created_at": NOW + number,
                "created_by": "alice",
            }
            await self.store.create_job(JobSpec(**spec | values))
            self.store.record(JobStatusChange(job_id=spec["id"], status=JobStatus.COMPLETE, at=NOW))
            made.append(spec["id"])
        await self.store.recorded()
        return made[::-1]

    async def ids(self, query: str = "") -> list[str]:
        answer = await self.get(JOBS, query=query)
        assert answer.status == 200, answer
        return [job["id"] for job in answer.json]


class ListTests(ListCase):
    async def test_without_parameters_it_is_as_in_2x(self) -> None:
        made = await self.make(3)
        answer = await self.get(JOBS)
        assert [job["id"] for job in answer.json] == made
        assert "link" not in answer.headers
        assert "nodes" not in answer.json[0]

    async def test_page_after_page(self) -> None:
        made = await self.make(5)
        pages = []
        query = "?limit=2"
        while query:
            answer = await self.get(JOBS, query=query)
            pages.append([job["id"] for job in answer.json])
            link = answer.headers.get("link", "")
            address, _, relation = link.partition("; ")
            assert relation == ('rel="next"' if link else "")
            assert address[1:-1].partition("?")[0] == (f"http://{self.host}{JOBS}" if link else "")
            query = "?" + address[1:-1].partition("?")[2] if link else ""
        assert pages == [made[:2], made[2:4], made[4:]]

    async def test_the_next_page_is_asked_for_in_the_same_way(self) -> None:
        made = await self.make(3, command="a b&c=ü")
        query = f"?command={quote('a b&c=ü')}&limit=1&node=web1&status=complete&since={quote('2026-01-31')}"
        answer = await self.get(JOBS, query=query)
        link = answer.headers["link"]
        assert f"before={made[0]}" in link
        assert await self.ids("?" + link.partition("?")[2].partition(">")[0]) == [made[1]]

    async def test_the_address_is_the_one_that_the_caller_used(self) -> None:
        await self.make(2)
        headers = {"Host": "push.example:443", "X-Forwarded-Proto": "https"}
        answer = await self.get(JOBS, query="?limit=1", headers=headers)
        assert answer.headers["link"].startswith(f"<https://push.example{JOBS}?")

    async def test_filters(self) -> None:
        made = await self.make(3)
        for query, expected in {
            "?status=complete": made,
            "?status=aborted": [],
            "?command=true": made,
            "?command=tru": [],
            "?node=web1": made,
            "?node=web2": [],
            f"?since={quote(format_rfc1123(NOW + 1))}": made[:2],
            "?since=2026-01-31T12:00:02Z": made[:1],
            "?since=2026-02-01": [],
            f"?before={made[0]}": made[1:],
        }.items():
            assert await self.ids(query) == expected, query

    async def test_what_cannot_be_taken_is_named(self) -> None:
        for query, text in {
            "limit=0": "limit: expected a number from 1 to 1000",
            "limit=1001": "limit: expected a number from 1 to 1000",
            "limit=": "limit: expected a number from 1 to 1000",
            "limit=%D9%A3": "limit: expected a number from 1 to 1000",
            "limit=1&limit=2": "limit: expected to be given once, got 2 times",
            "before=x": "before: expected the id of a job, 32 hexadecimal digits in lower case",
            f"before={'f' * 32}": f"before: expected the id of a job, got '{'f' * 32}', of which there is none",
            "status=done": "status: expected one of new, voting, running, complete, quorum_failed, timed_out, "
            "aborted, crashed",
            "command=": "command: expected a text, got an empty one",
            "node=": "node: expected a text, got an empty one",
            "node=%FF": "node: expected UTF-8",
            "since=yesterday": "since: expected a date such as 2026-01-31, 2026-01-31T12:00:00Z or Sat, 31 Jan 2026 "
            "12:00:00 GMT",
            "stauts=new": "stauts: expected one of limit, before, status, command, node, since",
        }.items():
            answer = await self.get(JOBS, query="?" + query)
            assert answer.refusal == (400, text), query

    async def test_who_may_not_read_learns_nothing(self) -> None:
        assert (await self.get(JOBS, query="?limit=x", by="sam")).status == 403


class DeleteTests(ListCase):
    async def test_admins_delete_what_was_made_before(self) -> None:
        made = await self.make(3)
        answer = await self.call("DELETE", JOBS, query="?before=2026-01-31T12:00:02Z")
        assert (answer.status, answer.json) == (200, {"deleted": 2})
        assert await self.ids() == made[:1]
        assert (await self.get(f"{JOBS}/{made[2]}")).status == 404
        assert (await self.call("DELETE", JOBS, query="?before=2026-01-31T12:00:02Z")).json == {"deleted": 0}

    async def test_a_live_job_stays(self) -> None:
        await self.bring_up("web1")
        job_id = await self.start_job("web1")
        assert (await self.call("DELETE", JOBS, query="?before=2099-01-01")).json == {"deleted": 0}
        assert await self.ids() == [job_id]

    async def test_others_may_not(self) -> None:
        await self.make(1)
        for by in ("rita", "web1", f"{ORG}-validator"):
            answer = await self.call("DELETE", JOBS, query="?before=2099-01-01", by=by)
            assert answer.status == 403, by
        assert len(await self.ids()) == 1

    async def test_it_must_be_said_what(self) -> None:
        await self.make(1)
        for query, text in {
            "": "before: expected the date before which jobs are deleted, got nothing",
            "?befor=2026-01-31": "befor: expected one of before",
            "?before=": "before: expected a date such as 2026-01-31, 2026-01-31T12:00:00Z or Sat, 31 Jan 2026 "
            "12:00:00 GMT",
            "?before=2099-01-01&status=new": "status: expected one of before",
        }.items():
            assert (await self.call("DELETE", JOBS, query=query)).refusal == (400, text)
        assert len(await self.ids()) == 1


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T12:00:00Z",
        "2026-01-31t12:00:00z",
        "2026-01-31 12:00:00.000Z",
        "2026-01-31T13:30:00+01:30",
        "Sat, 31 Jan 2026 12:00:00 GMT",
    ],
)
def test_every_form_of_a_date(text: str) -> None:
    assert parse_date(text) == NOW


def test_a_day_begins_in_utc() -> None:
    assert parse_date("2026-01-31") == NOW - 12 * 3600


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026",
        "2026-02-30",
        "2026-01-31T12:00:00",
        "2026-01-31T25:00:00Z",
        "2026-01-31T12:00:00+25:00",
        "20260131",
        "٢٠٢٦-01-31",
        "1769860800",
    ],
)
def test_what_is_no_date(text: str) -> None:
    with pytest.raises(ValueError, match="expected a date such as 2026-01-31, "):
        parse_date(text)


@given(st.text() | st.from_regex(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d([Zz]|[+-]\d\d:\d\d))?", fullmatch=True))
def test_nothing_but_a_value_error_comes_out(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(parse_date(text), float)
