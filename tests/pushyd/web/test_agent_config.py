"""``config/NODE``: what section 4 has in it, who gets it, and whose CURVE key is admitted."""

from urllib.parse import quote, quote_plus

from pushy_protocol.keys import CurveKeyPair
from pushyd.domain.node import NodeRef
from tests.pushyd.identity.keys import key_of
from tests.pushyd.web.serving import (
    BELOW,
    INCARNATION,
    NODE_CURVE,
    OFFER,
    ORG,
    SERVER_CURVE,
    Answer,
    ApiTestCase,
    principal_key,
    reactor,
    session_key,
)

CCPK = f"?ccpk={quote(NODE_CURVE.public, safe='')}"
FORBIDDEN = "User or client '{}' does not have access to that action on this server."


class ConfigTests(ApiTestCase):
    async def config(self, node: str = "web1", *, by: str = "web1", query: str = CCPK, name: str = "config") -> Answer:
        return await self.get(f"{BELOW}/{name}/{node}", by=by, query=query)

    async def test_it_has_everything_that_a_2x_client_needs(self) -> None:
        answer = await self.config(query=f"{CCPK}&version=2.0")
        self.assertEqual(answer.status, 200)
        config = answer.json
        self.assertEqual(config.pop("encoded_session_key").keys(), {"method", "key"})
        self.assertEqual(
            config,
            {
                "type": "config",
                "host": "push.example",
                "node": "web1",
                "organization": ORG,
                "push_jobs": {
                    "heartbeat": {
                        "out_addr": "tcp://push.example:10000",
                        "command_addr": "tcp://push.example:10002",
                        "interval": 1.0,
                        "offline_threshold": 3,
                        "online_threshold": 2,
                    }
                },
                "public_key": OFFER["public_key"],
                "curve_public_key": SERVER_CURVE.public,
                "lifetime": 3600,
                "max_message_skew": 300,
                "max_body_size": 65536,
                "incarnation_id": INCARNATION,
            },
        )
        self.assertIn(b'"interval":1.0', answer.body, "Ruby wants it to be a float")
        self.assertTrue(config["public_key"].startswith("-----BEGIN PUBLIC KEY-----\n"))

    async def test_it_goes_by_its_name_of_1_0_too(self) -> None:
        old, new = await self.config(name="connect"), await self.config()
        self.assertEqual(old.status, 200)
        self.assertEqual({**old.json, "encoded_session_key": None}, {**new.json, "encoded_session_key": None})

    async def test_the_session_key_is_the_requestors_to_read_and_stays(self) -> None:
        configs = [(await self.config()).json for _ in range(2)]
        (key,) = {session_key(config, principal_key("web1")) for config in configs}
        self.assertEqual(len(key), 32)
        other = f"?ccpk={quote(CurveKeyPair.make().public, safe='')}"
        of_web2 = (await self.config("web2", by="web2", query=other)).json
        self.assertNotEqual(session_key(of_web2, principal_key("web2")), key)
        by_user = (await self.config(by="rita")).json
        self.assertEqual(session_key(by_user, principal_key("rita")), key)
        session = self.sessions.of(NodeRef(ORG, "web1"))
        assert session is not None
        self.assertEqual(session.session_key, key)

    async def test_extensions_are_offered_to_who_asks_for_them(self) -> None:
        self.assertNotIn("extensions", (await self.config()).json)
        self.assertNotIn("extensions", (await self.config(query=f"{CCPK}&version=2.0")).json)
        self.assertNotIn("extensions", (await self.config(query=f"{CCPK}&version=2.1")).json)
        offered = (await self.config(query=f"{CCPK}&version=3.0")).json["extensions"]
        self.assertIn("reasons", offered)
        session = self.sessions.of(NodeRef(ORG, "web1"))
        assert session is not None
        self.assertEqual(session.extensions, frozenset(offered))
        self.assertNotIn("extensions", (await self.config()).json, "a node may go back")

    async def test_the_curve_key_is_admitted_for_that_node_instead_of_its_last(self) -> None:
        before, after = CurveKeyPair.make().public, CurveKeyPair.make().public
        for key in (before, after):
            await self.config(query=f"?ccpk={quote(key, safe='')}")
            session = self.sessions.by_peer(key)
            assert session is not None
            self.assertEqual(session.node, NodeRef(ORG, "web1"))
        self.assertIsNone(self.sessions.by_peer(before))

    async def test_any_curve_key_survives_its_way_through_the_url(self) -> None:
        for spell in (lambda key: quote(key, safe=""), quote_plus):
            for _ in range(20):
                key = CurveKeyPair.make().public
                self.assertEqual((await self.config(query=f"?ccpk={spell(key)}")).status, 200, key)
                self.assertIsNotNone(self.sessions.by_peer(key))

    async def test_the_curve_key_is_missing(self) -> None:
        for query in ("", "?version=2.0", "?ccpk=", "?CCPK=x"):
            self.assertEqual((await self.config(query=query)).refusal, (400, "Missing ccpk"))

    async def test_the_curve_key_is_none(self) -> None:
        for wrong in (
            "x",
            "a" * 39,
            "a" * 41,
            "a" * 39 + "~",
            "%25" * 40,
            "%00" * 40,
            "%c3%a9" * 40,
            "%ff" * 40,
            "#" * 40,
        ):
            spelled = wrong if "%" in wrong else quote(wrong, safe="")
            self.assertEqual((await self.config(query=f"?ccpk={spelled}")).refusal, (401, "Bad ccpk"), wrong)

    async def test_the_curve_key_is_another_nodes(self) -> None:
        await self.config()
        self.assertEqual((await self.config("web2", by="web2")).refusal, (401, "Bad ccpk"))
        session = self.sessions.by_peer(NODE_CURVE.public)
        assert session is not None
        self.assertEqual(session.node.name, "web1")

    async def test_a_name_that_is_none_is_refused(self) -> None:
        text = "node: expected a name of 1 to 255 letters, digits, _ . : and -"
        for name in ("web%201", "web1%0A", "%c3%a9", "%00", "x" * 256, "a%1b%5b31m"):
            self.assertEqual((await self.config(name, by="rita")).refusal, (400, text), name)
        for name in ("x" * 255, "Web-1.example_org:8"):
            curve_key = quote(CurveKeyPair.make().public, safe="")
            self.assertEqual((await self.config(name, by="rita", query=f"?ccpk={curve_key}")).status, 200, name)

    async def test_a_client_gets_its_own_only(self) -> None:
        for name in ("web1", f"{ORG}-validator"):
            answer = await self.config("web2", by=name)
            self.assertEqual(answer.refusal, (403, "Client and node name must match"))
        self.assertIsNone(self.sessions.by_peer(NODE_CURVE.public))
        self.assertEqual(self.sessions.nodes(ORG), [])

    async def test_a_client_gets_its_own_without_the_right_to_read(self) -> None:
        await self.store.create_group(ORG, "pushy_job_readers")
        self.assertEqual((await self.config()).status, 200)

    async def test_a_user_needs_the_right_to_read(self) -> None:
        self.assertEqual((await self.config("web2", by="rita")).status, 200)
        await self.store.create_group(ORG, "pushy_job_readers")
        self.assertEqual((await self.config("web2", by="rita")).refusal, (403, FORBIDDEN.format("rita")))
        await self.store.add_to_group(ORG, "pushy_job_readers", "user", "rita")
        self.assertEqual((await self.config("web2", by="rita")).status, 200)

    async def test_who_is_refused_has_nothing_admitted(self) -> None:
        await self.get(f"{BELOW}/config/web1", by="web1", key=key_of("rita"), query=CCPK)
        await self.get(f"{BELOW}/config/web1", by="sam", query=CCPK)
        await self.store.create_group(ORG, "pushy_job_readers")
        await self.config(by="rita")
        self.assertIsNone(self.sessions.by_peer(NODE_CURVE.public))
        self.assertEqual(await self.store.registrations(), [])

    async def test_the_rule_of_names_can_be_switched_off_for_clients(self) -> None:
        port = reactor.listenTCP(0, self.make_api(names_must_match=False).site(), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.host = f"127.0.0.1:{port.getHost().port}"
        self.assertEqual((await self.config("web2", by="web1")).json["node"], "web2")

    async def test_without_a_node_it_is_no_path_for_any_verb(self) -> None:
        for name in ("config", "config/", "config//", "connect", "connect/"):
            for method in ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"):
                for by in ("web1", None):
                    answer = await self.call(method, f"{BELOW}/{name}", by=by, query=CCPK)
                    self.assertEqual(answer.status, 404, (method, name, by))
                    if method != "HEAD":
                        self.assertEqual(answer.error, ["Not Found."])
