"""Users, organizations and principals: over the API as knife asks for them."""

from pushy_protocol.keys import parse_private_key
from tests.pushyd.identity.keys import key_of, pem_of
from tests.pushyd.web.serving import ORG
from tests.pushyd.web.test_identity_clients import FORBIDDEN, VALIDATOR, IdentityTestCase

MEMBERS = f"/organizations/{ORG}/users"


class UserTests(IdentityTestCase):
    async def test_the_list_is_for_who_administers_the_server(self) -> None:
        answer = await self.ask("GET", "/users")
        names = ("alice", "rita", "sam", "twin")
        self.assertEqual((answer.status, answer.json), (200, {n: self.url(f"/users/{n}") for n in names}))
        for by in ("rita", "sam"):
            self.assertEqual((await self.ask("GET", "/users", by=by)).refusal, (403, FORBIDDEN.format(by)))

    async def test_who_administers_another_organization_does_not_administer_the_server(self) -> None:
        await self.store.add_to_group("other", "admins", "user", "sam")
        self.assertEqual(await self.status("PUT", "/organizations/other", {"full_name": "x"}, by="sam"), 200)
        for method, path, value in (
            ("GET", "/users", None),
            ("POST", "/users", {"username": "u"}),
            ("DELETE", "/users/rita", None),
            ("GET", "/organizations", None),
            ("POST", "/organizations", {"name": "mine"}),
        ):
            self.assertEqual(await self.status(method, path, value, by="sam"), 403, path)

    async def test_outside_of_organizations_a_client_is_nobody(self) -> None:
        await self.store.add_to_group(ORG, "admins", "client", "web1")
        answer = await self.ask("GET", "/users", by="web1")
        text = "Failed to authenticate as 'web1'. Ensure that your node_name and client key are correct."
        self.assertEqual(answer.refusal, (401, text))
        self.assertEqual(await self.status("GET", "/users/twin", by="twin", key=key_of("twin as client")), 401)
        self.assertEqual((await self.get("/users", by=None)).status, 400)

    async def test_creation(self) -> None:
        body = {
            "username": "uma",
            "display_name": "Uma",
            "email": "uma@example.com",
            "first_name": "Uma",
            "last_name": "U",
            "password": "ignored",
        }
        answer = await self.ask("POST", "/users", body)
        uri = self.url("/users/uma")
        self.assertEqual((answer.status, answer.headers["location"]), (201, uri))
        self.assertEqual(set(answer.json), {"uri", "private_key"})
        key = parse_private_key(answer.json["private_key"].encode())
        shown = await self.ask("GET", "/users/uma", by="uma", key=key, api=1)
        del body["password"]
        self.assertEqual((shown.status, shown.json), (200, body))
        self.assertEqual(
            (await self.ask("POST", "/users", body)).refusal, (409, "Username or email address already in use.")
        )
        answer = await self.ask("POST", "/users", {"name": "uwe", "create_key": True}, api=1)
        self.assertEqual(set(answer.json["chef_key"]), {"name", "public_key", "private_key", "expiration_date", "uri"})
        answer = await self.ask("POST", "/users", {"username": "una", "public_key": pem_of("una")})
        self.assertEqual(answer.json, {"uri": self.url("/users/una")})
        self.assertEqual((await self.ask("GET", "/users/una", by="una")).json["public_key"], pem_of("una"))
        for wrong in ({}, {"username": "a b"}, {"username": "x", "email": 1}, {"username": "x", "public_key": "y"}):
            self.assertEqual(await self.status("POST", "/users", wrong), 400, wrong)
        self.assertEqual(await self.status("POST", "/users", {"username": "x"}, by="rita"), 403)

    async def test_a_user_sees_and_changes_itself(self) -> None:
        self.assertEqual(await self.status("GET", "/users/rita", by="rita"), 200)
        self.assertEqual(await self.status("GET", "/users/sam", by="sam"), 200)
        answer = await self.ask("PUT", "/users/rita", {"email": "r@example.com"}, by="rita")
        self.assertEqual((answer.status, answer.json), (200, {"uri": self.url("/users/rita")}))
        await self.ask("PUT", "/users/rita", {"username": "rita", "display_name": "Rita"}, by="rita")
        self.assertEqual(
            (await self.ask("GET", "/users/rita", api=1)).json,
            {"username": "rita", "display_name": "Rita", "email": "r@example.com"},
        )
        for by in ("twin", "sam"):
            for method in ("GET", "PUT", "DELETE"):
                self.assertEqual(await self.status(method, "/users/rita", {}, by=by), 403)
        self.assertEqual(await self.status("DELETE", "/users/rita", by="rita"), 403)
        self.assertEqual(await self.status("PUT", "/users/rita", {"username": "r"}, by="rita"), 403)

    async def test_a_new_key(self) -> None:
        answer = await self.ask("PUT", "/users/rita", {"private_key": True}, by="rita")
        key = parse_private_key(answer.json["private_key"].encode())
        self.assertEqual(await self.status("GET", "/users/rita", by="rita"), 401)
        self.assertEqual(await self.status("GET", "/users/rita", by="rita", key=key), 200)
        await self.ask("PUT", "/users/rita", {"public_key": pem_of("new")})
        self.assertEqual(await self.status("GET", "/users/rita", by="rita", key=key_of("new")), 200)
        self.assertEqual(await self.status("PUT", "/users/rita", {"private_key": True}, api=1), 400)

    async def test_another_name(self) -> None:
        answer = await self.ask("PUT", "/users/rita", {"username": "margarita"})
        self.assertEqual((answer.status, answer.headers["location"]), (201, self.url("/users/margarita")))
        self.assertEqual(await self.status("GET", MEMBERS, by="margarita", key=key_of("rita")), 200)
        self.assertEqual(await self.status("GET", MEMBERS, by="rita"), 401)
        self.assertEqual(await self.status("PUT", "/users/margarita", {"username": "sam"}), 409)

    async def test_it_goes(self) -> None:
        answer = await self.ask("DELETE", "/users/rita")
        self.assertEqual((answer.status, answer.json["username"]), (200, "rita"))
        self.assertEqual(await self.status("GET", MEMBERS, by="rita"), 401)
        for method in ("GET", "PUT", "DELETE"):
            self.assertEqual((await self.ask(method, "/users/rita", {})).refusal, (404, "user 'rita' not found"))


