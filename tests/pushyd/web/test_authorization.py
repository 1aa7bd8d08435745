"""Who may do what, over the API: section 2. The rules themselves are tested in `tests.pushyd.identity`."""

from tests.pushyd.identity.keys import key_of
from tests.pushyd.web.serving import BELOW, ORG, ApiTestCase

READ_PATHS = ("jobs", "jobs/{id}", "node_states", "node_states/web1")
JOB = {"command": "true", "nodes": ["web1"]}


class AuthorizationTests(ApiTestCase):
    job_id: str

    async def may_read(self, name: str, key: str | None = None) -> bool:
        """Whether every path that needs the right to read is open to a principal, or none is."""
        statuses = set()
        for path in READ_PATHS:
            private = key_of(key) if key else None
            answer = await self.get(f"{BELOW}/{path.format(id=self.job_id)}", by=name, key=private)
            statuses.add(answer.status)
        self.assertIn(statuses, ({200}, {403}))
        return statuses == {200}

    async def may_write(self, name: str, key: str | None = None) -> bool:
        answer = await self.post(f"{BELOW}/jobs", JOB, by=name, key=key_of(key) if key else None)
        self.assertIn(answer.status, (201, 403))
        return answer.status == 201

    async def test_without_groups_everybody_of_the_organization_reads_and_admins_write(self) -> None:
        await self.start_first_job()
        for name, writes in (("alice", True), ("rita", False), ("web1", False), (f"{ORG}-validator", False)):
            self.assertTrue(await self.may_read(name), name)
            self.assertEqual(await self.may_write(name), writes, name)

    async def test_with_groups_only_their_members_do(self) -> None:
        await self.start_first_job()
        for group, member in (("pushy_job_readers", "rita"), ("pushy_job_writers", "rita")):
            await self.store.create_group(ORG, group)
            await self.store.add_to_group(ORG, group, "user", member)
        for name, allowed in (("alice", False), ("rita", True), ("web1", False), ("twin", False)):
            self.assertEqual(await self.may_read(name), allowed, name)
            self.assertEqual(await self.may_write(name), allowed, name)

    async def test_a_group_without_members_lets_nobody_in(self) -> None:
        await self.start_first_job()
        for group in ("pushy_job_readers", "pushy_job_writers"):
            await self.store.create_group(ORG, group)
        for name in ("alice", "rita", "web1"):
            self.assertFalse(await self.may_read(name), name)
            self.assertFalse(await self.may_write(name), name)

    async def test_groups_nest_to_any_depth_and_may_be_cyclic(self) -> None:
        await self.start_first_job()
        names = ["pushy_job_writers", *(f"group{number}" for number in range(30))]
        for name in names:
            await self.store.create_group(ORG, name)
        for outer, inner in zip(names, [*names[1:], names[0]], strict=True):
            await self.store.add_to_group(ORG, outer, "group", inner)
        self.assertFalse(await self.may_write("rita"))
        await self.store.add_to_group(ORG, names[-1], "user", "rita")
        self.assertTrue(await self.may_write("rita"))
        self.assertFalse(await self.may_write("alice"))

    async def test_a_node_may_start_jobs_only_where_somebody_put_it_among_the_writers(self) -> None:
        await self.start_first_job()
        self.assertFalse(await self.may_write("web1"))
        await self.store.create_group(ORG, "pushy_job_writers")
        self.assertFalse(await self.may_write("web1"))
        await self.store.add_to_group(ORG, "pushy_job_writers", "user", "web1")
        self.assertFalse(await self.may_write("web1"), "it is no user")
        await self.store.add_to_group(ORG, "pushy_job_writers", "client", "web1")
        self.assertTrue(await self.may_write("web1"))

    async def test_a_node_that_has_the_name_of_an_admin_is_none(self) -> None:
        await self.store.add_to_group(ORG, "admins", "user", "twin")
        self.assertTrue(await self.may_write("twin"))
        self.assertFalse(await self.may_write("twin", "twin as client"))

    async def start_first_job(self) -> None:
        self.job_id = await self.start_job("web1")
