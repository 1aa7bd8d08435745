"""``pushyd-ctl check`` with a Chef Server: each request that pushyd will need, and what is said of one that fails."""

from collections.abc import Sequence
from pathlib import Path

from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.web.server import Site

from demo.chef.server import Mood
from pushyd.certificates import issue, make_authority
from pushyd.ctl.chef_checks import findings
from pushyd.ctl.finding import Finding
from pushyd.identity.chef_http import ChefHttp
from pushyd.store.interface import Organization
from tests.pushyd.identity.chef import US, ChefCase, reactor
from tests.pushyd.identity.keys import key_of, pem_of

ACME = "Chef Server, organization acme: "


class ChefCheckTests(ChefCase):
    async def look(self, *names: str, http: ChefHttp | None = None, guid: str = "") -> Sequence[Finding]:
        kept = [Organization(name=name, guid=guid) for name in names or ("acme",)]
        return [finding async for finding in findings(http or self.http, kept)]

    async def wrong(self, *names: str, http: ChefHttp | None = None, guid: str = "") -> list[tuple[str, str, str]]:
        found = await self.look(*names, http=http, guid=guid)
        return [(one.what, one.text, one.mend) for one in found if one.mend is not None]

    async def test_all_is_well(self) -> None:
        self.world.make_group("acme", "admins", users=["boss"])
        self.world.make_group("acme", "inner", clients=["robot"])
        self.world.make_group("acme", "pushy_job_writers", users=[US], groups=["inner", "gone"])
        found = await self.look()
        self.assertEqual(
            [(one.what, one.text) for one in found],
            [
                (ACME + "principals", "can be read, as pushy"),
                (ACME + "itself", "can be read"),
                (ACME + "clients", "can be listed (0)"),
                (ACME + "group admins", "can be read (1 users and clients, 0 groups)"),
                (ACME + "group pushy_job_writers", "can be read (1 users and clients, 2 groups)"),
                (
                    ACME + "group pushy_job_readers",
                    "is not there: everybody in the organization may look at jobs and nodes",
                ),
                (ACME + "group gone", "is not there: nobody is in it"),
                (ACME + "group inner", "can be read (1 users and clients, 0 groups)"),
            ],
        )
        self.assertFalse([one for one in found if one.mend])

    async def test_each_right_that_is_missing_is_named(self) -> None:
        for part, what in (
            ("acme", "the organization"),
            ("clients", "the list of clients"),
            ("admins", "group 'admins'"),
            ("pushy_job_writers", "group 'pushy_job_writers'"),
            ("pushy_job_readers", "group 'pushy_job_readers'"),
        ):
            self.chef.mood = Mood(denied=frozenset({(US, part)}))
            # The path of a list ends with an organization's name before; only the thing itself is denied.
            wrong = [one for one in await self.wrong() if what in one[1]]
            ((_, text, mend),) = wrong
            self.assertEqual(
                text,
                f"{self.url}, {what}: the push server has no right to it (missing read permission)",
            )
            self.assertIn(f"it needs READ on {what}", mend)

    async def test_we_do_not_belong_to_the_organization(self) -> None:
        self.world.organizations["acme"].members.discard(US)
        wrong = await self.wrong()
        self.assertEqual(
            wrong[0],
            (
                ACME + "principals",
                "'pushy' does not belong to the organization",
                "on the Chef Server: chef-server-ctl org-user-add acme pushy",
            ),
        )

    async def test_an_organization_that_is_not_there_keeps_no_other_from_being_looked_at(self) -> None:
        found = await self.look("nowhere", "acme")
        self.assertEqual((found[0].what, found[0].text), ("Chef Server, organization nowhere", "it is not there"))
        self.assertEqual(found[1].what, ACME + "principals")

    async def test_another_organization_of_that_name(self) -> None:
        guid = self.world.organizations["acme"].guid
        self.assertEqual(await self.wrong(guid=guid), [])
        ((what, _, mend),) = await self.wrong(guid="another")
        self.assertEqual((what, mend), (ACME + "itself", f"to let it have them: pushyd-ctl org adopt acme {guid}"))

    async def test_what_is_the_same_with_each_request_is_said_once(self) -> None:
        html = b"<html>"
        for mood, text, mend in (
            (Mood(breaks_off=True), "the connection was closed before the answer", "see that it runs"),
            (Mood(redirect="https://chef.example"), "it redirects (to https://chef.example/", "set identity.chef"),
        ):
            self.chef.mood = mood
            self.clock.advance(60)
            ((_, said, mended),) = await self.wrong("acme", "other")
            self.assertIn(text, said)
            self.assertIn(mend, mended)
        self.chef.mood = Mood(instead=lambda path: (200, html))
        ((_, said, _),) = await self.wrong("acme", "other")
        self.assertIn("an answer cannot be read", said)

    def serve_tls(self) -> str:
        """The double with a certificate that nobody trusts; its URL."""
        issued = issue(make_authority("localhost"), ["localhost"])
        certificate, key = Path("certificate.pem"), Path("key.pem")
        certificate.write_bytes(issued.certificate_pem)
        key.write_bytes(issued.key_pem)
        tls = DefaultOpenSSLContextFactory(str(key), str(certificate))
        port = reactor.listenSSL(0, Site(self.chef), tls, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return f"https://localhost:{port.getHost().port}"

    async def test_a_certificate_that_is_not_trusted(self) -> None:
        url = self.serve_tls()
        ((_, said, mend),) = await self.wrong("acme", "other", http=self.make_http(url=url))
        self.assertIn("TLS: certificate verify failed", said)
        self.assertIn("identity.trusted_certs_dir", mend)

    async def test_our_key_is_not_the_one(self) -> None:
        ((_, said, mend),) = await self.wrong("acme", "other", http=self.make_http(key=key_of("stranger")))
        self.assertIn(
            "it does not accept the push server's own key (Invalid signature for user or client 'pushy')", said
        )
        self.assertIn("identity.client_key", mend)

    async def test_a_client_can_be_who_asks(self) -> None:
        self.world.make_client("acme", "push-server", pem_of("push-server"))
        self.world.organizations["acme"].groups["admins"].clients.add("push-server")
        self.assertEqual(await self.wrong(http=self.make_http(user="push-server", key=key_of("push-server"))), [])