class MemberTests(IdentityTestCase):
    async def test_the_members_of_an_organization(self) -> None:
        for by in ("rita", "web1"):
            answer = await self.ask("GET", MEMBERS, by=by)
            self.assertEqual(answer.json, [{"user": {"username": name}} for name in ("alice", "rita", "twin")])
        answer = await self.ask("GET", f"{MEMBERS}/rita", by="web1")
        self.assertEqual(answer.json, {"username": "rita", "display_name": "rita", "public_key": pem_of("rita")})
        text = f"Cannot find a user sam in organization {ORG}"
        self.assertEqual((await self.ask("GET", f"{MEMBERS}/sam")).refusal, (404, text))

    async def test_letting_in_and_out(self) -> None:
        self.assertEqual(await self.status("GET", MEMBERS, by="sam"), 403)
        for by in ("rita", "web1", VALIDATOR):
            self.assertEqual(await self.status("POST", MEMBERS, {"username": "sam"}, by=by), 403)
            self.assertEqual(await self.status("DELETE", f"{MEMBERS}/twin", by=by), 403)
        answer = await self.ask("POST", MEMBERS, {"username": "sam"})
        uri = self.url(f"{MEMBERS}/sam")
        self.assertEqual((answer.status, answer.json, answer.headers["location"]), (201, {"uri": uri}, uri))
        self.assertEqual(await self.status("GET", MEMBERS, by="sam"), 200)
        again = await self.ask("POST", MEMBERS, {"username": "sam"})
        self.assertEqual(again.refusal, (409, "The association already exists."))
        nobody = await self.ask("POST", MEMBERS, {"username": "nobody"})
        self.assertEqual(nobody.refusal, (404, "user 'nobody' not found"))
        answer = await self.ask("DELETE", f"{MEMBERS}/sam")
        self.assertEqual((answer.status, answer.json["username"]), (200, "sam"))
        self.assertEqual(await self.status("GET", MEMBERS, by="sam"), 403)
        self.assertEqual(await self.status("DELETE", f"{MEMBERS}/sam"), 404)
        self.assertEqual(await self.status("GET", "/users/sam", by="sam"), 200)

    async def test_who_is_put_out_administers_no_more(self) -> None:
        await self.store.add_to_group(ORG, "admins", "user", "rita")
        self.assertEqual(await self.status("GET", "/users", by="rita"), 200)
        await self.ask("DELETE", f"{MEMBERS}/rita")
        self.assertEqual(await self.status("GET", "/users", by="rita"), 403)
        await self.ask("POST", MEMBERS, {"username": "rita"})
        self.assertEqual(await self.status("GET", "/users", by="rita"), 403)


