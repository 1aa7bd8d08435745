"""Who signed a request: the vectors, every way in which a signature can be wrong, and in which order it is said."""

from typing import Any

from pushy_protocol.http_signing import sign
from tests.pushy_protocol.vectors import load
from tests.pushyd.identity.keys import key_of
from tests.pushyd.web.serving import BELOW, NOW, Answer, ApiTestCase

STATES = f"{BELOW}/node_states"
FORBIDDEN = "User or client '{}' does not have access to that action on this server."


class VectorTests(ApiTestCase):
    """What the original library signed is sent as it stands, with its own spelling of the headers."""

    async def test_every_vector_is_believed(self) -> None:
        for vector in load("http_signing")["vectors"]:
            if vector["method"] != "DELETE":
                answer = await self.send(vector)
                wanted = {"GET": 200, "POST": 201 if vector["user"] == "alice" else 403}[vector["method"]]
                self.assertEqual(answer.status, wanted, (vector["version"], vector["path"], answer))
                if wanted == 403:
                    self.assertEqual(answer.refusal[1], FORBIDDEN.format("web1.example.com"))

    async def test_a_vector_for_another_path_is_not(self) -> None:
        for vector in load("http_signing")["vectors"]:
            if vector["method"] == "GET":
                answer = await self.send({**vector, "path": f"{BELOW}/node_states/web1"})
                self.assertEqual(answer.refusal, (401, "Invalid signature for user or client 'alice'"))

    async def test_header_names_are_taken_in_any_case(self) -> None:
        for spell in (str.upper, str.lower, str.title):
            headers = {spell(name): value for name, value in self.signed("GET", STATES).items()}
            self.assertEqual((await self.raw(b"GET", STATES.encode(), headers)).status, 200, spell)

    async def send(self, vector: dict[str, Any]) -> Answer:
        headers = {**vector["headers"], "X-Ops-Server-API-Version": vector["server_api_version"]}
        return await self.raw(vector["method"].encode(), vector["path"].encode(), headers, vector["body"].encode())


class RefusalTests(ApiTestCase):
    """Each row of the table of section 1."""

    async def refused(self, changes: dict[str, str | None], **how: Any) -> tuple[int, str]:
        """How a request is refused whose headers were changed after it was signed."""
        signed: dict[str, str | None] = {**self.signed("GET", STATES, **how), **changes}
        headers = {name: value for name, value in signed.items() if value is not None}
        return (await self.get(STATES, by=None, headers=headers)).refusal

    async def test_a_required_header_is_missing_or_empty(self) -> None:
        for name in ("X-Ops-Sign", "X-Ops-UserId", "X-Ops-Timestamp", "X-Ops-Content-Hash"):
            for value in (None, ""):
                self.assertEqual(
                    await self.refused({name: value}), (400, f"missing required authentication header(s) '{name}'")
                )

    async def test_several_are_missing(self) -> None:
        self.assertEqual(
            (await self.get(STATES, by=None)).refusal,
            (
                400,
                "missing required authentication header(s) "
                "'X-Ops-Sign', 'X-Ops-UserId', 'X-Ops-Timestamp', 'X-Ops-Content-Hash'",
            ),
        )

    async def test_the_version_is_unknown(self) -> None:
        for sign_header in ("version=1.2;", "algorithm=sha256;version=1.4;", "rubbish", "algorithm=sha1;version=1.3;"):
            self.assertEqual(
                await self.refused({"X-Ops-Sign": sign_header}), (400, "Unsupported authentication protocol version")
            )

    async def test_the_last_semicolon_and_the_algorithm_may_be_left_out(self) -> None:
        for version in ("1.0", "1.1", "1.3"):
            headers = self.signed("GET", STATES, version=version)
            headers["X-Ops-Sign"] = f"version={version}"
            self.assertEqual((await self.get(STATES, by=None, headers=headers)).status, 200, version)

    async def test_the_timestamp_is_malformed(self) -> None:
        for timestamp in ("yesterday", "2026-01-31", "2026-02-31T12:00:00Z", "2026-01-31T12:00:00+01:00"):
            refusal = await self.refused({"X-Ops-Timestamp": timestamp})
            self.assertEqual(refusal, (401, "bad header(s) 'X-Ops-Timestamp'"))

    async def test_the_content_hash_is_not_the_bodys(self) -> None:
        for hashed in ("rubbish", "x" * 44, sign_hash(b"other")):
            refusal = await self.refused({"X-Ops-Content-Hash": hashed})
            self.assertEqual(refusal, (401, "bad header(s) 'X-Ops-Content-Hash'"))

    async def test_the_body_is_not_the_signed_one(self) -> None:
        headers = self.signed("POST", f"{BELOW}/jobs", body=b'{"command":"true","nodes":["web1"]}')
        answer = await self.post(f"{BELOW}/jobs", b'{"command":"halt","nodes":["web1"]}', by=None, headers=headers)
        self.assertEqual(answer.refusal, (401, "bad header(s) 'X-Ops-Content-Hash'"))
        self.assertEqual((await self.get(f"{BELOW}/jobs")).json, [])

    async def test_the_clock_is_off(self) -> None:
        signed = self.signed("GET", STATES)
        for skew, status in ((-901, 401), (-900, 200), (900, 200), (901, 401)):
            self.now = NOW + skew
            answer = await self.get(STATES, by=None, headers=signed)
            self.assertEqual(answer.status, status, skew)
            if status == 401:
                text = "Failed to authenticate as alice. Synchronize the clock on your host."
                self.assertEqual(answer.refusal[1], text)

    async def test_the_name_is_unknown(self) -> None:
        text = "Failed to authenticate as '{}'. Ensure that your node_name and client key are correct."
        for name in ("nobody", "ALICE", "web9", "' OR 1=1 --"):
            answer = await self.get(STATES, by=name, key=key_of("nobody"))
            self.assertEqual(answer.refusal, (401, text.format(name)))

    async def test_the_key_is_anothers(self) -> None:
        for version in ("1.0", "1.1", "1.3"):
            answer = await self.get(STATES, key=key_of("rita"), version=version)
            self.assertEqual(answer.refusal, (401, "Invalid signature for user or client 'alice'"))

    async def test_lines_of_the_signature_are_missing(self) -> None:
        names = [name for name in self.signed("GET", STATES) if name.startswith("X-Ops-Authorization-")]
        wrong: list[dict[str, str | None]] = [{name: None} for name in names]
        wrong += [dict.fromkeys(names), dict.fromkeys(names, "rubbish"), {names[0]: "*" * 60}]
        for changes in wrong:
            refusal = await self.refused(changes)
            self.assertEqual(refusal, (401, "Invalid signature for user or client 'alice'"), changes)

    async def test_the_user_is_of_another_organization(self) -> None:
        answer = await self.get(STATES, by="sam")
        self.assertEqual(answer.refusal, (403, "'sam' is not associated with organization 'acme'"))

    async def test_the_organization_is_unknown(self) -> None:
        for path in ("/organizations/nowhere/pushy/node_states", "/organizations/ACME/pushy/node_states"):
            answer = await self.get(path)
            self.assertEqual(answer.refusal, (404, f"organization '{path.split('/')[2]}' does not exist."))

    async def test_a_client_is_nobody_in_another_organization(self) -> None:
        text = "Failed to authenticate as 'web1'. Ensure that your node_name and client key are correct."
        for path in ("/organizations/other/pushy/node_states", "/organizations/nowhere/pushy/node_states"):
            self.assertEqual((await self.get(path, by="web1")).refusal, (401, text))

    async def test_a_name_that_is_a_user_and_a_client_may_use_either_key(self) -> None:
        for key in ("twin", "twin as client"):
            self.assertEqual((await self.get(STATES, by="twin", key=key_of(key))).status, 200)
        self.assertEqual((await self.get(STATES, by="twin", key=key_of("rita"))).status, 401)

    async def test_of_headers_that_are_there_twice_only_one_counts(self) -> None:
        """Whatever a proxy before us looked at, signature and caller are those of one value."""
        connection = await self.connect()
        lines = [f"{name}: {value}" for name, value in self.signed("GET", STATES).items()]
        lines.insert(0, "X-Ops-UserId: web1")
        request = "\r\n".join([f"GET {STATES} HTTP/1.1", f"Host: {self.host}", *lines, "", ""])
        connection.write(request.encode())
        self.assertEqual((await connection.answer()).status, 200)


