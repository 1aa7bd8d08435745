"""Clients that are there, and their keys; who may do what to them, and what it does to their sessions."""

import json
from typing import Any

from pushy_protocol.keys import CurveKeyPair, parse_private_key, public_pem
from pushyd.domain.node import NodeRef
from tests.pushyd.identity.keys import key_of, pem_of
from tests.pushyd.web.serving import BELOW, ORG, Answer, ApiTestCase

ORGANIZATION = f"/organizations/{ORG}"
CLIENTS = f"{ORGANIZATION}/clients"
VALIDATOR = f"{ORG}-validator"
V1 = {"X-Ops-Server-API-Version": "1"}
FORBIDDEN = "User or client '{}' does not have access to that action on this server."


class IdentityTestCase(ApiTestCase):
    """Calls with a version of the server API, which is signed too."""

    async def ask(self, method: str, path: str, value: object = None, *, api: int = 0, **how: Any) -> Answer:
        body = b"" if value is None else json.dumps(value).encode()
        by, key = how.pop("by", "alice"), how.pop("key", None)
        signed = self.signed(method, path, by=by, key=key, body=body, version="1.1")
        headers = signed | {"X-Ops-Server-API-Version": str(api)}
        return await self.call(method, path, by=None, body=body, headers=headers, **how)

    async def status(self, method: str, path: str, value: object = None, **how: Any) -> int:
        return (await self.ask(method, path, value, **how)).status

    def url(self, path: str) -> str:
        return f"http://{self.host}{path}"


