"""Groups over the API, and that what is changed there counts at once."""

from pushyd.identity.local import LocalIdentity
from pushyd.web.app import Api
from tests.pushyd.web.serving import BELOW, ORG
from tests.pushyd.web.test_identity_clients import FORBIDDEN, VALIDATOR, IdentityTestCase

GROUPS = f"/organizations/{ORG}/groups"
JOB = {"command": "true", "nodes": ["web1"]}


class GroupTests(IdentityTestCase):
    def make_api(self, **offered: object) -> Api:
        """With an identity that believes for good what it holds, but for changes of its own."""
        self.identity = LocalIdentity(self.store, seconds=self.clock.seconds)
        return super().make_api(**offered)

    async def test_groups_come_and_go(self) -> None:
        for number, word in enumerate(("groupname", "name", "id")):
            answer = await self.ask("POST", GROUPS, {word: f"g{number}"})
            uri = self.url(f"{GROUPS}/g{number}")
            self.assertEqual((answer.status, answer.json, answer.headers["location"]), (201, {"uri": uri}, uri))
        again = await self.ask("POST", GROUPS, {"groupname": "g0"})
        self.assertEqual(again.refusal, (409, "Group already exists"))
        wrongs: list[object] = [{}, {"name": "a b"}, {"groupname": 1}, []]
        for wrong in wrongs:
            self.assertEqual(await self.status("POST", GROUPS, wrong), 400, wrong)
        answer = await self.ask("GET", GROUPS, by="web1")
        names = ("admins", "g0", "g1", "g2")
        self.assertEqual(answer.json, {name: self.url(f"{GROUPS}/{name}") for name in names})
        gone = await self.ask("DELETE", f"{GROUPS}/g1")
        self.assertEqual((gone.status, gone.json["groupname"]), (200, "g1"))
        for method in ("GET", "PUT", "DELETE"):
            self.assertEqual((await self.ask(method, f"{GROUPS}/g1", {})).refusal, (404, "Cannot load group g1"))

    async def test_members_in_both_forms(self) -> None:
        await self.ask("POST", GROUPS, {"groupname": "g"})
        flat = {"users": ["rita", "rita"], "clients": ["web1", "twin"], "groups": ["admins"]}
        nested = {"groupname": "g", "actors": {"users": ["twin"], "clients": [], "groups": []}}
        partial = {"name": "g", "clients": ["web2"]}
        as_shown = {"actors": ["twin", "web2"], "users": ["twin"], "clients": ["web2"], "groups": ["g"]}
        for change, users, clients, groups in (
            (flat, ["rita"], ["twin", "web1"], ["admins"]),
            (nested, ["twin"], [], []),
            (partial, ["twin"], ["web2"], []),
            (as_shown, ["twin"], ["web2"], ["g"]),
            ({}, ["twin"], ["web2"], ["g"]),
        ):
            group = {
                "name": "g",
                "groupname": "g",
                "orgname": ORG,
                "actors": sorted({*users, *clients}),
                "users": users,
                "clients": clients,
                "groups": groups,
            }
            answer = await self.ask("PUT", f"{GROUPS}/g", change)
            self.assertEqual((answer.status, answer.json), (200, group))
            self.assertEqual((await self.ask("GET", f"{GROUPS}/g", by="rita")).json, group)

    async def test_only_who_is_there_can_be_in_it(self) -> None:
        await self.ask("POST", GROUPS, {"groupname": "g"})
        change = {"actors": {"users": ["sam", "web1"], "clients": ["rita"], "groups": ["h"]}}
        text = f"not in organization '{ORG}': user 'sam', user 'web1', client 'rita', group 'h'"
        self.assertEqual((await self.ask("PUT", f"{GROUPS}/g", change)).refusal, (400, text))
        for wrong in ({"users": "rita"}, {"users": [1]}, {"actors": 1}, {"name": "other"}, {"groupname": "other"}):
            self.assertEqual(await self.status("PUT", f"{GROUPS}/g", wrong), 400, wrong)

    async def test_the_admins_stay(self) -> None:
        answer = await self.ask("DELETE", f"{GROUPS}/admins")
        text = "The group 'admins' cannot be deleted: nobody would administer the organization."
        self.assertEqual(answer.refusal, (403, text))

    async def test_nobody_else_changes_them(self) -> None:
        await self.ask("POST", GROUPS, {"groupname": "g"})
        for by in ("rita", "web1", VALIDATOR):
            for method, path, value in (
                ("POST", GROUPS, {"groupname": "h"}),
                ("PUT", f"{GROUPS}/admins", {"clients": ["web1"]}),
                ("PUT", f"{GROUPS}/g", {}),
                ("DELETE", f"{GROUPS}/g", None),
            ):
                answer = await self.ask(method, path, value, by=by)
                self.assertEqual(answer.refusal, (403, FORBIDDEN.format(by)), path)

    async def test_what_changes_counts_at_once(self) -> None:
        async def may_start(by: str) -> bool:
            return await self.status("POST", f"{BELOW}/jobs", JOB, by=by) == 201

        self.assertEqual([await may_start(by) for by in ("alice", "rita", "web1")], [True, False, False])
        await self.ask("POST", GROUPS, {"groupname": "pushy_job_writers"})
        self.assertFalse(await may_start("alice"))
        await self.ask("POST", GROUPS, {"groupname": "inner"})
        await self.ask("PUT", f"{GROUPS}/inner", {"users": ["rita"], "groups": ["pushy_job_writers"]})
        await self.ask("PUT", f"{GROUPS}/pushy_job_writers", {"groups": ["inner"], "clients": ["web1"]})
        self.assertEqual([await may_start(by) for by in ("alice", "rita", "web1")], [False, True, True])
        await self.ask("DELETE", f"/organizations/{ORG}/clients/web1")
        self.assertEqual(await self.status("POST", f"{BELOW}/jobs", JOB, by="web1"), 401)
        await self.ask("DELETE", f"{GROUPS}/inner")
        self.assertFalse(await may_start("rita"))
        await self.ask("DELETE", f"{GROUPS}/pushy_job_writers")
        self.assertTrue(await may_start("alice"))

    async def test_what_another_program_changes_counts_within_a_second(self) -> None:
        self.assertEqual(await self.status("GET", "/users", by="rita"), 403)
        await self.store.add_to_group(ORG, "admins", "user", "rita")
        self.assertEqual(await self.status("GET", "/users", by="rita"), 403)
        self.clock.advance(1)
        self.assertEqual(await self.status("GET", "/users", by="rita"), 200)
