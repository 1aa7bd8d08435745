"""Whatever is sent to Chef's paths: it is refused or taken, and never a fault of the server."""

import json

from tests.pushyd.web.serving import ORG
from tests.pushyd.web.test_identity_clients import IdentityTestCase

BELOW = f"/organizations/{ORG}"
WRITES = [
    ("POST", "/users"),
    ("PUT", "/users/rita"),
    ("PUT", "/users/rita/keys/default"),
    ("POST", "/organizations"),
    ("PUT", BELOW),
    ("POST", f"{BELOW}/clients"),
    ("PUT", f"{BELOW}/clients/web1"),
    ("PUT", f"{BELOW}/clients/web1/keys/default"),
    ("POST", f"{BELOW}/groups"),
    ("PUT", f"{BELOW}/groups/admins"),
    ("POST", f"{BELOW}/users"),
    ("POST", f"{BELOW}/nodes"),
    ("PUT", f"{BELOW}/nodes/web1"),
    ("POST", f"{BELOW}/search/node"),
    ("POST", f"{BELOW}/pushy/config/web1"),
]
STRINGS = ("\0", "\ud800", "\ufdd0", "../x", "a b", "", "x" * 300)
BODIES = [
    b"",
    b"{",
    b"\xff",
    b"null",
    b"[]",
    b"1e999",
    b"[" * 10_000,
    *(json.dumps({key: text}).encode() for text in STRINGS[:3] for key in ("name", "username", "public_key", "users")),
    *(json.dumps({"name": text, "full_name": text, "email": text}).encode() for text in STRINGS),
    json.dumps({"actors": {"users": ["\ud800"], "clients": ["\0"], "groups": [""]}}).encode(),
    json.dumps({"a": ["\ud800", "\0"]}).encode(),
]
READS = [
    "/users/{}",
    "/users/{}/keys/{}",
    f"{BELOW}/users/{{}}",
    f"{BELOW}/clients/{{}}",
    f"{BELOW}/clients/{{}}/keys",
    f"{BELOW}/clients/web1/keys/{{}}",
    f"{BELOW}/groups/{{}}",
    f"{BELOW}/principals/{{}}",
    f"{BELOW}/nodes/{{}}",
    f"{BELOW}/search/{{}}",
]


class HostileTests(IdentityTestCase):
    async def test_bodies(self) -> None:
        for method, path in WRITES:
            for body in BODIES:
                answer = await self.call(method, path, body=body)
                self.assertLess(answer.status, 500, (method, path, body[:100]))
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_names_in_paths(self) -> None:
        for path in READS:
            for name in ("%00", "%F0%9F%98%80", "%ED%A0%80", "a%20b", "%EF%B7%90", "'--", "x" * 5000):
                answer = await self.call("GET", path.format(name, name))
                self.assertEqual(answer.status, 404, (path, name))
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_strangers_learn_nothing(self) -> None:
        for method, path in WRITES:
            self.assertEqual((await self.call(method, path, by=None)).status, 400)
            unknown = await self.call(method, path, by="nobody")
            self.assertEqual(unknown.status, 401)
            if path.startswith(BELOW):
                self.assertEqual((await self.call(method, path, by="sam")).status, 403)
