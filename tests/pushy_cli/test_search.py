"""The search of Chef's API, page by page: what is asked for, and what of the answers is taken."""

import json
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from pushy_cli.api import Requester
from pushy_cli.chef import ROWS, ChefServer
from pushy_cli.errors import Garbage
from tests.pushyd.doubles import begin, failure_of


@frozen
class Answered:
    body: bytes
    headers: Mapping[str, str] = {}


class Pages:
    """A server that answers a search with these pages; a row may be null, for a node that was just deleted."""

    def __init__(self, *pages: list[Any], total: object) -> None:
        self.pages, self.total = list(pages), total
        self.asked: list[tuple[str, int, Any]] = []

    async def exchange(self, method: str, path: str, body: bytes, *, api_version: str) -> Answered:
        query = parse_qs(urlsplit(path).query)
        assert (query["q"], query["rows"]) == (["name:*"], [str(ROWS)])
        self.asked.append((method, int(query["start"][0]), json.loads(body or b"null")))
        rows = self.pages.pop(0) if self.pages else []
        return Answered(json.dumps({"total": self.total, "start": 0, "rows": rows}).encode())


def part(name: str) -> dict[str, Any]:
    return {"url": f"https://chef.example/nodes/{name}", "data": {"name": name}}


class SearchTests(SynchronousTestCase):
    def search(self, pages: Pages) -> list[str]:
        return self.successResultOf(begin(ChefServer(cast("Requester", pages)).search("name:*")))

    def test_of_names_nothing_but_names_is_asked_for(self) -> None:
        pages = Pages([part("a"), part("b")], [part("c")], total=3)
        self.assertEqual(self.search(pages), ["a", "b", "c"])
        names = {"name": ["name"]}
        self.assertEqual(pages.asked, [("POST", 0, names), ("POST", 2, names)])

    def test_a_node_that_was_just_deleted_moves_no_other(self) -> None:
        pages = Pages([part("a"), None], [part("b"), part("c")], total=4)
        self.assertEqual(self.search(pages), ["a", "b", "c"])
        self.assertEqual([start for _, start, _ in pages.asked], [0, 2])

    def test_a_server_that_says_more_than_it_has_is_not_asked_for_ever(self) -> None:
        self.assertEqual(self.search(Pages([part("a")], total=100)), ["a"])

    def test_whole_nodes(self) -> None:
        pages = Pages([{"name": "a", "automatic": {}}], total=1)
        found = self.successResultOf(begin(ChefServer(cast("Requester", pages)).search_nodes("name:*")))
        self.assertEqual(found, [{"name": "a", "automatic": {}}])
        self.assertEqual(pages.asked, [("GET", 0, None)])

    def test_what_is_no_answer(self) -> None:
        for pages in (Pages([{"name": "a"}], total=1), Pages([part("a")], total="1"), Pages([{"data": 1}], total=1)):
            failure_of(begin(ChefServer(cast("Requester", pages)).search("name:*")), Garbage)