class OrganizationTests(IdentityTestCase):
    async def test_the_list(self) -> None:
        answer = await self.ask("GET", "/organizations")
        self.assertEqual(answer.json, {name: self.url(f"/organizations/{name}") for name in (ORG, "other")})
        self.assertEqual(await self.status("GET", "/organizations", by="rita"), 403)

    async def test_one(self) -> None:
        for by in ("rita", "web1"):
            answer = await self.ask("GET", f"/organizations/{ORG}", by=by)
            self.assertEqual(answer.json, {"name": ORG, "full_name": ORG, "guid": f"guid of {ORG}"})
        self.assertEqual(await self.status("GET", f"/organizations/{ORG}", by="sam"), 403)
        self.assertEqual(await self.status("GET", "/organizations/nowhere"), 404)

    async def test_another_full_name(self) -> None:
        answer = await self.ask("PUT", f"/organizations/{ORG}", {"name": ORG, "full_name": "Acme, Inc."})
        self.assertEqual((answer.status, answer.json), (200, {"uri": self.url(f"/organizations/{ORG}")}))
        self.assertEqual((await self.ask("GET", f"/organizations/{ORG}")).json["full_name"], "Acme, Inc.")
        self.assertEqual(await self.status("PUT", f"/organizations/{ORG}", {"full_name": "x"}, by="rita"), 403)
        for wrong in ({}, {"name": "x", "full_name": "x"}, {"full_name": 1}):
            self.assertEqual(await self.status("PUT", f"/organizations/{ORG}", wrong), 400)

    async def test_creation(self) -> None:
        answer = await self.ask("POST", "/organizations", {"name": "new", "full_name": "The new one"})
        uri = self.url("/organizations/new")
        self.assertEqual((answer.status, answer.headers["location"]), (201, uri))
        self.assertEqual((answer.json["uri"], answer.json["clientname"]), (uri, "new-validator"))
        key = parse_private_key(answer.json["private_key"].encode())
        made = await self.ask("POST", "/organizations/new/clients", {"name": "n"}, by="new-validator", key=key, api=1)
        self.assertEqual(made.status, 201)
        shown = await self.ask("GET", "/organizations/new")
        self.assertEqual((shown.json["name"], shown.json["full_name"]), ("new", "The new one"))
        self.assertEqual(len(shown.json["guid"]), 32)
        self.assertEqual((await self.ask("GET", "/organizations/new/groups/admins")).json["users"], ["alice"])
        again = await self.ask("POST", "/organizations", {"name": "new"})
        self.assertEqual(again.refusal, (409, "Organization already exists"))
        self.assertEqual(await self.status("POST", "/organizations", {"name": "x"}, by="rita"), 403)
        self.assertEqual(await self.status("POST", "/organizations", {"name": "a/b"}), 400)


class PrincipalTests(IdentityTestCase):
    async def test_who_a_name_is(self) -> None:
        path = f"/organizations/{ORG}/principals"
        for name, kind, member in (("web1", "client", True), ("rita", "user", True), ("sam", "user", False)):
            answer = await self.ask("GET", f"{path}/{name}", by="web2")
            authz_id = answer.json["authz_id"]
            principal = {
                "name": name,
                "type": kind,
                "public_key": pem_of(name),
                "authz_id": authz_id,
                "org_member": member,
            }
            self.assertRegex(authz_id, "^[0-9a-f]{32}$")
            self.assertEqual((answer.status, answer.json), (200, principal))
            answer = await self.ask("GET", f"{path}/{name}", by="web2", api=1)
            self.assertEqual(answer.json, {"principals": [principal]})
        both = (await self.ask("GET", f"{path}/twin", api=1)).json["principals"]
        self.assertEqual([principal["type"] for principal in both], ["user", "client"])
        self.assertEqual((await self.ask("GET", f"{path}/twin")).json, both[0])
        answer = await self.ask("GET", f"{path}/nobody")
        self.assertEqual(
            (answer.status, answer.json), (404, {"not_found": "principal", "error": ["Cannot find principal nobody"]})
        )
        self.assertEqual(await self.status("GET", f"{path}/web1", by="sam"), 403)
