"""A Chef Server as identity: what is asked of it and how often, the versions of its API, and its bad days."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from demo.chef.server import Mood
from pushy_protocol.keys import public_pem
from pushyd.identity.chef_http import LOG_SECONDS, PAUSE_SECONDS, ChefFault
from pushyd.identity.chef_server import ChefServer
from pushyd.identity.interface import UnknownOrganization
from pushyd.store.interface import Organization
from tests.pushyd.doubles import begin, texts
from tests.pushyd.identity.chef import US, ChefCase
from tests.pushyd.identity.keys import key_of, pem_of

KEY = "Failed to connect to the Chef Server to get key: "


class ChefServerCase(ChefCase):
    def setUp(self) -> None:
        super().setUp()
        self.chef_server: ChefServer = self.make_identity(self.http)
        self.world.make_client("acme", "web1", pem_of("web1"))

    async def known(self, name: str = "web1", server: ChefServer | None = None) -> list[Any]:
        """The keys of a name."""
        found = await (server or self.chef_server).principals("acme", name)
        return [key for principal in found for key in principal.public_keys]

    async def fault(self, server: ChefServer | None = None) -> str:
        try:
            await self.known(server=server)
        except ChefFault as error:
            return str(error)
        raise AssertionError("there was an answer")

    @contextmanager
    def logged(self) -> Iterator[list[LogEvent]]:
        events: list[LogEvent] = []
        observer = cast("ILogObserver", events.append)
        globalLogPublisher.addObserver(observer)
        try:
            yield events
        finally:
            globalLogPublisher.removeObserver(observer)


class AskingTests(ChefServerCase):
    async def test_each_thing_is_asked_for_once_in_its_lifetime(self) -> None:
        for _ in range(3):
            self.assertEqual(await self.known(), [key_of("web1").public_key()])
            self.assertEqual(await self.known("nobody"), [])
            self.assertIsNotNone(await self.chef_server.group("acme", "admins"))
            self.assertIsNone(await self.chef_server.group("acme", "pushy_job_readers"))
            self.assertTrue(await self.chef_server.organization_exists("acme"))
        self.assertEqual(self.asked(), ["web1", "nobody", "admins", "pushy_job_readers", "acme"])
        self.clock.advance(10)
        await self.known()
        await self.known("nobody")
        self.assertEqual(self.asked(), ["nobody"])

    async def test_an_organization_that_is_not_there_is_not_asked_for_by_everybody(self) -> None:
        for name in ("alice", "bob", "carol"):
            await self.assertFailure(begin(self.chef_server.principals("nowhere", name)), UnknownOrganization)
        self.assertEqual(self.asked(), ["alice"])
        self.clock.advance(10)
        self.world.make_organization("nowhere")
        self.assertEqual(await self.chef_server.principals("nowhere", "alice"), ())

    async def test_a_deleted_client_is_nobody_after_the_lifetime_of_what_is_held(self) -> None:
        await self.known()
        self.world.delete_client("acme", "web1")
        self.clock.advance(59)
        self.assertEqual(len(await self.known()), 1)
        self.clock.advance(1)
        self.assertEqual(await self.known(), [])

    async def test_look_ups_of_one_name_share_a_request_and_connections_are_used_again(self) -> None:
        self.chef.mood = Mood(delay=0.05)
        found = await gatherResults([begin(self.known()) for _ in range(20)])
        self.assertEqual(len(found), 20)
        self.assertEqual(self.asked(), ["web1"])
        for name in ("a", "b", "c"):
            await self.known(name)
        # Twisted keeps a connection under the scheme, host and port.
        self.assertEqual([len(kept) for kept in self.pool._connections.values()], [1])

    async def test_few_are_asked_for_at_a_time(self) -> None:
        self.chef.mood = Mood(delay=0.02)
        server = self.make_identity(self.make_http(concurrency=2))
        before = self.chef.most_at_once
        self.assertEqual(before, 0)
        names = [f"n{number}" for number in range(7)]
        await gatherResults([begin(self.known(name, server)) for name in names])
        self.assertEqual(self.chef.most_at_once, 2)
        self.assertEqual(sorted(self.asked()), names)

    async def test_versions_of_the_server_api(self) -> None:
        self.world.make_user("twin", pem_of("user"), pem_of("user 2"), member_of=("acme",))
        self.world.make_client("acme", "twin", pem_of("client"))
        everyone = {pem_of(name) for name in ("user", "user 2", "client")}
        for versions, asked, found in (
            (range(3), ["1"], everyone),
            (range(2), ["1"], everyone),
            (range(2, 3), ["1", "2"], everyone),
            (range(1), ["1", "0"], {pem_of("client")}),
            (None, ["1"], {pem_of("client")}),
        ):
            self.chef.mood = Mood(versions=versions)
            self.chef.seen.clear()
            server = self.make_identity(self.make_http())
            self.assertEqual({public_pem(key) for key in await self.known("twin", server)}, found, versions)
            self.assertEqual([one.version for one in self.chef.seen], asked)
            self.assertEqual(await self.known("nobody", server), [])
            self.assertEqual(len(self.chef.seen), len(asked) + 1, "what was agreed on is kept")

    async def test_a_server_whose_versions_we_do_not_speak(self) -> None:
        self.chef.mood = Mood(versions=range(7, 9))
        self.assertEqual(await self.fault(), KEY + "HTTP 406")

    async def test_every_version_of_the_signature(self) -> None:
        for version in ("1.0", "1.1", "1.3"):
            self.chef.mood = Mood(signatures=frozenset({version}))
            server = self.make_identity(self.make_http(version=version))
            self.assertEqual(len(await self.known(server=server)), 1, version)

    async def test_what_is_read_of_a_group_of_another_organization_counts_for_nothing(self) -> None:
        self.world.make_group("acme", "pushy_job_writers", groups=["::server-admins", "other::writers", "mine"])
        group = await self.chef_server.group("acme", "pushy_job_writers")
        assert group is not None
        self.assertEqual(group.groups, {"mine"})

    async def test_the_clients_are_asked_for_each_time(self) -> None:
        self.assertEqual(await self.chef_server.clients("acme"), {"web1"})
        self.world.make_client("acme", "web2")
        self.assertEqual(await self.chef_server.clients("acme"), {"web1", "web2"})
        self.assertEqual(await self.chef_server.clients("gone"), set())


class OrganizationTests(ChefServerCase):
    async def test_an_organization_is_kept_with_its_guid(self) -> None:
        await self.chef_server.organization_exists("acme")
        guid = self.world.organizations["acme"].guid
        expected = Organization(name="acme", guid=guid, full_name="The acme organization")
        self.assertEqual(self.organizations.kept, {"acme": expected})
        self.assertFalse(await self.chef_server.organization_exists("nowhere"))
        self.assertEqual(list(self.organizations.kept), ["acme"])

    async def test_a_server_that_has_no_guids(self) -> None:
        self.chef.mood = Mood(instead=lambda path: (200, b'{"name":"acme"}') if path.endswith("/acme") else None)
        for _ in range(2):
            self.assertTrue(await self.chef_server.organization_exists("acme"))
            self.clock.advance(60)
        self.assertEqual(len(self.organizations.kept["acme"].guid), 32)

    async def test_another_organization_of_the_same_name_does_not_get_the_jobs_of_the_first(self) -> None:
        await self.chef_server.organization_exists("acme")
        self.world.make_organization("acme", guid="another")
        self.world.make_user(US, pem_of(US), member_of=("acme",))
        server = self.make_identity(self.http)
        with self.logged() as events:
            for _ in range(3):
                try:
                    await server.organization_exists("acme")
                except ChefFault as error:
                    self.assertIn("is another one than that whose jobs are kept here", str(error))
                else:
                    self.fail("it was taken for the first")
        (line,) = texts(events, "error")
        self.assertIn("pushyd-ctl org adopt acme another", line)


class ChefZeroTests(ChefServerCase):
    """Answers in the form of chef-zero, which has its own ideas of some things."""

    def answer(self, path: str) -> tuple[int, bytes]:
        below = path.removeprefix("/organizations/acme")
        principal = {
            "name": "web1",
            "type": "client",
            "public_key": pem_of("web1"),
            "authz_id": "0" * 32,
            "org_member": True,
        }
        stranger = principal | {"name": "sam", "type": "user", "org_member": False}
        answers: dict[str, object] = {
            "": {
                "name": "acme",
                "full_name": "acme",
                "org_type": "Business",
                "clientname": "acme-validator",
                "billing_plan": "platform-free",
            },
            "/principals/web1": principal if self.version == "0" else {"principals": [principal]},
            "/principals/sam": stranger if self.version == "0" else {"principals": [stranger]},
            "/groups/admins": {
                "actors": ["pivotal", "robot", "alice"],
                "users": ["pivotal", "alice"],
                "clients": ["robot"],
                "groups": ["ops"],
                "orgname": "acme",
                "name": "admins",
                "groupname": "admins",
            },
            "/clients": {"acme-validator": "http://localhost:8889/organizations/acme/clients/acme-validator"},
        }
        if below in answers:
            return 200, json.dumps(answers[below]).encode()
        return 404, json.dumps({"error": [f"Object not found: http://localhost:8889{path}"]}).encode()

    async def test_all_that_is_asked(self) -> None:
        for self.version in ("0", "1"):
            self.chef.mood = Mood(instead=self.answer)
            server = self.make_identity(self.make_http())
            self.assertEqual(await self.known(server=server), [key_of("web1").public_key()])
            self.assertEqual([one.associated for one in await server.principals("acme", "sam")], [False])
            self.assertEqual(await server.principals("acme", "nobody"), ())
            self.assertTrue(await server.organization_exists("acme"))
            self.assertFalse(await server.organization_exists("nowhere"))
            group = await server.group("acme", "admins")
            assert group
            self.assertEqual((group.users, group.clients, group.groups), ({"pivotal", "alice"}, {"robot"}, {"ops"}))
            self.assertIsNone(await server.group("acme", "pushy_job_writers"))
            self.assertEqual(await server.clients("acme"), {"acme-validator"})


class BadDaysTests(ChefServerCase):
    async def test_rights_stay_as_they_were_also_where_there_was_no_group(self) -> None:
        await self.chef_server.group("acme", "pushy_job_writers")
        await self.chef_server.group("acme", "admins")
        self.chef.mood = Mood(breaks_off=True)
        self.clock.advance(60)
        self.assertIsNone(await self.chef_server.group("acme", "pushy_job_writers"))
        self.assertIsNotNone(await self.chef_server.group("acme", "admins"))
        self.clock.advance(900)
        await self.assertFailure(begin(self.chef_server.group("acme", "pushy_job_writers")), ChefFault)

    async def test_away(self) -> None:
        await self.known()
        await self.stop_chef()
        self.clock.advance(60)
        self.assertEqual(len(await self.known()), 1, "who was known still is")
        self.assertEqual(await self.fault(self.make_identity(self.make_http())), KEY + "connection refused")
        self.start_chef()
        self.world.delete_client("acme", "web1")
        self.clock.advance(PAUSE_SECONDS)
        self.assertEqual(await self.known(), [])

    async def test_while_it_is_away_it_is_not_asked_by_everybody(self) -> None:
        self.chef.mood = Mood(breaks_off=True)
        await self.fault()
        self.asked()
        for _ in range(10):
            self.assertEqual(await self.fault(), KEY + "the connection was closed before the answer")
        self.assertEqual(self.asked(), [])
        self.clock.advance(PAUSE_SECONDS)
        await self.fault()
        self.assertEqual(set(self.asked()), {"web1"})

    async def test_thousands_who_wait_hear_at_once_that_it_is_away(self) -> None:
        self.chef.mood = Mood(until=Deferred())
        came = begin(self.chef.came())
        server = self.make_identity(self.make_http(concurrency=1))
        asked = [begin(server.principals("acme", f"n{number}")) for number in range(3000)]
        await came
        with self.logged() as events:
            self.clock.advance(10)
            for one in asked:
                await self.assertFailure(one, ChefFault)
        self.assertEqual(len(texts(events, "error")), 1)
        self.assertEqual(self.asked(), ["n0"])

    async def test_who_waits_for_too_long_is_not_asked_for_any_more(self) -> None:
        waiting: Deferred[None] = Deferred()
        self.chef.mood = Mood(until=waiting)
        came = begin(self.chef.came())
        server = self.make_identity(self.make_http(concurrency=1, timeout=100))
        first = begin(server.principals("acme", "web1"))
        asked = [begin(server.principals("acme", f"n{number}")) for number in range(3000)]
        await came
        self.clock.advance(31)
        waiting.callback(None)
        self.assertEqual(len(await first), 1)
        for one in asked:
            fault = await self.assertFailure(one, ChefFault)
            self.assertEqual(str(fault), KEY + "it is too slow")
        self.assertEqual(self.asked(), ["web1"])

    async def test_a_line_a_minute(self) -> None:
        self.chef.mood = Mood(breaks_off=True)
        with self.logged() as events:
            for _ in range(50):
                await self.fault()
            self.assertEqual(len(texts(events, "error")), 1)
            self.clock.advance(LOG_SECONDS)
            await self.fault()
            lines = texts(events, "error")
            self.assertEqual(len(lines), 2)
            self.assertIn(f"The Chef Server {self.url} cannot be asked for key, as {US}", lines[0])
            self.assertTrue(lines[0].endswith("1 requests failed"), lines)
            self.assertTrue(lines[1].endswith("50 requests failed"), lines)
            self.chef.mood = Mood()
            self.clock.advance(PAUSE_SECONDS)
            await self.known()
            ours = [text for text in texts(events, "info") if "Chef" in text]
            self.assertEqual(ours, [f"The Chef Server {self.url} answers again"])
            self.assertFalse([text for text in texts(events, "info") if "HTTP11Client" in text])

    async def test_too_slow(self) -> None:
        never: Deferred[None] = Deferred()
        self.chef.mood = Mood(until=never)
        asked = begin(self.fault())
        await self.chef.came()
        self.clock.advance(10)
        self.assertEqual(await asked, KEY + "no answer within 10 s")

    async def test_answers_that_are_none(self) -> None:
        html = b"<html><h1>404 Not Found</h1>nginx</html>"
        cases: list[tuple[tuple[int, bytes], str]] = [
            ((404, html), "what answers is no Chef Server (HTTP 404)"),
            ((200, html), "its answer cannot be read"),
            ((200, b"[]"), "its answer cannot be read"),
            ((200, b'{"principals":[{"name":1}]}'), "its answer cannot be read"),
            ((200, b'{"principals":{}}'), "its answer cannot be read"),
            ((502, html), "what answers is no Chef Server (HTTP 502)"),
            ((500, b'{"error":["internal service error"]}'), "HTTP 500"),
            ((403, b'{"error":["missing read permission"]}'), "the push server has no right to it"),
            ((401, b'{"error":["Invalid signature"]}'), "it does not accept the push server's own key"),
            ((406, b"{}"), "what answers is no Chef Server (HTTP 406)"),
            ((204, b""), "what answers is no Chef Server (HTTP 204)"),
        ]
        for answer, reason in cases:
            self.chef.mood = Mood(instead=_always(answer))
            self.assertEqual(await self.fault(), KEY + reason)
        self.chef.mood = Mood()
        self.assertEqual(len(await self.known()), 1, "none of them was held")

    async def test_a_group_is_not_taken_for_missing_where_somebody_else_answers(self) -> None:
        """For readers, that would open what they alone may read."""
        self.chef.mood = Mood(instead=_always((404, b"<html>not here</html>")))
        await self.assertFailure(begin(self.chef_server.group("acme", "pushy_job_readers")), ChefFault)

    async def test_a_redirect_is_not_followed_and_told(self) -> None:
        self.chef.mood = Mood(redirect="https://chef.example")
        with self.logged() as events:
            self.assertEqual(await self.fault(), KEY + "it redirects")
        (line,) = texts(events, "error")
        self.assertIn("to https://chef.example/organizations/acme/principals/web1", line)

    async def test_what_another_server_says_writes_no_lines_into_the_log(self) -> None:
        self.chef.mood = Mood(instead=_always((500, b'{"error":"\\u001b[31m a\\n2026 b"}')))
        with self.logged() as events:
            await self.fault()
        (line,) = texts(events, "error")
        self.assertIn("HTTP 500 (?[31m a 2026 b)", line)

    async def test_our_own_key_is_not_the_one(self) -> None:
        server = self.make_identity(self.make_http(key=key_of("stranger")))
        self.assertEqual(await self.fault(server), KEY + "it does not accept the push server's own key")

    async def test_a_name_that_cannot_be_resolved_is_told_to_the_operator_only(self) -> None:
        server = self.make_identity(self.make_http(url="http://chef.invalid"))
        with self.logged() as events:
            self.assertEqual(await self.fault(server), KEY + "its name cannot be resolved")
        self.assertIn("chef.invalid", texts(events, "error")[0])

    async def test_keys_that_cannot_be_read_are_none(self) -> None:
        self.world.make_client("acme", "odd", "no key", pem_of("odd"), "é\ud800".encode("utf-8", "replace").decode())
        self.assertEqual(await self.known("odd"), [key_of("odd").public_key()])

    async def test_an_answer_about_somebody_else_is_about_nobody(self) -> None:
        found = b'{"name":"root","type":"user","public_key":"x","org_member":true}'
        self.chef.mood = Mood(instead=_always((200, found)))
        self.assertEqual(await self.known(), [])

    async def test_a_user_of_whom_it_is_not_said_is_no_member(self) -> None:
        for kind, is_member in (("user", False), ("client", True)):
            found = b'{"name":"%s","type":"%s","public_key":"x"}' % (kind.encode(), kind.encode())
            self.chef.mood = Mood(instead=_always((200, found)))
            (principal,) = await self.chef_server.principals("acme", kind)
            self.assertEqual(principal.associated, is_member)


def _always(answer: tuple[int, bytes]) -> Callable[[str], tuple[int, bytes]]:
    return lambda path: answer
