"""Jobs as a service: what is kept and when, what nodes are told, what time does, what is answered. Time is a Clock.

The rules of one job are tested with `domain.job`; here it is what carries them out.
"""

from typing import Any
from unittest.mock import patch

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pushy_protocol import messages
from pushy_protocol.api import InvalidRequest, JobRequest
from pushy_protocol.states import JobStatus, NodeStatus
from pushyd.domain.effects import Emit, FeedEvent
from pushyd.domain.job import JobSpec
from pushyd.domain.node import NodeRef, Presence
from pushyd.jobs import JobService, TooLate
from pushyd.live_jobs import FOUND_AT_ONCE, TOLD_AT_ONCE, LiveJobs
from pushyd.outputs import Outputs
from pushyd.store.interface import (
    FeedText,
    JobQuery,
    JobStatusChange,
    NodeDetail,
    NodeStatusChange,
    StoredJob,
    StoreUnavailable,
)
from pushyd.store.output_interface import OutputCaptured, OutputRules
from tests.pushyd.doubles import (
    NOW,
    MemoryStore,
    RecordingClockOfFeeds,
    RecordingFeeds,
    RecordingNodes,
    begin,
    failure_of,
    said,
    texts,
)

ORG = "acme"
VOTING_TIMEOUT = 60.0
MAX_BODY_SIZE = 65536
MAX_OUTPUT = 2**26
SLOW = 0.001  # seconds for a look at a node, where that is said

New, Ready, Running, Succeeded = NodeStatus.NEW, NodeStatus.READY, NodeStatus.RUNNING, NodeStatus.SUCCEEDED


