"""``_status``, which everybody may ask for."""

from tests.pushyd.web.serving import INCARNATION, ApiTestCase


class StatusTests(ApiTestCase):
    async def test_it_needs_no_signature(self) -> None:
        answer = await self.get("/pushy/_status", by=None)
        self.assertEqual(answer.status, 200)
        self.assertEqual(
            answer.json,
            {"status": "it's alive", "incarnation_id": INCARNATION, "node_fsm_count": 0, "job_processes": []},
        )

    async def test_it_counts_the_nodes_that_send_heartbeats_and_names_the_jobs_that_live(self) -> None:
        await self.bring_up("web1", "web2")
        job_id = await self.start_job("web1")
        answer = await self.get("/pushy/_status", by=None)
        self.assertEqual(answer.json["node_fsm_count"], 2)
        self.assertEqual(answer.json["job_processes"], [job_id])