class OrderTests(ApiTestCase):
    """Size, authentication, authorization, validation: a stranger learns nothing of what comes later."""

    JOBS = f"{BELOW}/jobs"

    async def test_size_comes_before_everything(self) -> None:
        answer = await self.raw(b"POST", self.JOBS.encode(), body=b"x" * 1_000_001)
        self.assertEqual((answer.status, answer.error), (413, "JSON must be no more than 1000000 bytes."))

    async def test_authentication_comes_before_authorization_and_validation(self) -> None:
        self.assertEqual((await self.post(self.JOBS, b"{}", by=None)).status, 400)
        self.assertEqual((await self.post(self.JOBS, b"{}", by="web1", key=key_of("rita"))).status, 401)
        self.assertEqual((await self.get(f"{BELOW}/config/web1", by="web1", key=key_of("rita"))).status, 401)

    async def test_authentication_comes_before_the_organization_is_looked_for(self) -> None:
        answer = await self.get("/organizations/nowhere/pushy/jobs", key=key_of("rita"))
        self.assertEqual(answer.refusal, (401, "Invalid signature for user or client 'alice'"))

    async def test_authorization_comes_before_validation(self) -> None:
        for body in (b"", b"{", b'{"command": 1}'):
            self.assertEqual((await self.post(self.JOBS, body, by="rita")).refusal, (403, FORBIDDEN.format("rita")))
            self.assertEqual((await self.post(self.JOBS, body)).status, 400)

    async def test_authorization_comes_before_what_there_is(self) -> None:
        await self.store.create_group("acme", "pushy_job_readers")
        for path in (f"{BELOW}/jobs/{'0' * 32}", f"{BELOW}/jobs/{'0' * 32}/output/web1/stdout"):
            self.assertEqual((await self.get(path, by="rita")).refusal, (403, FORBIDDEN.format("rita")))


def sign_hash(body: bytes) -> str:
    """The content hash of a body."""
    headers = sign(private_key=key_of("rita"), user="rita", method="POST", path="/", body=body, now=NOW)
    return headers["X-Ops-Content-Hash"]