class Jobs(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore()
        self.nodes = RecordingNodes()
        self.feeds = RecordingFeeds()
        self.live = LiveJobs(
            store=self.store,
            nodes=self.nodes,
            feeds=self.feeds,
            outputs=Outputs(
                store=self.store,
                feeds=RecordingClockOfFeeds(),
                acknowledge=lambda node, job_id, offsets: None,
                clock=self.clock,
                rules=OutputRules(max_output=2**26, max_job_output=2**32, min_free_disk=0),
            ),
            clock=self.clock,
            now=lambda: NOW + self.clock.seconds(),
        )
        self.service = JobService(
            store=self.store,
            live=self.live,
            clock=self.clock,
            now=lambda: NOW + self.clock.seconds(),
            voting_timeout=VOTING_TIMEOUT,
            default_run_timeout=3600.0,
            max_body_size=MAX_BODY_SIZE,
            max_output=MAX_OUTPUT,
        )

    def creating(self, *nodes: str, organization: str = ORG, **asked: Any) -> Deferred[str]:
        request = JobRequest(**{"command": "true", "nodes": nodes or ("web1", "web2"), **asked})
        return begin(self.service.create(organization, request, "admin"))

    def create(self, *nodes: str, **asked: Any) -> str:
        return self.successResultOf(self.creating(*nodes, **asked))

    def say(
        self, kind: Any, job_id: str, *nodes: str, organization: str = ORG, carries_on: bool = False, **fields: Any
    ) -> None:
        for name in nodes:
            node = NodeRef(organization, name)
            assert self.live.status(node, job_id) is not None
            self.live.on_message(node, said(kind, node, job_id, **fields), carries_on=carries_on)

    def running(self, *nodes: str, **asked: Any) -> str:
        """A job whose command runs on all of its nodes."""
        job_id = self.create(*nodes, **asked)
        self.say(messages.AckCommit, job_id, *nodes)
        self.say(messages.AckRun, job_id, *nodes)
        return job_id

    def job(self, job_id: str, organization: str = ORG) -> StoredJob | None:
        return self.successResultOf(begin(self.service.job(organization, job_id)))

    def status(self, job_id: str) -> tuple[JobStatus, dict[str, NodeStatus]]:
        job = self.job(job_id)
        assert job is not None
        return job.status, dict(job.nodes)

    def reasons(self, job_id: str) -> dict[str, str]:
        """Why nodes did not succeed; what is kept says the same as what is answered."""
        job, kept = self.job(job_id), self.store.kept(job_id)
        assert job is not None
        assert kept is not None
        assert job.details == kept.details
        return dict(job.reasons)

    def output(self, job_id: str, node: str, channel: str = "stdout", organization: str = ORG) -> bytes | None:
        return self.successResultOf(begin(self.store.output(organization, job_id, node, channel)))

    def outputs_recorded(self) -> list[OutputCaptured]:
        return [change for change in self.store.recorded_changes if isinstance(change, OutputCaptured)]


class WayTests(Jobs):
    def test_the_whole_way(self) -> None:
        job_id = self.create("web1", "web2", quorum=1)
        assert self.status(job_id) == (JobStatus.VOTING, {"web1": New, "web2": New})
        self.say(messages.AckCommit, job_id, "web1", "web2")
        assert self.status(job_id) == (JobStatus.RUNNING, {"web1": Ready, "web2": Ready})
        self.say(messages.AckRun, job_id, "web2", "web1")
        self.clock.advance(5)
        self.say(messages.Succeeded, job_id, "web1")
        assert self.status(job_id) == (JobStatus.RUNNING, {"web1": Succeeded, "web2": Running})
        self.say(messages.Failed, job_id, "web2")
        assert self.status(job_id) == (JobStatus.COMPLETE, {"web1": Succeeded, "web2": NodeStatus.FAILED})
        assert self.nodes.rehabs == []
        job = self.job(job_id)
        assert job is not None
        assert (job.spec.created_at, job.updated_at) == (NOW, NOW + 5)

    def test_what_happened_is_recorded_as_it_happened(self) -> None:
        job_id = self.running("web1")
        self.clock.advance(5)
        self.say(messages.Succeeded, job_id, "web1")
        assert self.store.recorded_changes == [
            JobStatusChange(job_id=job_id, status=JobStatus.VOTING, at=NOW),
            NodeStatusChange(job_id=job_id, node="web1", status=Ready),
            JobStatusChange(job_id=job_id, status=JobStatus.RUNNING, at=NOW),
            NodeStatusChange(job_id=job_id, node="web1", status=Running, detail=NodeDetail(started_at=NOW)),
            NodeStatusChange(
                job_id=job_id,
                node="web1",
                status=Succeeded,
                detail=NodeDetail(exit_status=0, started_at=NOW, finished_at=NOW + 5),
            ),
            JobStatusChange(job_id=job_id, status=JobStatus.COMPLETE, at=NOW + 5),
        ]

    def test_nodes_are_told_to_commit_with_what_was_asked_for_then_to_run(self) -> None:
        asked = {"user": "app", "dir": "/srv", "env": {"A": "b"}, "file": "raw:text", "capture_output": True}
        job_id = self.create("web1", "web2", command="deploy now", **asked)
        fields = {"job_id": job_id, "command": "deploy now", "user": "app", "dir": "/srv", "env": {"A": "b"}}
        commit = (ORG, ["web1", "web2"], messages.Commit, {**fields, "file": "raw:text", "capture": True})
        assert self.nodes.sent == [commit]
        self.say(messages.AckCommit, job_id, "web1", "web2")
        assert self.nodes.sent == [commit, (ORG, ["web1", "web2"], messages.Run, {"job_id": job_id})]

    def test_a_large_fleet_is_told_some_at_a_time(self) -> None:
        names = [f"web{number}" for number in range(TOLD_AT_ONCE + 1)]
        job_id = self.create(*names)
        assert self.nodes.told(messages.Commit) == names[:-1]
        self.clock.advance(0)
        assert self.nodes.told(messages.Commit) == names
        self.say(messages.AckCommit, job_id, *names)
        assert self.nodes.told(messages.Run) == names[:-1]
        self.clock.advance(0)
        assert self.nodes.told(messages.Run) == names

    def test_of_a_large_fleet_that_is_not_there_some_at_a_time_are_found_down(self) -> None:
        names = [f"web{number}" for number in range(2 * FOUND_AT_ONCE + 2)]
        self.nodes.presences = dict.fromkeys((NodeRef(ORG, name) for name in names), Presence.OFFLINE)
        self.nodes.presences[NodeRef(ORG, names[-2])] = Presence.REHAB
        job_id = self.create(*names)
        assert self.found(job_id) == names[-2:-1]
        # One comes back while the others are looked for, and is asked.
        back = NodeRef(ORG, names[-1])
        self.nodes.presences[back] = Presence.IDLE
        self.live.on_available(back, carries_on=False)
        self.clock.advance(0)
        status, nodes = self.status(job_id)
        assert (status, [name for name, node in nodes.items() if node is New]) == (JobStatus.VOTING, names[-1:])
        assert names[-1] in self.nodes.told(messages.Commit)
        self.say(messages.NackCommit, job_id, names[-1])
        assert self.status(job_id)[0] is JobStatus.QUORUM_FAILED
        votes = [emit.node for _, emit in self.feeds.events if emit.status == "down"]
        assert votes == [names[-2], *names[:-2]]

    def test_half_of_the_time_in_which_they_are_looked_for_is_for_others(self) -> None:
        names = [f"web{number}" for number in range(2 * FOUND_AT_ONCE)]
        with patch.object(self.nodes, "presence", self.slow_presence):
            job_id = self.create(*names)
            self.clock.advance(0)
            assert self.found(job_id) == names[:FOUND_AT_ONCE]
            self.clock.advance(0.9 * FOUND_AT_ONCE * SLOW)
            assert self.found(job_id) == names[:FOUND_AT_ONCE]
            self.clock.advance(0.1 * FOUND_AT_ONCE * SLOW + 1e-9)
            assert self.found(job_id) == names

    def test_jobs_whose_nodes_are_looked_for_take_turns(self) -> None:
        names = [f"web{number}" for number in range(2 * FOUND_AT_ONCE)]
        with patch.object(self.nodes, "presence", self.slow_presence):
            first, second = self.create(*names), self.create(*names)
            found = []
            for _ in range(4):
                self.clock.advance(FOUND_AT_ONCE * SLOW + 1e-9)
                found.append((len(self.found(first)), len(self.found(second))))
        half, whole = FOUND_AT_ONCE, len(names)
        assert found == [(half, 0), (half, half), (whole, half), (whole, whole)]

    def test_nobody_is_looked_for_any_more_when_it_stops(self) -> None:
        names = [f"web{number}" for number in range(2 * FOUND_AT_ONCE)]
        with patch.object(self.nodes, "presence", self.slow_presence):
            job_id = self.create(*names)
            self.live.stop()
            self.clock.advance(1)
        assert self.found(job_id) == []
        assert self.clock.getDelayedCalls() == []

    def slow_presence(self, _node: NodeRef) -> Presence:
        self.clock.rightNow += SLOW
        return Presence.OFFLINE

    def found(self, job_id: str) -> list[str]:
        return [name for name, status in self.status(job_id)[1].items() if status is not New]

    def test_who_was_not_told_yet_when_it_ends_never_is(self) -> None:
        names = [f"web{number}" for number in range(TOLD_AT_ONCE + 1)]
        job_id = self.create(*names)
        self.live.abort(job_id)
        self.clock.advance(0)
        assert self.nodes.told(messages.Commit) == names[:-1]

    def test_the_spec_says_what_was_asked_for_and_by_whom(self) -> None:
        job = self.job(self.create("web1", "web2", command="deploy", quorum=1, run_timeout=90, user="app"))
        assert job is not None
        spec = job.spec
        assert (spec.organization, spec.created_by, spec.created_at) == (ORG, "admin", NOW)
        assert (spec.command, spec.nodes, spec.user) == ("deploy", ("web1", "web2"), "app")
        assert (spec.quorum, spec.run_timeout, spec.voting_timeout) == (1, 90, VOTING_TIMEOUT)
        assert not spec.capture

    def test_the_quorum_is_all_nodes_unless_it_is_given_even_as_0(self) -> None:
        for quorum, expected in ((None, 2), (0, 0), (1.5, 1.5)):
            job = self.job(self.create("web1", "web2", quorum=quorum))
            assert job is not None
            assert job.spec.quorum == expected

    def test_every_job_has_an_id_of_its_own(self) -> None:
        ids = {self.create() for _ in range(20)}
        assert len(ids) == 20
        assert all(len(job_id) == 32 and set(job_id) <= set("0123456789abcdef") for job_id in ids)

    def test_only_available_nodes_are_asked(self) -> None:
        self.nodes.presences = {
            NodeRef(ORG, "off"): Presence.OFFLINE,
            NodeRef(ORG, "rehab"): Presence.REHAB,
            NodeRef("other", "web1"): Presence.OFFLINE,
        }
        job_id = self.create("off", "web1", "rehab", quorum=1)
        assert self.nodes.told(messages.Commit) == ["web1"]
        assert self.nodes.rehabs == [NodeRef(ORG, "off"), NodeRef(ORG, "rehab")]
        unavailable = NodeStatus.UNAVAILABLE
        assert self.status(job_id)[1] == {"off": unavailable, "web1": New, "rehab": unavailable}
        self.say(messages.AckCommit, job_id, "web1")
        assert self.nodes.told(messages.Run) == ["web1"]

    def test_without_an_available_node_it_has_failed_when_it_is_created(self) -> None:
        self.nodes.presences = {NodeRef(ORG, "web1"): Presence.OFFLINE}
        job_id = self.create("web1")
        assert self.nodes.sent == []
        assert self.status(job_id) == (JobStatus.QUORUM_FAILED, {"web1": NodeStatus.UNAVAILABLE})
        assert self.live.ids() == []
        assert self.clock.getDelayedCalls() == []

    def test_a_missed_quorum_sends_the_ready_ones_back(self) -> None:
        job_id = self.create("web1", "web2")
        self.say(messages.AckCommit, job_id, "web1")
        self.say(messages.NackCommit, job_id, "web2")
        assert self.status(job_id) == (
            JobStatus.QUORUM_FAILED,
            {"web1": NodeStatus.WAS_READY, "web2": NodeStatus.NACKED},
        )
        assert self.nodes.told(messages.Run) == []
        assert self.nodes.rehabs == [NodeRef(ORG, "web1")]

    def test_feeds_hear_of_it(self) -> None:
        job_id = self.running("web1")
        self.say(messages.Succeeded, job_id, "web1")
        assert self.feeds.events == [
            (job_id, event)
            for event in (
                Emit(FeedEvent.START),
                Emit(FeedEvent.QUORUM_VOTE, "web1", "success"),
                Emit(FeedEvent.QUORUM_SUCCEEDED),
                Emit(FeedEvent.RUN_START, "web1"),
                Emit(FeedEvent.RUN_COMPLETE, "web1", "success"),
                Emit(FeedEvent.JOB_COMPLETE, status="complete"),
            )
        ]

    def test_its_statuses_are_logged(self) -> None:
        with capturedLogs() as logged:
            job_id = self.running("web1")
            self.say(messages.Succeeded, job_id, "web1")
        assert texts(logged, "info") == [
            f"Job {job_id} of acme is {status}" for status in ("voting", "running", "complete")
        ]

    def test_a_message_that_is_none_of_the_machines_changes_nothing(self) -> None:
        job_id = self.running("web1")
        changes = len(self.store.recorded_changes)
        self.say(messages.Output, job_id, "web1", channel="stdout", offset=0, data=b"x")
        assert len(self.store.recorded_changes) == changes
        assert self.live.ids() == [job_id]


class TimeTests(Jobs):
    def test_the_voting_ends_after_its_time(self) -> None:
        job_id = self.create("web1", "web2", quorum=1)
        self.say(messages.AckCommit, job_id, "web1")
        self.clock.advance(VOTING_TIMEOUT - 1)
        assert self.status(job_id)[0] is JobStatus.VOTING
        self.clock.advance(1)
        assert self.status(job_id) == (JobStatus.RUNNING, {"web1": Ready, "web2": NodeStatus.UNAVAILABLE})
        assert self.reasons(job_id) == {"web2": "voting_timeout"}
        assert self.nodes.rehabs == [NodeRef(ORG, "web2")]

    def test_the_run_ends_after_its_time_from_its_beginning(self) -> None:
        job_id = self.create("web1", "web2", run_timeout=90)
        self.clock.advance(30)
        self.say(messages.AckCommit, job_id, "web1", "web2")
        self.say(messages.AckRun, job_id, "web1")
        self.clock.advance(89)
        assert self.status(job_id)[0] is JobStatus.RUNNING
        self.clock.advance(1)
        timed_out = NodeStatus.TIMED_OUT
        assert self.status(job_id) == (JobStatus.TIMED_OUT, {"web1": timed_out, "web2": timed_out})
        assert self.nodes.rehabs == [NodeRef(ORG, "web1"), NodeRef(ORG, "web2")]
        assert self.clock.getDelayedCalls() == []

    def test_a_fraction_of_a_second_is_a_time(self) -> None:
        job_id = self.running("web1", run_timeout=0.25)
        self.clock.advance(0.25)
        assert self.status(job_id)[0] is JobStatus.TIMED_OUT

    def test_a_job_has_one_timer_and_none_when_it_ended(self) -> None:
        job_id = self.create("web1", run_timeout=90)
        assert [call.getTime() for call in self.clock.calls] == [VOTING_TIMEOUT]
        self.clock.advance(10)
        self.say(messages.AckCommit, job_id, "web1")
        assert [call.getTime() for call in self.clock.calls] == [100]
        self.say(messages.AckRun, job_id, "web1")
        self.say(messages.Succeeded, job_id, "web1")
        assert self.clock.getDelayedCalls() == []

    def test_jobs_have_timers_of_their_own(self) -> None:
        first = self.create("web1")
        self.clock.advance(30)
        second = self.create("web2")
        self.clock.advance(30)
        assert self.status(first)[0] is JobStatus.QUORUM_FAILED
        assert self.status(second)[0] is JobStatus.VOTING

    def test_after_the_stop_no_clock_runs(self) -> None:
        job_id = self.create("web1")
        self.running("web2")
        self.live.stop()
        assert self.clock.getDelayedCalls() == []
        self.live.stop()
        assert self.status(job_id)[0] is JobStatus.VOTING


class ReasonTests(Jobs):
    def test_what_a_node_says(self) -> None:
        for kind, fields, reason in (
            (messages.Failed, {"reason": "no_such_user"}, "no_such_user"),
            (messages.Failed, {"exit_status": 3}, "exit status 3"),
            (messages.Failed, {"signal": 9}, "signal 9"),
            (messages.Failed, {"reason": "locked", "exit_status": 3}, "locked"),
            (messages.NackRun, {"reason": "bad_file"}, "bad_file"),
        ):
            job_id = self.running("web1")
            self.say(kind, job_id, "web1", **fields)
            assert self.reasons(job_id) == {"web1": reason}

    def test_else_what_the_feed_says(self) -> None:
        for kind, reason in (
            (messages.Failed, "failure"),
            (messages.NackRun, "run_nacked_while_running"),
            (messages.Aborted, "crashed"),
            (messages.AckCommit, "crashed"),
        ):
            job_id = self.running("web1")
            self.say(kind, job_id, "web1")
            assert self.reasons(job_id) == {"web1": reason}

    def test_a_reason_is_that_of_the_node_that_gave_it_only(self) -> None:
        """What one node says may end the job for all: their reason is not its reason."""
        job_id = self.create("web1", "web2")
        self.say(messages.AckCommit, job_id, "web1")
        self.say(messages.NackCommit, job_id, "web2", reason="busy")
        assert self.reasons(job_id) == {"web2": "busy"}

    def test_how_a_command_ended_and_when(self) -> None:
        job_id = self.create("web1", "web2", "web3", quorum=2)
        self.say(messages.AckCommit, job_id, "web1", "web2")
        self.say(messages.NackCommit, job_id, "web3", reason="busy")
        self.clock.advance(1)
        self.say(messages.AckRun, job_id, "web1")
        self.clock.advance(2)
        self.say(messages.AckRun, job_id, "web2")
        self.clock.advance(3)
        self.say(messages.Failed, job_id, "web1", signal=9)
        self.say(messages.Failed, job_id, "web2", exit_status=2**32 - 1, reason="timed out here")
        job, kept = self.job(job_id), self.store.kept(job_id)
        assert job is not None
        assert kept is not None
        assert job.details == kept.details
        assert job.details == {
            "web1": NodeDetail(reason="signal 9", signal=9, started_at=NOW + 1, finished_at=NOW + 6),
            "web2": NodeDetail(reason="timed out here", exit_status=2**32 - 1, started_at=NOW + 3, finished_at=NOW + 6),
            "web3": NodeDetail(reason="busy", finished_at=NOW),
        }

    def test_what_the_feed_is_told(self) -> None:
        job_id = self.create("web1", "web2", quorum=1)
        self.say(messages.NackCommit, job_id, "web2", reason="busy")
        self.say(messages.AckCommit, job_id, "web1")
        explained = [(node, said.reason) for _, node, said in self.feeds.said if said.reason]
        assert explained == [("web2", "busy")]

    def test_a_vote_that_was_a_yes_is_no_reason(self) -> None:
        job_id = self.create("web1", "web2")
        self.say(messages.NackCommit, job_id, "web1", reason="busy")
        self.say(messages.AckCommit, job_id, "web2")
        assert self.status(job_id)[1]["web2"] is NodeStatus.WAS_READY
        assert self.reasons(job_id) == {"web1": "busy"}

    def test_who_succeeded_has_none(self) -> None:
        job_id = self.running("web1")
        self.say(messages.Succeeded, job_id, "web1")
        assert self.reasons(job_id) == {}

    def test_an_empty_one_is_none_and_a_long_one_is_cut(self) -> None:
        for said_reason, reason in (("", "failure"), ("x" * 501, "x" * 500)):
            job_id = self.running("web1")
            self.say(messages.Failed, job_id, "web1", reason=said_reason)
            assert self.reasons(job_id) == {"web1": reason}


class OutputTests(Jobs):
    def test_it_is_kept_when_it_was_captured(self) -> None:
        job_id = self.running("web1", "web2", "web3", capture_output=True)
        self.say(messages.Succeeded, job_id, "web1", stdout="out: ä", stderr="")
        self.say(messages.Failed, job_id, "web2", stderr="bad")
        assert self.output(job_id, "web1") == "out: ä".encode()
        assert self.output(job_id, "web1", "stderr") == b""
        assert self.output(job_id, "web2") is None
        assert self.output(job_id, "web2", "stderr") == b"bad"
        assert self.output(job_id, "web3") is None
        assert self.output(job_id, "nobody") is None
        assert self.output("0" * 32, "web1") is None

    def test_it_is_kept_before_the_status_that_tells_of_it(self) -> None:
        job_id = self.running("web1", capture_output=True)
        self.say(messages.Succeeded, job_id, "web1", stdout="out")
        output, node = self.store.recorded_changes[-3:-1]
        assert isinstance(output, OutputCaptured)
        assert isinstance(node, NodeStatusChange)

    def test_without_capture_none_is_kept(self) -> None:
        job_id = self.running("web1")
        self.say(messages.Succeeded, job_id, "web1", stdout="out", stderr="err")
        assert self.outputs_recorded() == []

    def test_nor_of_a_node_that_did_not_run(self) -> None:
        job_id = self.create("web1", "web2", capture_output=True)
        self.say(messages.Succeeded, job_id, "web1", stdout="out")  # new
        self.say(messages.AckCommit, job_id, "web2")
        job_id = self.create("web1", "web2", capture_output=True)
        self.say(messages.AckCommit, job_id, "web1", "web2")
        self.say(messages.Succeeded, job_id, "web1", stdout="out")  # ready
        assert self.outputs_recorded() == []

    def test_nor_what_is_said_a_second_time(self) -> None:
        job_id = self.running("web1", "web2", capture_output=True)
        self.say(messages.Succeeded, job_id, "web1", stdout="first")
        self.say(messages.Failed, job_id, "web1", stdout="second")
        assert self.output(job_id, "web1") == b"first"
        assert self.status(job_id)[1]["web1"] is Succeeded
        assert len(self.outputs_recorded()) == 1

    def test_a_node_that_sent_none_has_none(self) -> None:
        job_id = self.running("web1", capture_output=True)
        self.say(messages.Succeeded, job_id, "web1")
        assert self.outputs_recorded() == []

    def test_it_belongs_to_its_organization(self) -> None:
        job_id = self.running("web1", "web2", capture_output=True)
        self.say(messages.Succeeded, job_id, "web1", stdout="out")
        assert self.output(job_id, "web1", organization="other") is None


class KeepingTests(Jobs):
    """What is committed, and what waits for that."""

    def test_a_job_is_committed_before_anybody_hears_of_it(self) -> None:
        self.store.hold()
        creating = self.creating("web1")
        assert not creating.called
        assert (self.nodes.sent, self.feeds.events, self.live.ids()) == ([], [], [])
        assert self.clock.getDelayedCalls() == []
        self.store.release()
        job_id = self.successResultOf(creating)
        assert self.store.kept(job_id) is not None
        assert self.nodes.told(messages.Commit) == ["web1"]
        assert self.live.ids() == [job_id]

    def test_who_is_available_is_asked_when_the_job_begins(self) -> None:
        self.store.hold()
        creating = self.creating("web1")
        self.nodes.presences[NodeRef(ORG, "web1")] = Presence.OFFLINE
        self.store.release()
        assert self.status(self.successResultOf(creating))[1] == {"web1": NodeStatus.UNAVAILABLE}

    def test_one_that_cannot_be_kept_is_none(self) -> None:
        self.store.break_down()
        error = failure_of(self.creating("web1"), StoreUnavailable)
        assert "disk full" in str(error)
        self.store.mend()
        assert self.store.ids() == []
        assert (self.nodes.sent, self.feeds.events, self.live.ids()) == ([], [], [])
        assert self.clock.getDelayedCalls() == []

    def test_one_whose_caller_went_away_meanwhile_goes_its_way(self) -> None:
        """It may be committed: nobody would ever end it, if it did not begin."""
        self.store.hold()
        creating = self.creating("web1")
        creating.cancel()
        failure_of(creating, CancelledError)
        self.store.release()
        (job_id,) = self.store.ids()
        assert self.status(job_id)[0] is JobStatus.VOTING
        assert self.nodes.told(messages.Commit) == ["web1"]
        self.clock.advance(VOTING_TIMEOUT)
        assert self.status(job_id)[0] is JobStatus.QUORUM_FAILED

    def test_one_whose_caller_went_away_before_it_failed_is_none(self) -> None:
        self.store.hold()
        creating = self.creating("web1")
        creating.cancel()
        failure_of(creating, CancelledError)
        self.store.break_down()
        self.store.release()
        assert self.live.ids() == []
        assert self.nodes.sent == []

    def test_while_nothing_can_be_written_it_goes_on_and_is_answered_from_memory(self) -> None:
        job_id = self.create("web1")
        self.store.break_down()
        self.say(messages.AckCommit, job_id, "web1")
        self.say(messages.AckRun, job_id, "web1")
        self.say(messages.Succeeded, job_id, "web1")
        assert self.status(job_id) == (JobStatus.COMPLETE, {"web1": Succeeded})
        self.store.mend()
        kept = self.store.kept(job_id)
        assert kept is not None
        assert (kept.status, kept.nodes) == (JobStatus.COMPLETE, {"web1": Succeeded})
        assert self.status(job_id) == (JobStatus.COMPLETE, {"web1": Succeeded})

    def test_an_ended_job_leaves_the_memory_once_it_is_kept(self) -> None:
        job_id = self.running("web1")
        self.store.hold()
        self.say(messages.Succeeded, job_id, "web1")
        marked = self.job(job_id)
        self.store.release()
        kept = self.store.kept(job_id)
        assert marked is not kept
        assert marked == kept
        assert self.job(job_id) is kept

    def test_an_ended_job_is_not_live_though_it_is_not_kept_yet(self) -> None:
        job_id = self.running("web1")
        self.store.hold()
        self.say(messages.Succeeded, job_id, "web1")
        assert self.live.ids() == []
        assert self.live.status(NodeRef(ORG, "web1"), job_id) is None

    def test_what_comes_late_for_it_changes_nothing(self) -> None:
        job_id = self.running("web1")
        self.store.hold()
        self.say(messages.Succeeded, job_id, "web1")
        changes = len(self.store.recorded_changes)
        self.live.on_down(NodeRef(ORG, "web1"))
        self.store.release()
        self.live.on_down(NodeRef(ORG, "web1"))
        assert len(self.store.recorded_changes) == changes
        assert self.status(job_id) == (JobStatus.COMPLETE, {"web1": Succeeded})

    def test_a_list_waits_for_what_was_recorded(self) -> None:
        job_id = self.running("web1", capture_output=True)
        self.store.hold()
        self.say(messages.Succeeded, job_id, "web1", stdout="out")
        listing = begin(self.service.jobs(ORG, JobQuery(limit=10)))
        assert not listing.called
        self.store.release()
        assert [job.status for job in self.successResultOf(listing)] == [JobStatus.COMPLETE]

    def test_a_commit_that_fits_into_no_message_is_refused(self) -> None:
        error = failure_of(self.creating("web1", command="x" * MAX_BODY_SIZE), InvalidRequest)
        assert f"at most {MAX_BODY_SIZE} bytes" in str(error)
        assert self.store.ids() == []

    def test_what_is_counted_is_the_message_not_the_text(self) -> None:
        """Escapes and UTF-8 make a text longer; the largest that is taken makes a message within the limit."""
        for character in ("x", "\x01", "ä"):
            size = MAX_BODY_SIZE
            while True:
                creating = self.creating("web1", command=character * size)
                if isinstance(creating.result, str):
                    break
                failure_of(creating, InvalidRequest)
                size -= 97
            _, _, kind, fields = self.nodes.sent[-1]
            message = messages.encode(kind(timestamp="x" * 29, sequence=10**9, **fields))
            assert MAX_BODY_SIZE * 0.98 < len(message) <= MAX_BODY_SIZE


class ConcernTests(Jobs):
    def test_a_live_job_concerns_its_nodes_in_its_organization(self) -> None:
        job_id = self.create("web1")
        assert self.live.status(NodeRef(ORG, "web1"), job_id) is not None
        assert self.live.status(NodeRef(ORG, "web2"), job_id) is None
        assert self.live.status(NodeRef("other", "web1"), job_id) is None
        for unknown in ("", "0" * 32, job_id.upper()):
            assert self.live.status(NodeRef(ORG, "web1"), unknown) is None

    def test_another_organizations_job_is_unknown_live_or_ended(self) -> None:
        job_id = self.running("web1")
        assert self.job(job_id, "other") is None
        self.say(messages.Succeeded, job_id, "web1")
        assert self.job(job_id, "other") is None
        assert self.successResultOf(begin(self.service.jobs("other", JobQuery(limit=10)))) == []

    def test_an_unknown_job_is_none(self) -> None:
        assert self.job("0" * 32) is None

    def test_live_jobs_of_all_organizations_are_listed(self) -> None:
        first = self.create("web1")
        second = self.create("web1", organization="other")
        third = self.running("web1")
        self.say(messages.Succeeded, third, "web1")
        assert self.live.ids() == [first, second]

    def test_the_newest_jobs_are_listed(self) -> None:
        ids = [self.create(f"web{number}") for number in range(3)]
        listed = self.successResultOf(begin(self.service.jobs(ORG, JobQuery(limit=2))))
        assert [job.id for job in listed] == [ids[2], ids[1]]

    def test_what_is_answered_does_not_change_afterwards(self) -> None:
        job_id = self.create("web1")
        before = self.job(job_id)
        self.say(messages.NackCommit, job_id, "web1", reason="busy")
        assert before is not None
        assert (before.status, before.nodes, before.reasons) == (JobStatus.VOTING, {"web1": New}, {})


class DownTests(Jobs):
    def test_every_live_job_of_the_node_hears_of_it(self) -> None:
        voting = self.create("web1", "web2", quorum=1)
        running = self.running("web1", "web2")
        elsewhere = self.create("web2")
        other = self.create("web1", organization="other")
        self.live.on_down(NodeRef(ORG, "web1"))
        assert self.status(voting)[1] == {"web1": NodeStatus.UNAVAILABLE, "web2": New}
        assert self.status(running)[1] == {"web1": NodeStatus.CRASHED, "web2": Running}
        assert self.status(elsewhere)[1] == {"web2": New}
        found = self.job(other, "other")
        assert found is not None
        assert found.nodes == {"web1": New}
        assert self.reasons(voting) == {"web1": "down"}
        assert self.reasons(running) == {"web1": "crashed"}

    def test_jobs_that_end_with_it_do_not_disturb_the_others(self) -> None:
        ids = [self.running("web1") for _ in range(5)]
        self.live.on_down(NodeRef(ORG, "web1"))
        assert {self.status(job_id)[0] for job_id in ids} == {JobStatus.COMPLETE}
        assert self.live.ids() == []
        assert self.clock.getDelayedCalls() == []

    def test_a_node_without_a_job_changes_nothing(self) -> None:
        self.create("web1")
        changes = len(self.store.recorded_changes)
        self.live.on_down(NodeRef(ORG, "web2"))
        assert len(self.store.recorded_changes) == changes


class AbortTests(Jobs):
    def aborting(self, job_id: str, organization: str = ORG) -> Deferred[StoredJob | None]:
        return begin(self.service.abort(organization, job_id))

    def test_its_nodes_are_sent_to_rehab_and_it_ends_when_they_confirm(self) -> None:
        job_id = self.running("web1", "web2")
        job = self.successResultOf(self.aborting(job_id))
        assert job is not None
        assert (job.status, job.aborting) == (JobStatus.RUNNING, True)
        assert self.nodes.rehabs == [NodeRef(ORG, "web1"), NodeRef(ORG, "web2")]
        self.say(messages.Aborted, job_id, "web1", "web2")
        aborted = NodeStatus.ABORTED
        assert self.status(job_id) == (JobStatus.ABORTED, {"web1": aborted, "web2": aborted})
        assert self.clock.getDelayedCalls() == []

    def test_that_it_is_wanted_is_kept_first(self) -> None:
        job_id = self.running("web1")
        self.store.hold()
        aborting = self.aborting(job_id)
        assert not aborting.called
        self.store.release()
        assert self.successResultOf(aborting) is not None
        kept = self.store.kept(job_id)
        assert kept is not None
        assert kept.aborting

    def test_a_second_time_or_after_the_end_is_too_late(self) -> None:
        job_id = self.running("web1")
        self.successResultOf(self.aborting(job_id))
        failure_of(self.aborting(job_id), TooLate)
        self.say(messages.Aborted, job_id, "web1")
        assert str(failure_of(self.aborting(job_id), TooLate)) == "aborted"
        complete = self.running("web1")
        self.say(messages.Succeeded, complete, "web1")
        assert str(failure_of(self.aborting(complete), TooLate)) == "complete"

    def test_an_unknown_job_or_another_organizations_is_none(self) -> None:
        job_id = self.running("web1")
        assert self.successResultOf(self.aborting("0" * 32)) is None
        assert self.successResultOf(self.aborting(job_id, "other")) is None
        assert self.status(job_id)[0] is JobStatus.RUNNING


class RunOrderTests(Jobs):
    def test_nobody_runs_before_it_is_kept_that_they_shall(self) -> None:
        job_id = self.create("web1", "web2")
        self.store.hold()
        self.say(messages.AckCommit, job_id, "web1", "web2")
        assert self.nodes.told(messages.Run) == []
        self.live.on_down(NodeRef(ORG, "web1"))
        self.store.release()
        assert self.nodes.told(messages.Run) == ["web2"]

    def test_nor_does_one_that_comes_back_before_that(self) -> None:
        """It is told with the others, once: a second run after a quick command would look like a node out of step."""
        job_id = self.create("web1", "web2")
        self.store.hold()
        self.say(messages.AckCommit, job_id, "web1", "web2")
        self.live.on_available(NodeRef(ORG, "web1"), carries_on=True)
        assert self.nodes.told(messages.Run) == []
        self.store.release()
        assert self.nodes.told(messages.Run) == ["web1", "web2"]

    def test_one_that_comes_back_after_that_is_told_again(self) -> None:
        job_id = self.create("web1", "web2")
        self.say(messages.AckCommit, job_id, "web1", "web2")
        self.live.on_available(NodeRef(ORG, "web1"), carries_on=True)
        assert self.nodes.told(messages.Run) == ["web1", "web2", "web1"]

    def test_nor_when_the_job_ended_meanwhile(self) -> None:
        job_id = self.create("web1")
        self.store.hold()
        self.say(messages.AckCommit, job_id, "web1")
        aborting = begin(self.service.abort(ORG, job_id))
        self.store.release()
        assert aborting.called
        assert self.nodes.told(messages.Run) == []


class LostOnTheWayTests(Jobs):
    """Nodes that speak 3.0 and are there, although what they were told or what they answered was lost."""

    def beat(self, seconds: float, *nodes: str) -> None:
        """Let time pass, in which nodes send a heartbeat every second."""
        for _ in range(round(seconds)):
            self.clock.advance(1)
            for name in nodes:
                self.live.on_heartbeat(NodeRef(ORG, name))

    def test_who_does_not_answer_the_commit_is_asked_again(self) -> None:
        job_id = self.create("web1", "web2")
        self.say(messages.AckCommit, job_id, "web2")
        self.beat(4, "web1", "web2")
        assert self.nodes.told(messages.Commit) == ["web1", "web2"]
        self.beat(7, "web1", "web2")
        assert self.nodes.told(messages.Commit) == ["web1", "web2", "web1", "web1"]
        assert self.nodes.sent[0][3] == self.nodes.sent[1][3]

    def test_who_does_not_run_is_told_again(self) -> None:
        job_id = self.create("web1", "web2")
        self.beat(4, "web1", "web2")
        self.say(messages.AckCommit, job_id, "web1", "web2")
        self.say(messages.AckRun, job_id, "web2")
        self.beat(4, "web1", "web2")
        assert self.nodes.told(messages.Run) == ["web1", "web2"]
        self.beat(6, "web1", "web2")
        assert self.nodes.told(messages.Run) == ["web1", "web2", "web1", "web1"]
        assert self.nodes.told(messages.Commit) == ["web1", "web2"]

    def test_not_before_it_is_kept_that_they_shall(self) -> None:
        job_id = self.create("web1")
        self.store.hold()
        self.say(messages.AckCommit, job_id, "web1")
        self.beat(20, "web1")
        assert self.nodes.told(messages.Run) == []
        self.store.release()
        self.beat(4, "web1")
        assert self.nodes.told(messages.Run) == ["web1"]

    def test_one_that_knows_of_nothing_says_so_and_has_failed(self) -> None:
        job_id = self.create("web1")
        self.say(messages.AckCommit, job_id, "web1")
        self.beat(5, "web1")
        assert self.nodes.told(messages.Run) == ["web1", "web1"]
        self.say(messages.NackRun, job_id, "web1", reason="not_committed")
        assert self.status(job_id) == (JobStatus.COMPLETE, {"web1": NodeStatus.FAILED})
        assert self.reasons(job_id) == {"web1": "not_committed"}

    def test_nobody_else_is_told_anything(self) -> None:
        waiting = self.create("web1", "web2")
        self.say(messages.AckCommit, waiting, "web1")
        running = self.running("app1", "app2")
        self.say(messages.Succeeded, running, "app2")
        self.nodes.sent.clear()
        self.beat(20, "web1", "app1", "app2", "stranger")
        assert self.nodes.sent == []
        self.successResultOf(begin(self.service.abort(ORG, waiting)))
        self.beat(20, "web1", "web2")
        assert self.nodes.sent == []

    def test_a_job_that_is_over_is_forgotten(self) -> None:
        for ended in (self.create("web1", quorum=1), self.running("web1")):
            self.live.on_down(NodeRef(ORG, "web1"))
            assert self.status(ended)[0] in {JobStatus.QUORUM_FAILED, JobStatus.COMPLETE}
        late = self.running("web1", run_timeout=10)
        self.clock.advance(10)
        assert self.status(late)[0] is JobStatus.TIMED_OUT
        self.nodes.sent.clear()
        self.beat(20, "web1")
        self.live.on_available(NodeRef(ORG, "web1"), carries_on=True)
        assert self.nodes.sent == []


class TakeUpTests(Jobs):
    """What an earlier run of the server left unfinished."""

    ABSENCE = 20.0

    def left(self, status: JobStatus, *, since: float = 10, **nodes: NodeStatus) -> str:
        spec = JobSpec(
            id=f"{len(self.store.ids()):032x}",
            organization=ORG,
            command="true",
            nodes=tuple(nodes),
            quorum=1,
            run_timeout=90,
            voting_timeout=VOTING_TIMEOUT,
            created_at=NOW - 100,
            created_by="admin",
        )
        self.store.keep(StoredJob(spec=spec, status=status, updated_at=NOW - since, nodes=nodes))
        return spec.id

    def test_a_job_that_has_not_begun_cannot_be_aborted_yet(self) -> None:
        job_id = self.left(JobStatus.NEW, web1=New)
        assert str(failure_of(begin(self.service.abort(ORG, job_id)), TooLate)) == "new"

    def take_up(self) -> int:
        return self.successResultOf(begin(self.service.take_up(self.ABSENCE)))

    def test_it_lives_again_and_what_had_ended_does_not(self) -> None:
        running = self.left(JobStatus.RUNNING, web1=Running, web2=Succeeded)
        complete = self.left(JobStatus.COMPLETE, web1=Succeeded)
        assert self.take_up() == 1
        assert self.live.ids() == [running]
        assert self.live.status(NodeRef(ORG, "web1"), running) is not None
        self.say(messages.Succeeded, running, "web1", carries_on=True)
        assert self.status(running) == (JobStatus.COMPLETE, {"web1": Succeeded, "web2": Succeeded})
        assert self.status(complete) == (JobStatus.COMPLETE, {"web1": Succeeded})

    def test_its_time_is_what_was_left_of_it(self) -> None:
        running = self.left(JobStatus.RUNNING, since=30, web1=Running)
        voting = self.left(JobStatus.VOTING, since=30, web1=New)
        self.take_up()
        self.clock.advance(29)
        assert self.status(voting)[0] is JobStatus.VOTING
        self.clock.advance(1)
        assert self.status(voting)[0] is JobStatus.QUORUM_FAILED
        self.clock.advance(29)
        assert self.status(running)[0] is JobStatus.RUNNING
        self.clock.advance(1)
        assert self.status(running)[0] is JobStatus.TIMED_OUT

    def test_nodes_that_do_not_come_back_are_down(self) -> None:
        self.nodes.presences = {NodeRef(ORG, "web1"): Presence.OFFLINE}
        job_id = self.left(JobStatus.RUNNING, web1=Running, web2=Running)
        self.take_up()
        self.clock.advance(self.ABSENCE)
        assert self.status(job_id)[1] == {"web1": NodeStatus.CRASHED, "web2": Running}

    def test_a_node_that_carries_on_may_end_what_it_was_told_to_begin(self) -> None:
        """The word that its command had been started is what was lost."""
        job_id = self.left(JobStatus.RUNNING, web1=Ready)
        self.take_up()
        self.say(messages.Succeeded, job_id, "web1", carries_on=True)
        assert self.status(job_id) == (JobStatus.COMPLETE, {"web1": Succeeded})

    def test_a_node_that_comes_back_is_told_what_it_may_not_have_heard(self) -> None:
        voting = self.left(JobStatus.VOTING, web1=New)
        running = self.left(JobStatus.RUNNING, web2=Ready)
        self.take_up()
        self.live.on_available(NodeRef(ORG, "web1"), carries_on=False)
        assert [(sent[1], sent[2], sent[3]["job_id"]) for sent in self.nodes.sent] == [
            (["web1"], messages.Commit, voting)
        ]
        self.live.on_available(NodeRef(ORG, "web2"), carries_on=True)
        assert self.nodes.sent[1:] == [(ORG, ["web2"], messages.Run, {"job_id": running})]

    def test_one_that_comes_back_without_its_job_has_lost_it(self) -> None:
        job_id = self.left(JobStatus.RUNNING, web1=Running, web2=Running)
        self.take_up()
        self.live.on_available(NodeRef(ORG, "web1"), carries_on=False)
        self.live.on_available(NodeRef(ORG, "web2"), carries_on=True)
        assert self.status(job_id)[1] == {"web1": NodeStatus.CRASHED, "web2": Running}

    def test_a_node_that_never_went_away_is_told_again_after_a_while(self) -> None:
        job_id = self.left(JobStatus.RUNNING, web1=Ready, web2=Running, web3=Succeeded)
        self.take_up()
        for name in ("web1", "web2", "web3"):
            self.live.on_heartbeat(NodeRef(ORG, name))
        assert self.nodes.sent == []
        self.clock.advance(5)
        for name in ("web1", "web2", "web3"):
            self.live.on_heartbeat(NodeRef(ORG, name))
        assert self.nodes.sent == [(ORG, ["web1"], messages.Run, {"job_id": job_id})]

    def test_its_feed_is_taken_up(self) -> None:
        job_id = self.left(JobStatus.RUNNING, web1=Running)
        self.store.record(FeedText(job_id=job_id, first=1, text=b"event: start"))
        self.take_up()
        assert self.feeds.restored == {job_id: b"event: start"}
