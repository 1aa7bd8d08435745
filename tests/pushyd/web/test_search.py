"""Node objects, their search, and the facts that agents report; over the API."""

from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred, DeferredList

from pushyd.domain.node import NodeRef
from pushyd.web import search
from tests.pushyd.web.serving import BELOW, NODE_CURVE, ORG, Answer
from tests.pushyd.web.test_identity_clients import FORBIDDEN, VALIDATOR, IdentityTestCase

NODES = f"/organizations/{ORG}/nodes"
SEARCH = f"/organizations/{ORG}/search"
CONFIG = f"{BELOW}/config/web1"


def node(name: str, **values: Any) -> dict[str, Any]:
    """A whole node object."""
    return {
        "name": name,
        "chef_environment": "_default",
        "run_list": [],
        "automatic": {},
        "normal": {},
        "default": {},
        "override": {},
        "json_class": "Chef::Node",
        "chef_type": "node",
    } | values


class NodeTests(IdentityTestCase):
    async def test_a_node_object_comes_changes_and_goes(self) -> None:
        given = {"name": "web1", "normal": {"tags": ["a"]}, "policy_name": "base"}
        uri = self.url(f"{NODES}/web1")
        answer = await self.ask("POST", NODES, given)
        self.assertEqual((answer.status, answer.json, answer.headers["location"]), (201, {"uri": uri}, uri))
        whole = node("web1") | given
        answer = await self.ask("GET", f"{NODES}/web1", by="web2")
        self.assertEqual((answer.status, answer.json), (200, whole))
        self.assertEqual((await self.ask("POST", NODES, given)).refusal, (409, "Node already exists"))
        changed = node("web1", automatic={"kernel": {"release": "6.1"}}, run_list=["role[web]"])
        answer = await self.ask("PUT", f"{NODES}/web1", changed)
        self.assertEqual((answer.status, answer.json), (200, changed))
        self.assertEqual((await self.ask("GET", f"{NODES}/web1")).json, changed)
        self.assertEqual((await self.ask("GET", NODES, by="rita")).json, {"web1": uri})
        answer = await self.ask("DELETE", f"{NODES}/web1")
        self.assertEqual((answer.status, answer.json), (200, changed))
        for method in ("GET", "PUT", "DELETE"):
            answer = await self.ask(method, f"{NODES}/web1", changed)
            self.assertEqual(answer.refusal, (404, "node 'web1' not found"))

    async def test_a_client_writes_its_own_and_no_other(self) -> None:
        self.assertEqual(await self.status("POST", NODES, node("web1"), by="web1"), 201)
        self.assertEqual(await self.status("PUT", f"{NODES}/web1", node("web1"), by="web1"), 200)
        for by in ("web2", "rita", VALIDATOR):
            for method, path, value in (
                ("POST", NODES, node("web3")),
                ("PUT", f"{NODES}/web1", node("web1")),
                ("DELETE", f"{NODES}/web1", None),
            ):
                self.assertEqual((await self.ask(method, path, value, by=by)).refusal, (403, FORBIDDEN.format(by)))
        self.assertEqual(await self.status("DELETE", f"{NODES}/web1", by="web1"), 403)

    async def test_what_is_refused(self) -> None:
        await self.ask("POST", NODES, node("web1"))
        answer = await self.ask("PUT", f"{NODES}/web1", node("web2"))
        self.assertEqual(answer.refusal, (400, "Node name mismatch."))
        wrongs: list[object] = [[], {}, {"name": "a b"}, node("web1", x=1), node("web1", normal=[])]
        for wrong in wrongs:
            self.assertEqual(await self.status("PUT", f"{NODES}/web1", wrong), 400, wrong)
            self.assertEqual(await self.status("POST", NODES, wrong), 400, wrong)

    async def test_another_organization_has_its_own(self) -> None:
        await self.ask("POST", NODES, node("web1"))
        path = "/organizations/other/nodes"
        self.assertEqual((await self.ask("GET", path, by="sam")).json, {})
        self.assertEqual(await self.status("GET", f"{path}/web1", by="sam"), 404)
        self.assertEqual(await self.status("GET", f"{NODES}/web1", by="sam"), 403)


