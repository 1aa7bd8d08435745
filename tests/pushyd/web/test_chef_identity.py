"""The API with a Chef Server as identity: who may do what, what goes on to it, and what is said while it is away."""

import json
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.web.server import Site

from demo.chef.data import World
from demo.chef.server import ChefDouble, Mood
from pushy_protocol.https import SignedClient, make_client
from pushy_protocol.keys import public_pem
from pushy_protocol.tls import Policy
from pushyd.domain.node import NodeRef
from pushyd.identity.chef_http import ChefHttp
from pushyd.identity.chef_server import ChefServer
from pushyd.identity.interface import Caller
from pushyd.retention import Retention
from pushyd.web import agent_config, chef_proxy, jobs, nodes, output, status
from pushyd.web.app import Api
from tests.pushyd.identity.chef import LIFETIMES, US
from tests.pushyd.identity.keys import key_of, pem_of
from tests.pushyd.web.serving import (
    BELOW,
    INCARNATION,
    NODE_CURVE,
    OFFER,
    ORG,
    Answer,
    ApiTestCase,
    principal_key,
    reactor,
    session_key,
)

ABOVE = f"/organizations/{ORG}"
JOB = {"command": "true", "nodes": ["web1"]}


class ChefApiTestCase(ApiTestCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
        self.admitted: list[tuple[NodeRef, Caller]] = []
        self.changed = 0
        self.world = self.make_world()
        self.chef = ChefDouble(self.world, reactor=reactor, now=lambda: self.now)
        self.chef_port = reactor.listenTCP(0, Site(self.chef), interface="127.0.0.1")
        self.addCleanup(self.chef_port.stopListening)
        await super().setUp()

    def make_world(self) -> World:
        world = World()
        world.make_organization(ORG, guid=f"guid of {ORG}")
        world.make_organization("other", guid="guid of other")
        world.make_user(US, pem_of(US), member_of=(ORG, "other"))
        world.make_user("alice", public_pem(principal_key("alice").public_key()), member_of=(ORG,), admin=True)
        world.make_user("rita", pem_of("rita"), member_of=(ORG,))
        world.make_user("sam", pem_of("sam"), member_of=("other",))
        for name in ("web1", "web2", f"{ORG}-validator"):
            world.make_client(ORG, name, pem_of(name))
        world.organizations[ORG].nodes = {
            name: {"name": name, "automatic": {"platform": platform}}
            for name, platform in (("web1", "debian"), ("web2", "centos"))
        }
        return world

    def make_api(self, **offered: Any) -> Api:
        client = make_client(reactor, Policy(trusted=(), verify=True), connections=4)
        pool: Any = client._agent
        self.addCleanup(pool._pool.closeCachedConnections)
        self.chef_http = ChefHttp(
            client=SignedClient(client, self.clock, lambda: self.now),
            url=f"http://127.0.0.1:{self.chef_port.getHost().port}",
            user=US,
            key=key_of(US),
            seconds=self.clock.seconds,
            concurrency=4,
        )
        chef_server = ChefServer(
            http=self.chef_http, kept=self.store, seconds=self.clock.seconds, lifetimes=LIFETIMES, size=100
        )
        api = Api(identity=chef_server, now=lambda: self.now)
        status.add_routes(
            api, incarnation_id=INCARNATION, online_nodes=self.nodes.online_count, live_jobs=self.live.ids
        )
        retention = Retention(store=self.store, clock=self.clock, now=lambda: self.now, days=0, count=0)
        self.addCleanup(retention.stop)
        jobs.add_routes(api, jobs=self.jobs, retention=retention, host="push.example:10003")
        output.OutputRoutes(jobs=self.jobs, outputs=self.outputs, feeds=self.feeds, clock=self.clock).add_to(api)
        nodes.add_routes(api, nodes=self.nodes)
        agent_config.add_routes(
            api,
            sessions=self.sessions,
            nodes=None,
            offer=agent_config.Offer(**{**OFFER, **offered}),
            admitted=lambda node, caller: self.admitted.append((node, caller)),
        )
        chef_proxy.add_routes(api, forward=self.chef_http.forward, changed=self._changed)
        return api

    def _changed(self) -> None:
        self.changed += 1

    async def config(self, node: str, **how: Any) -> Answer:
        query = f"?ccpk={quote(NODE_CURVE.public, safe='')}&version=2.0"
        return await self.get(f"{BELOW}/config/{node}", query=query, **how)


class RightsTests(ChefApiTestCase):
    async def test_who_may_do_what(self) -> None:
        self.assertEqual((await self.post(f"{BELOW}/jobs", JOB)).status, 201)
        self.assertEqual((await self.get(f"{BELOW}/jobs", by="rita")).status, 200)
        self.assertEqual((await self.get(f"{BELOW}/jobs", by="web1")).status, 200)
        for name in ("rita", "web1"):
            text = f"User or client '{name}' does not have access to that action on this server."
            self.assertEqual((await self.post(f"{BELOW}/jobs", JOB, by=name)).refusal, (403, text))
        self.assertEqual(
            (await self.get(f"{BELOW}/jobs", by="sam")).refusal,
            (403, f"'sam' is not associated with organization '{ORG}'"),
        )
        nowhere = await self.get("/organizations/nowhere/pushy/jobs")
        self.assertEqual(nowhere.refusal, (404, "organization 'nowhere' does not exist."))
        unknown = await self.get(f"{BELOW}/jobs", by="mallory")
        self.assertEqual(unknown.status, 401)

    async def test_groups_of_the_chef_server(self) -> None:
        self.world.make_group(ORG, "ops", users=["rita"])
        self.world.make_group(ORG, "pushy_job_writers", groups=["ops"])
        self.world.make_group(ORG, "pushy_job_readers", groups=["ops"])
        self.assertEqual((await self.post(f"{BELOW}/jobs", JOB, by="rita")).status, 201)
        self.assertEqual((await self.post(f"{BELOW}/jobs", JOB)).status, 403)
        self.assertEqual((await self.get(f"{BELOW}/jobs")).status, 403)

    async def test_a_node_gets_its_configuration_with_its_client_key(self) -> None:
        answer = await self.config("web1", by="web1")
        self.assertEqual(answer.status, 200, answer)
        session = self.sessions.of(NodeRef(ORG, "web1"))
        assert session
        self.assertEqual(session_key(answer.json, key_of("web1")), session.session_key)
        ((node, caller),) = self.admitted
        self.assertEqual((node, caller.name, caller.is_client), (NodeRef(ORG, "web1"), "web1", True))
        self.assertEqual((await self.config("web2", by="web1")).status, 403)

    async def test_nobody_reports_facts(self) -> None:
        query = f"?ccpk={quote(NODE_CURVE.public, safe='')}&version=3.0"
        answer = await self.post(f"{BELOW}/config/web1", {"facts": {}}, by="web1", query=query)
        self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET, HEAD"))


class AwayTests(ChefApiTestCase):
    async def test_strangers_hear_that_it_is_away_and_who_is_known_goes_on(self) -> None:
        await self.post(f"{BELOW}/jobs", JOB)
        self.assertEqual((await self.config("web1", by="web1")).status, 200)
        self.chef.mood = Mood(breaks_off=True)
        text = "Failed to connect to the Chef Server to get key: the connection was closed before the answer"
        with self.logged():
            self.assertEqual((await self.get(f"{BELOW}/jobs", by="rita")).refusal, (502, text))
            self.clock.advance(60)
            self.assertEqual((await self.post(f"{BELOW}/jobs", JOB)).status, 201)
            self.assertEqual((await self.config("web1", by="web1")).status, 200)
            self.clock.advance(900)
            self.assertEqual((await self.config("web1", by="web1")).refusal, (502, text))


class ForwardedTests(ChefApiTestCase):
    async def test_a_search_is_made_in_the_callers_name(self) -> None:
        query = f"?q={quote('platform:deb*')}&rows=10"
        answer = await self.get(f"{ABOVE}/search/node", by="rita", query=query)
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual([row["name"] for row in answer.json["rows"]], ["web1"])
        self.assertEqual(self.chef.seen[-1].user, "rita")
        body = json.dumps({"it": ["platform"]}).encode()
        for version in ("1.0", "1.1", "1.3"):
            answer = await self.call(
                "POST", f"{ABOVE}/search/node", by="web1", query="?q=name:web2", body=body, version=version
            )
            self.assertEqual([row["data"] for row in answer.json["rows"]], [{"it": "centos"}])
        self.assertEqual((await self.get(f"{ABOVE}/search/thing")).status, 404)

    async def test_what_the_chef_server_denies_is_denied(self) -> None:
        self.chef.mood = Mood(denied=frozenset({("rita", "node")}))
        answer = await self.get(f"{ABOVE}/search/node", by="rita")
        self.assertEqual(answer.refusal, (403, "missing read permission"))

    async def test_strangers_reach_nothing(self) -> None:
        self.assertEqual((await self.get(f"{ABOVE}/search/node", by="mallory")).status, 401)
        self.assertEqual((await self.get(f"{ABOVE}/nodes", by=None)).status, 400)
        self.assertEqual({one.path for one in self.chef.seen}, {f"{ABOVE}/principals/mallory"})

    async def test_a_node_enrols_itself(self) -> None:
        new = {"name": "web3", "public_key": pem_of("web3")}
        answer = await self.post(f"{ABOVE}/clients", new, by=f"{ORG}-validator")
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(answer.headers["location"], answer.json["uri"])
        self.assertIn("response_version", answer.headers["x-ops-server-api-version"])
        self.assertEqual((await self.config("web3", by="web3")).status, 200)
        self.assertEqual(self.changed, 1)
        self.assertEqual((await self.post(f"{ABOVE}/clients", new, by=f"{ORG}-validator")).status, 409)
        self.assertEqual(self.changed, 1)
        self.assertEqual((await self.call("DELETE", f"{ABOVE}/clients/web3")).status, 200)
        self.assertEqual(self.changed, 2)

    async def test_doubled_slashes_do_not_reach_it(self) -> None:
        answer = await self.get(f"/{ABOVE}//nodes/", by="rita")
        self.assertEqual(sorted(answer.json), ["web1", "web2"])
        self.assertEqual(self.chef.seen[-1].path, f"{ABOVE}/nodes")

    async def test_a_target_that_is_no_path_goes_nowhere(self) -> None:
        for target in (
            f"@evil.example{ABOVE}/nodes",
            f".evil.example{ABOVE}/nodes",
            f"http://evil.example{ABOVE}/nodes",
        ):
            headers = self.signed("GET", target, by="rita")
            answer = await self.raw(b"GET", target.encode(), headers)
            self.assertIn(answer.status, (400, 404), target)
        self.assertFalse([one for one in self.chef.seen if one.path.endswith("/nodes")])

    async def test_users_and_organizations_are_elsewhere(self) -> None:
        for path in ("/users", "/users/alice", "/organizations"):
            self.assertEqual(
                (await self.get(path)).refusal, (404, "Users and organizations are on the Chef Server; ask it.")
            )

    async def test_it_is_away(self) -> None:
        await self.get(f"{ABOVE}/nodes")
        self.chef.mood = Mood(breaks_off=True)
        with self.logged():
            answer = await self.get(f"{ABOVE}/nodes")
        text = "Failed to connect to the Chef Server to get an answer: the connection was closed before the answer"
        self.assertEqual(answer.refusal, (502, text))

    async def test_it_is_slow(self) -> None:
        await self.get(f"{ABOVE}/nodes")
        self.chef.mood = Mood(until=Deferred())
        came = Deferred.fromCoroutine(self.chef.came())
        answered = Deferred.fromCoroutine(self.get(f"{ABOVE}/nodes"))
        await came
        with self.logged():
            self.clock.advance(30)
            text = "Failed to connect to the Chef Server to get an answer: no answer within 30 s"
            self.assertEqual((await answered).refusal, (502, text))