class ClientTests(IdentityTestCase):
    async def is_client(self, name: str, key: str) -> bool:
        answer = await self.ask("GET", f"{BELOW}/node_states", by=name, key=key_of(key))
        self.assertIn(answer.status, (200, 401))
        return answer.status == 200

    async def test_the_list(self) -> None:
        for by in ("alice", "rita", "web1"):
            answer = await self.ask("GET", CLIENTS, by=by)
            names = [VALIDATOR, "twin", "web1", "web1.example.com", "web2"]
            self.assertEqual((answer.status, answer.json), (200, {n: self.url(f"{CLIENTS}/{n}") for n in names}))
        self.assertEqual(await self.status("GET", CLIENTS, by="sam"), 403)

    async def test_one(self) -> None:
        client = {
            "name": "web1",
            "clientname": "web1",
            "orgname": ORG,
            "validator": False,
            "json_class": "Chef::ApiClient",
            "chef_type": "client",
        }
        answer = await self.ask("GET", f"{CLIENTS}/web1", api=1)
        self.assertEqual((answer.status, answer.json), (200, client))
        for by in ("alice", "web1"):
            answer = await self.ask("GET", f"{CLIENTS}/web1", by=by)
            self.assertEqual(answer.json, client | {"admin": False, "public_key": pem_of("web1")})
        self.assertTrue((await self.ask("GET", f"{CLIENTS}/{VALIDATOR}")).json["validator"])
        self.assertEqual((await self.ask("GET", f"{CLIENTS}/nobody")).refusal, (404, "Cannot load client nobody"))

    async def test_creation_in_version_1(self) -> None:
        uri = self.url(f"{CLIENTS}/new")
        answer = await self.ask("POST", CLIENTS, {"name": "new", "create_key": True}, api=1, by=VALIDATOR)
        made = answer.json["chef_key"]
        self.assertEqual((answer.status, answer.headers["location"]), (201, uri))
        self.assertEqual(set(answer.json), {"uri", "chef_key"})
        self.assertEqual(
            (made["name"], made["uri"], made["expiration_date"]), ("default", f"{uri}/keys/default", "infinity")
        )
        key = parse_private_key(made["private_key"].encode())
        self.assertEqual(public_pem(key.public_key()), made["public_key"])
        self.assertEqual(await self.status("GET", f"{CLIENTS}/new", by="new", key=key), 200)
        answer = await self.ask("POST", CLIENTS, {"name": "given", "public_key": pem_of("given")}, api=1)
        self.assertEqual(answer.json["chef_key"]["public_key"], pem_of("given"))
        self.assertNotIn("private_key", answer.json["chef_key"])
        answer = await self.ask("POST", CLIENTS, {"name": "keyless"}, api=1)
        self.assertEqual(answer.json, {"uri": self.url(f"{CLIENTS}/keyless")})
        self.assertEqual((await self.ask("GET", f"{CLIENTS}/keyless/keys")).json, [])
        self.assertFalse(await self.is_client("keyless", "keyless"))
        both = {"name": "both", "public_key": pem_of("new"), "create_key": True}
        answer = await self.ask("POST", CLIENTS, both, api=1)
        self.assertEqual(answer.refusal, (400, "public_key: expected none where a key is to be made"))

    async def test_a_version_that_is_not_spoken(self) -> None:
        for api in ("3", "-1", "x", "1.0", "٣"):
            answer = await self.call("GET", CLIENTS, headers={"X-Ops-Server-API-Version": api}, version="1.1")
            self.assertEqual(answer.status, 406)
            self.assertEqual(answer.json["error"], "invalid-x-ops-server-api-version")
        answer = await self.ask("GET", CLIENTS, api=9)
        self.assertEqual(
            answer.json,
            {
                "error": "invalid-x-ops-server-api-version",
                "message": "Specified version 9 not supported",
                "min_api_version": 0,
                "max_api_version": 2,
            },
        )
        told = json.loads(answer.headers["x-ops-server-api-version"])
        self.assertEqual(
            told, {"min_version": "0", "max_version": "2", "request_version": "9", "response_version": "-1"}
        )
        told = json.loads((await self.ask("GET", CLIENTS, api=2)).headers["x-ops-server-api-version"])
        self.assertEqual((told["request_version"], told["response_version"]), ("2", "2"))
        answer = await self.get("/server_api_version", by=None)
        self.assertEqual(answer.json, {"min_api_version": 0, "max_api_version": 2})

    async def test_a_new_key(self) -> None:
        for by, given in (("web1", "one"), ("alice", "two")):
            answer = await self.ask("PUT", f"{CLIENTS}/web1", {"name": "web1", "public_key": pem_of(given)}, by=by)
            self.assertEqual((answer.status, answer.json["public_key"]), (200, pem_of(given)))
            self.assertNotIn("private_key", answer.json)
            self.assertTrue(await self.is_client("web1", given))
            self.assertFalse(await self.is_client("web1", "web1"))
        answer = await self.ask("PUT", f"{CLIENTS}/web1", {"private_key": True})
        key = parse_private_key(answer.json["private_key"].encode())
        self.assertEqual(await self.status("GET", f"{CLIENTS}/web1", by="web1", key=key), 200)
        self.assertFalse(await self.is_client("web1", "two"))

    async def test_from_version_1_on_keys_change_below_keys(self) -> None:
        for change in ({"public_key": pem_of("one")}, {"private_key": True}, {"create_key": True}):
            answer = await self.ask("PUT", f"{CLIENTS}/web1", change, api=1)
            self.assertEqual(
                answer.refusal, (400, "Since Server API v1, all keys must be updated via the keys endpoint.")
            )
        self.assertEqual(await self.status("PUT", f"{CLIENTS}/web1", {"name": "web1"}, api=1), 200)
        self.assertTrue(await self.is_client("web1", "web1"))

    async def test_another_name(self) -> None:
        answer = await self.ask("PUT", f"{CLIENTS}/web1", {"name": "web3"})
        uri = self.url(f"{CLIENTS}/web3")
        self.assertEqual((answer.status, answer.headers["location"], answer.json["name"]), (201, uri, "web3"))
        self.assertTrue(await self.is_client("web3", "web1"))
        self.assertFalse(await self.is_client("web1", "web1"))
        self.assertEqual((await self.ask("PUT", f"{CLIENTS}/web1", {"name": "x"})).status, 404)
        taken = await self.ask("PUT", f"{CLIENTS}/web3", {"name": "web2"})
        self.assertEqual(taken.refusal, (409, "Client already exists"))

    async def test_a_client_may_not_take_another_name(self) -> None:
        await self.ask("DELETE", f"{CLIENTS}/{VALIDATOR}")
        for name in (VALIDATOR, "web9"):
            answer = await self.ask("PUT", f"{CLIENTS}/web1", {"name": name}, by="web1")
            self.assertEqual(answer.refusal, (403, FORBIDDEN.format("web1")))

    async def test_nobody_else_changes_it(self) -> None:
        for by in ("rita", "web2", VALIDATOR):
            for method, value in (("GET", None), ("PUT", {"public_key": pem_of("thief")}), ("DELETE", None)):
                answer = await self.ask(method, f"{CLIENTS}/web1", value, by=by)
                self.assertEqual(answer.refusal, (403, FORBIDDEN.format(by)), method)
        self.assertEqual(await self.status("DELETE", f"{CLIENTS}/web1", by="web1"), 403)
        self.assertTrue(await self.is_client("web1", "web1"))

    async def test_who_has_the_name_of_a_client_but_is_a_user_is_not_it(self) -> None:
        change = {"public_key": pem_of("thief")}
        self.assertEqual(await self.status("PUT", f"{CLIENTS}/twin", change, by="twin"), 403)
        self.assertEqual(
            await self.status("PUT", f"{CLIENTS}/twin", change, by="twin", key=key_of("twin as client")), 200
        )

    async def test_it_goes(self) -> None:
        answer = await self.ask("DELETE", f"{CLIENTS}/web1")
        self.assertEqual((answer.status, answer.json["name"]), (200, "web1"))
        self.assertFalse(await self.is_client("web1", "web1"))
        for method in ("GET", "PUT", "DELETE"):
            answer = await self.ask(method, f"{CLIENTS}/web1", {})
            self.assertEqual(answer.refusal, (404, "Cannot load client web1"))

    async def test_a_session_ends_with_its_client_its_key_or_its_name(self) -> None:
        changes: list[tuple[str, str, object]] = [
            ("PUT", "", {"public_key": pem_of("new")}),
            ("PUT", "/keys/default", {"public_key": pem_of("newer")}),
            ("PUT", "", {"name": "web3"}),
        ]
        for method, path, value in [*changes, ("DELETE", "", None)]:
            name = "web2" if method == "DELETE" else "web1"
            node = NodeRef(ORG, name)
            pair = CurveKeyPair.make()
            before = await self.sessions.admit(node, curve_key=pair.public, version="2.0")
            other = await self.sessions.admit(NodeRef(ORG, "twin"), curve_key=CurveKeyPair.make().public, version="2.0")
            answer = await self.ask(method, f"{CLIENTS}/{name}{path}", value)
            self.assertIn(answer.status, (200, 201))
            self.assertIsNone(self.sessions.of(node))
            self.assertIsNone(self.sessions.by_peer(pair.public))
            self.assertIs(self.sessions.of(NodeRef(ORG, "twin")), other)
            self.assertNotIn(name, [registration.node for registration in await self.store.registrations()])
            after = await self.sessions.admit(node, curve_key=pair.public, version="2.0")
            self.assertNotEqual(before.session_key, after.session_key)

    async def test_what_changes_nothing_ends_no_session(self) -> None:
        session = await self.sessions.admit(NodeRef(ORG, "web1"), curve_key="k" * 40, version="2.0")
        self.assertEqual(await self.status("PUT", f"{CLIENTS}/web1", {"name": "web1", "admin": True}), 200)
        self.assertIs(self.sessions.of(NodeRef(ORG, "web1")), session)

    async def test_a_changed_body_must_be_one(self) -> None:
        rubbish: list[object] = [
            [],
            {"name": "a b"},
            {"public_key": "rubbish"},
            {"public_key": "\ud800"},
            {"private_key": 1},
        ]
        for change in rubbish:
            self.assertEqual(await self.status("PUT", f"{CLIENTS}/web1", change), 400, change)