class SearchTests(IdentityTestCase):
    async def search(self, query: str | None, *, more: str = "", paths: object = None, **how: Any) -> Answer:
        asked = "?x=y" if query is None else f"?q={quote(query)}"
        method = "GET" if paths is None else "POST"
        return await self.ask(method, f"{SEARCH}/node", paths, query=f"{asked}{more}", **how)

    async def found(self, query: str, **how: Any) -> list[str]:
        answer = await self.search(query, **how)
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual(answer.json["total"], len(answer.json["rows"]))
        return [row["name"] for row in answer.json["rows"]]

    async def fill(self) -> None:
        platforms = {"web1": "debian", "web2": "centos", "db1": "centos"}
        for name, platform in platforms.items():
            attributes = {"platform": platform, "kernel": {"release": "6.1" if platform == "debian" else "5.14"}}
            given = node(name, automatic=attributes, run_list=[f"role[{name[:-1]}]"])
            self.assertEqual(await self.status("POST", NODES, given), 201)

    async def test_queries(self) -> None:
        await self.fill()
        for query, names in (
            ("*:*", ["db1", "web1", "web2"]),
            ("name:web*", ["web1", "web2"]),
            ("role:web AND NOT platform:centos", ["web1"]),
            ("kernel_release:6*", ["web1"]),
            ("kernel_release:[5 TO 6]", ["db1", "web2"]),
            ("(name:db1 OR platform:debian) AND chef_environment:_default", ["db1", "web1"]),
            ("nothing:*", []),
        ):
            self.assertEqual(await self.found(query, by="web2"), names, query)
        whole = (await self.search("name:db1")).json["rows"]
        self.assertEqual(whole, [(await self.ask("GET", f"{NODES}/db1")).json])
        self.assertEqual((await self.search(None)).json["total"], 3)

    async def test_pages(self) -> None:
        await self.fill()
        for more, start, names in (
            ("&rows=2", 0, ["db1", "web1"]),
            ("&start=1", 1, ["web1", "web2"]),
            ("&start=2&rows=1000000", 2, ["web2"]),
            ("&start=3", 3, []),
            ("&rows=0", 0, []),
        ):
            answer = await self.search("*:*", more=more)
            told = answer.json
            self.assertEqual((told["total"], told["start"]), (3, start))
            self.assertEqual([row["name"] for row in told["rows"]], names)
        for more, name, value in (("&rows=-1", "rows", "-1"), ("&start=x", "start", "x"), ("&rows=", "rows", "")):
            answer = await self.search("*:*", more=more)
            self.assertEqual(answer.refusal, (400, f"invalid '{name}' value: '{value}'"))

    async def test_a_part_of_each(self) -> None:
        await self.fill()
        paths = {"release": ["kernel", "release"], "id": ["name"], "none": ["a", "b"], "all": ["kernel"]}
        answer = await self.search("name:web1", paths=paths)
        data = {"release": "6.1", "id": "web1", "none": None, "all": {"release": "6.1"}}
        self.assertEqual(
            answer.json, {"total": 1, "start": 0, "rows": [{"url": self.url(f"{NODES}/web1"), "data": data}]}
        )
        wrongs: list[object] = [[], {"a": "b"}, {"a": [1]}]
        for wrong in wrongs:
            self.assertEqual((await self.search("*:*", paths=wrong)).status, 400, wrong)

    async def test_what_does_not_parse(self) -> None:
        text = "invalid search query: 'name:web1)': at position 9: unexpected ')'"
        self.assertEqual((await self.search("name:web1)")).refusal, (400, text))
        self.assertEqual((await self.search("")).status, 400)

    async def test_what_can_be_searched(self) -> None:
        self.assertEqual((await self.ask("GET", SEARCH)).json, {"node": self.url(f"{SEARCH}/node")})
        answer = await self.ask("GET", f"{SEARCH}/role")
        self.assertEqual(answer.refusal, (404, "I don't know how to search for role data objects."))

    async def test_it_is_for_members(self) -> None:
        self.assertEqual((await self.search("*:*", by="sam")).status, 403)

    async def test_no_answer_without_bounds(self) -> None:
        self.patch(search, "MAX_BYTES", 500)
        await self.fill()
        answer = await self.search("*:*")
        self.assertEqual(answer.status, 400)
        self.assertIn("at most 500 bytes", answer.refusal[1])
        self.assertEqual((await self.search("*:*", more="&rows=1")).status, 200)


