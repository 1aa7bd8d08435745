"""New clients, in Chef's words."""

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pushy_protocol.keys import parse_private_key, private_pem
from tests.pushyd.identity.keys import key_of, pem_of
from tests.pushyd.web.serving import BELOW, ORG, ApiTestCase

CLIENTS = f"/organizations/{ORG}/clients"
VALIDATOR = f"{ORG}-validator"
ELLIPTIC = ec.generate_private_key(ec.SECP256R1()).public_key()


class ClientTests(ApiTestCase):
    async def test_with_a_key_no_key_is_returned(self) -> None:
        for by in (VALIDATOR, "alice"):
            name = f"new.of-{by}_1"
            answer = await self.post(CLIENTS, {"name": name, "public_key": pem_of("new")}, by=by)
            self.assertEqual(answer.status, 201)
            uri = f"http://{self.host}{CLIENTS}/{name}"
            self.assertEqual((answer.json, answer.headers["location"]), ({"uri": uri}, uri))
            self.assertEqual((await self.get(f"{BELOW}/node_states", by=name, key=key_of("new"))).status, 200)

    async def test_without_a_key_one_is_made(self) -> None:
        for name, given in (("one", {}), ("two", {"public_key": None})):
            answer = await self.post(CLIENTS, {"name": name, **given}, by=VALIDATOR)
            self.assertEqual((answer.status, list(answer.json)), (201, ["uri", "private_key"]))
            key = parse_private_key(answer.json["private_key"].encode())
            self.assertEqual(key.key_size, 2048)
            self.assertEqual((await self.get(f"{BELOW}/node_states", by=name, key=key)).status, 200)

    async def test_chefs_own_keys_are_ignored(self) -> None:
        body = {"name": "new", "public_key": pem_of("new"), "admin": False, "validator": False, "create_key": False}
        self.assertEqual((await self.post(CLIENTS, body)).status, 201)

    async def test_a_new_client_may_not_start_jobs(self) -> None:
        await self.post(CLIENTS, {"name": "new", "public_key": pem_of("new")}, by=VALIDATOR)
        job = {"command": "true", "nodes": ["new"]}
        self.assertEqual((await self.post(f"{BELOW}/jobs", job, by="new")).status, 403)

    async def test_nobody_else_makes_clients(self) -> None:
        await self.store.create_group(ORG, "pushy_job_writers")
        await self.store.add_to_group(ORG, "pushy_job_writers", "user", "rita")
        for by in ("rita", "web1", "twin"):
            answer = await self.post(CLIENTS, {"name": "new"}, by=by)
            text = f"User or client '{by}' does not have access to that action on this server."
            self.assertEqual(answer.refusal, (403, text))
        self.assertEqual(await self.store.principals(ORG, "new"), [])

    async def test_a_user_with_the_validators_name_is_none(self) -> None:
        await self.store.create_user(VALIDATOR, pem_of("impostor"), [ORG])
        answer = await self.post(CLIENTS, {"name": "new"}, by=VALIDATOR, key=key_of("impostor"))
        self.assertEqual(answer.status, 403)

    async def test_the_validator_of_another_organization_is_none(self) -> None:
        await self.store.create_client(ORG, "other-validator", pem_of("other-validator"))
        self.assertEqual((await self.post(CLIENTS, {"name": "new"}, by="other-validator")).status, 403)

    async def test_a_name_that_is_taken_keeps_its_key(self) -> None:
        for by in (VALIDATOR, "alice"):
            answer = await self.post(CLIENTS, {"name": "web1", "public_key": pem_of("thief")}, by=by)
            self.assertEqual(answer.refusal, (409, "Client already exists"))
        self.assertEqual((await self.get(f"{BELOW}/node_states", by="web1", key=key_of("thief"))).status, 401)
        self.assertEqual((await self.get(f"{BELOW}/node_states", by="web1")).status, 200)

    async def test_the_name_of_a_user_is_free_and_lends_nothing(self) -> None:
        answer = await self.post(CLIENTS, {"name": "alice", "public_key": pem_of("node")}, by=VALIDATOR)
        self.assertEqual(answer.status, 201)
        job = {"command": "true", "nodes": ["web1"]}
        self.assertEqual((await self.post(f"{BELOW}/jobs", job, by="alice", key=key_of("node"))).status, 403)

    async def test_a_name_that_cannot_be(self) -> None:
        for name in ("", "a b", "a/b", "é", "a\n", "x" * 256, "<b>", None, 1):
            answer = await self.post(CLIENTS, {"name": name}, by=VALIDATOR)
            self.assertEqual(answer.status, 400, name)
            self.assertTrue(answer.refusal[1].startswith("name: expected"), answer.refusal)
        self.assertEqual((await self.post(CLIENTS, {}, by=VALIDATOR)).status, 400)

    async def test_a_key_that_is_none(self) -> None:
        elliptic = ELLIPTIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        for pem in ("rubbish", elliptic, private_pem(key_of("new")).decode(), pem_of("new")[:-60]):
            answer = await self.post(CLIENTS, {"name": "new", "public_key": pem}, by=VALIDATOR)
            self.assertEqual(answer.status, 400)
            self.assertTrue(answer.refusal[1].startswith("public_key: expected an RSA public key"), answer.refusal)
        self.assertEqual((await self.post(CLIENTS, {"name": "new", "public_key": 1}, by=VALIDATOR)).status, 400)
        self.assertEqual(await self.store.principals(ORG, "new"), [])