class KeyTests(IdentityTestCase):
    async def test_the_keys_of_a_client(self) -> None:
        uri = self.url(f"{CLIENTS}/web1/keys/default")
        for by in ("alice", "web1"):
            answer = await self.ask("GET", f"{CLIENTS}/web1/keys", by=by)
            self.assertEqual(answer.json, [{"uri": uri, "name": "default", "expired": False}])
            answer = await self.ask("GET", f"{CLIENTS}/web1/keys/default", by=by)
            self.assertEqual(
                answer.json, {"name": "default", "public_key": pem_of("web1"), "expiration_date": "infinity"}
            )
        self.assertEqual(await self.status("GET", f"{CLIENTS}/web1/keys", by="web2"), 403)
        self.assertEqual((await self.ask("GET", f"{CLIENTS}/nobody/keys")).refusal, (404, "Cannot load client nobody"))
        self.assertEqual((await self.ask("GET", f"{CLIENTS}/web1/keys/x")).refusal, (404, "There is no key 'x'."))

    async def test_replacing_a_key(self) -> None:
        path = f"{CLIENTS}/web1/keys/default"
        answer = await self.ask("PUT", path, {"name": "default", "public_key": pem_of("new")}, api=1, by="web1")
        self.assertEqual(
            (answer.status, answer.json),
            (200, {"name": "default", "public_key": pem_of("new"), "expiration_date": "infinity"}),
        )
        self.assertEqual(await self.status("GET", path, by="web1"), 401)
        answer = await self.ask("PUT", path, {"create_key": True}, api=1, by="web1", key=key_of("new"))
        key = parse_private_key(answer.json["private_key"].encode())
        self.assertEqual(await self.status("GET", path, by="web1", key=key), 200)
        self.assertEqual(await self.status("PUT", path, {"create_key": True}, by="web2"), 403)
        self.assertEqual(await self.status("PUT", f"{CLIENTS}/web1/keys/x", {"create_key": True}), 404)
        for change in ({}, {"name": "x", "create_key": True}, {"create_key": True, "expiration_date": "2030"}):
            self.assertEqual(await self.status("PUT", path, change), 400, change)

    async def test_the_keys_of_a_user(self) -> None:
        path = "/users/rita/keys/default"
        for by in ("alice", "rita"):
            answer = await self.ask("GET", "/users/rita/keys", by=by, api=1)
            self.assertEqual(answer.json, [{"uri": self.url(path), "name": "default", "expired": False}])
        self.assertEqual(await self.status("GET", "/users/rita/keys", by="twin"), 403)
        self.assertEqual(await self.status("GET", path, by="twin"), 403)
        self.assertEqual(await self.status("PUT", path, {"create_key": True}, by="twin"), 403)
        answer = await self.ask("PUT", path, {"public_key": pem_of("new")}, by="rita")
        self.assertEqual((answer.status, answer.json["public_key"]), (200, pem_of("new")))
        self.assertEqual(await self.status("GET", path, by="rita"), 401)
        self.assertEqual(await self.status("GET", path, by="rita", key=key_of("new")), 200)
        self.assertEqual((await self.ask("GET", "/users/nobody/keys")).refusal, (404, "Cannot load user nobody"))