class FactsTests(IdentityTestCase):
    async def report(self, facts: object, *, by: str = "web1", path: str = CONFIG, **how: Any) -> Answer:
        query = f"?ccpk={quote(NODE_CURVE.public)}&version=3.0"
        return await self.ask("POST", path, {"facts": facts}, by=by, query=query, **how)

    async def test_a_report_answers_the_configuration_and_is_found(self) -> None:
        facts = {
            "name": "web1",
            "fqdn": "web1.example.com",
            "ipaddress": "10.0.0.1",
            "platform": "debian",
            "kernel": {"release": "6.1"},
            "memory": {"total": 8192},
            "tags": ["blue"],
            "roles": ["web"],
            "environment": "staging",
        }
        answer = await self.report(facts)
        self.assertEqual((answer.status, answer.json["type"], answer.json["node"]), (200, "config", "web1"))
        self.assertIn("extensions", answer.json)
        self.assertIsNotNone(self.sessions.of(NodeRef(ORG, "web1")))
        kept = (await self.ask("GET", f"{NODES}/web1")).json
        environment = facts.pop("environment")
        self.assertEqual(kept, node("web1", automatic=facts, chef_environment=environment))
        query = "fqdn:web1.* AND role*:web AND tags:blue AND memory_total:[1024 TO *] AND chef_environment:staging"
        answer = await self.ask("GET", f"{SEARCH}/node", query=f"?q={quote(query)}")
        self.assertEqual(answer.json["total"], 1)

    async def test_only_the_node_itself_reports(self) -> None:
        answer = await self.report({}, by="web2")
        self.assertEqual(answer.refusal, (403, "Client and node name must match"))
        self.assertEqual((await self.report({}, by="alice")).refusal, (403, "Client and node name must match"))
        self.assertIsNone(await self.store.node_object(ORG, "web1"))
        self.assertIsNone(self.sessions.of(NodeRef(ORG, "web1")))

    async def test_what_is_refused(self) -> None:
        deep: object = 1
        for _ in range(70):
            deep = [deep]
        reports: list[object] = [[], None, {"name": "web2"}, {"x": "y" * 65_536}, {"x": deep}]
        for facts in reports:
            answer = await self.report(facts)
            self.assertEqual(answer.status, 400)
            self.assertTrue(answer.refusal[1].startswith("facts: expected"), answer.refusal)
        self.assertEqual((await self.ask("POST", CONFIG, {"facts": {}}, by="web1")).refusal, (400, "Missing ccpk"))

    async def test_a_client_that_goes_meanwhile_gets_no_session(self) -> None:
        admit = self.sessions.admit

        async def late(*args: Any, **kwargs: Any) -> Any:
            await self.ask("DELETE", f"/organizations/{ORG}/clients/web1")
            return await admit(*args, **kwargs)

        self.patch(self.sessions, "admit", late)
        answer = await self.report({})
        self.assertEqual(answer.status, 403)
        self.assertIsNone(self.sessions.of(NodeRef(ORG, "web1")))
        self.assertEqual(await self.store.registrations(), [])

    async def test_a_2x_client_reports_nothing(self) -> None:
        answer = await self.ask("GET", CONFIG, by="web1", query=f"?ccpk={quote(NODE_CURVE.public)}&version=2.0")
        self.assertEqual(answer.status, 200)
        self.assertEqual((await self.ask("GET", NODES)).json, {})


class BusyTests(IdentityTestCase):
    async def test_only_so_many_searches_wait(self) -> None:
        self.patch(search, "_WAITING", 1)
        reached: list[Deferred[None]] = []
        find = self.store.find_node_objects

        async def slow(*args: Any, **kwargs: Any) -> Any:
            reached.append(Deferred())
            await reached[-1]
            return await find(*args, **kwargs)

        self.patch(self.store, "find_node_objects", slow)
        asked = [Deferred.fromCoroutine(self.ask("GET", f"{SEARCH}/node")) for _ in range(3)]
        refused, _ = await DeferredList(asked, fireOnOneCallback=True)
        self.assertEqual(refused.refusal, (503, "Too many searches at a time. Try again."))
        self.assertEqual(len(reached), 1, "one at a time")
        reached[0].callback(None)
        reached_next = [deferred for deferred in asked if not deferred.called]
        first, number = await DeferredList(reached_next, fireOnOneCallback=True)
        self.assertEqual(first.status, 200)
        reached[1].callback(None)
        (last,) = [deferred for deferred in reached_next if deferred is not reached_next[number]]
        self.assertEqual((await last).status, 200)
