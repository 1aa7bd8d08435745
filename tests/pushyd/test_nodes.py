"""Presence as a service: what nodes hear and when, what jobs are told, and what time does. Time is a Clock.

The rules of one node are tested with `domain.node`; here it is what carries them out for many.
"""

from collections.abc import Iterable

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pushy_protocol import messages
from pushy_protocol.envelope import SessionSigner
from pushyd.domain.node import HeartbeatRule, NodeRef, Presence
from pushyd.nodes import NodeService
from pushyd.sessions import Session, Sessions
from tests.pushyd.doubles import MemoryStore, RecordingChannel, RecordingJobs, begin, said, texts

CHECK = 4.0
REHAB = 1.0
TURN = 0.125
"""Seconds of a turn of the reactor; a power of two, so that times are exact."""

WEB1, WEB2 = NodeRef("acme", "web1"), NodeRef("acme", "web2")
OTHER_WEB1 = NodeRef("other", "web1")
JOB = "0123456789abcdef0123456789abcdef"

ABORT, ACK = messages.Abort, messages.Ack


class Nodes(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)  # a monotonic clock does not begin at 0
        self.channel = RecordingChannel()
        self.jobs = RecordingJobs()
        self.results: list[tuple[NodeRef, str]] = []
        self.outputs: list[tuple[NodeRef, messages.Output]] = []
        self.sessions = Sessions(secret=b"secret", store=MemoryStore())
        for number, node in enumerate((WEB1, WEB2, OTHER_WEB1)):
            self.session(node, f"{number}" * 40)
        self.service = self.make()

    def make(self, **different: float) -> NodeService:
        service = NodeService(
            clock=self.clock,
            sessions=self.sessions,
            rule=HeartbeatRule(interval=1.0, window=4, threshold=0.6),
            rehab_seconds=different.get("rehab_seconds", REHAB),
            check_seconds=different.get("check_seconds", CHECK),
        )
        service.connect(
            self.channel,
            self.jobs,
            lambda *result: self.results.append(result),
            lambda *output: self.outputs.append(output),
        )
        service.start()
        self.addCleanup(service.stop)
        return service

    def session(self, node: NodeRef, curve_key: str) -> Session:
        return self.successResultOf(begin(self.sessions.admit(node, curve_key=curve_key, version="2.0")))

    def session_of(self, node: NodeRef) -> Session:
        session = self.sessions.of(node)
        assert session is not None
        return session

    def signer_of(self, node: NodeRef) -> SessionSigner:
        return self.session_of(node).signer

    def hear(self, message: messages.NodeMessage, route: bytes = b"route") -> None:
        self.service.on_message(self.session_of(NodeRef(message.org, message.node)), route, message)

    def heartbeat(self, node: NodeRef = WEB1, job_id: str | None = None, **how: str) -> messages.NodeMessage:
        message: messages.NodeMessage = said(messages.NodeHeartbeat, node, job_id, **how)
        return message

    def online(self, *nodes: NodeRef) -> None:
        """Bring nodes through rehab."""
        for node in nodes:
            self.hear(self.heartbeat(node), route=node.name.encode())
            self.hear(said(messages.Aborted, node), route=node.name.encode())
            assert self.service.presence(node) is Presence.IDLE
        self.channel.take()

    def pass_time(self, seconds: float, beating: Iterable[NodeRef] = ()) -> None:
        """Let time pass in turns of the reactor; `beating` send a heartbeat every second."""
        alive = list(beating)
        for turn in range(round(seconds / TURN)):
            if turn % round(1 / TURN) == 0:
                for node in alive:
                    self.hear(self.heartbeat(node), route=node.name.encode())
            self.clock.advance(TURN)


class PresenceTests(Nodes):
    def test_a_node_that_was_never_heard_of_is_offline(self) -> None:
        assert self.service.presence(WEB1) is Presence.OFFLINE
        assert self.service.presence(NodeRef("acme", "nobody")) is Presence.OFFLINE
        assert self.service.online_count() == 0

    def test_it_is_told_to_abort_at_once_and_available_when_it_did(self) -> None:
        self.hear(self.heartbeat())
        assert self.channel.take_kinds() == [ABORT]
        assert self.service.presence(WEB1) is Presence.REHAB
        self.hear(said(messages.Aborted, WEB1))
        assert self.channel.take_kinds() == []
        assert self.service.presence(WEB1) is Presence.IDLE

    def test_a_message_goes_to_the_route_that_was_heard_under_the_nodes_own_key(self) -> None:
        self.hear(self.heartbeat(), route=b"somewhere")
        (sent,) = self.channel.take()
        assert (sent.route, sent.signer) == (b"somewhere", self.signer_of(WEB1))

    def test_presences_are_those_of_every_node_with_a_session_by_name(self) -> None:
        self.session(NodeRef("acme", "app"), "9" * 40)
        self.online(WEB2)
        self.hear(self.heartbeat(WEB1))
        presences = self.service.presences("acme")
        assert list(presences.items()) == [("app", Presence.OFFLINE), ("web1", Presence.REHAB), ("web2", Presence.IDLE)]
        assert self.service.presences("nowhere") == {}

    def test_who_sends_heartbeats_is_counted_over_all_organizations(self) -> None:
        self.online(WEB1, OTHER_WEB1)
        self.hear(self.heartbeat(WEB2))
        assert self.service.online_count() == 3

    def test_organizations_with_a_node_of_one_name_do_not_mix(self) -> None:
        self.online(WEB1)
        assert self.service.presence(OTHER_WEB1) is Presence.OFFLINE
        self.hear(self.heartbeat(OTHER_WEB1), route=b"other")
        self.channel.take()
        self.service.send("other", ["web1"], messages.Run, {"job_id": JOB})
        self.service.send("acme", ["web1"], messages.Run, {"job_id": JOB})
        signers = [self.signer_of(OTHER_WEB1), self.signer_of(WEB1)]
        assert [sent.signer for sent in self.channel.sent] == signers
        assert [sent.route for sent in self.channel.take()] == [b"other", b"web1"]
        self.pass_time(12, beating=[WEB1])
        assert self.jobs.downs == [OTHER_WEB1]
        assert self.service.presence(WEB1) is Presence.IDLE


class SendingTests(Nodes):
    def test_one_message_is_encoded_once_and_signed_for_each(self) -> None:
        self.online(WEB1, WEB2)
        encoded = self.channel.encoded
        self.service.send("acme", ["web1", "web2"], messages.Commit, {"job_id": JOB, "command": "true"})
        assert self.channel.encoded == encoded + 1
        first, second = self.channel.take()
        assert [first.route, second.route] == [b"web1", b"web2"]
        assert first.body == second.body
        assert first.signer.sign(b"") != second.signer.sign(b"")
        command = messages.decode_from_server(first.body)
        assert isinstance(command, messages.Commit)
        assert (command.job_id, command.command) == (JOB, "true")

    def test_nodes_that_are_offline_or_unknown_get_none(self) -> None:
        self.online(WEB1, WEB2)
        self.pass_time(12, beating=[WEB2])
        self.channel.take()
        self.service.send("acme", ["nobody", "web1", "web2"], messages.Run, {"job_id": JOB})
        assert [sent.route for sent in self.channel.take()] == [b"web2"]

    def test_a_node_in_rehab_gets_it(self) -> None:
        self.hear(self.heartbeat())
        self.channel.take()
        self.service.send("acme", ["web1"], messages.Run, {"job_id": JOB})
        assert self.channel.take_kinds() == [messages.Run]


class RehabTests(Nodes):
    def test_abort_is_said_again_every_interval_until_it_is_answered(self) -> None:
        self.hear(self.heartbeat())
        times = []
        for _ in range(round(3.5 / TURN)):
            times += [self.clock.seconds() - 1000] * len(self.channel.take())
            self.clock.advance(TURN)
        assert times == [0.0, 1.0, 2.0, 3.0]
        self.hear(said(messages.Aborted, WEB1))
        self.pass_time(3, beating=[WEB1])
        assert self.channel.take_kinds() == [ACK]  # for its socket's identity, which is another in pass_time

    def test_the_interval_is_counted_from_the_last_abort(self) -> None:
        self.clock.advance(0.5)  # between two of the service's looks
        self.hear(self.heartbeat())
        self.channel.take()
        self.pass_time(0.875)
        assert self.channel.take() == []
        self.pass_time(0.375)
        assert self.channel.take_kinds() == [ABORT]

    def test_every_node_in_rehab_is_told_and_no_other(self) -> None:
        self.online(WEB2)
        self.hear(self.heartbeat(WEB1), route=b"web1")
        self.hear(self.heartbeat(OTHER_WEB1), route=b"other")
        self.channel.take()
        self.pass_time(1.25)
        assert {sent.route for sent in self.channel.take()} == {b"web1", b"other"}

    def test_what_a_job_wants(self) -> None:
        self.online(WEB1)
        self.service.rehab(WEB1)
        assert self.channel.take_kinds() == [ABORT]
        assert self.service.presence(WEB1) is Presence.REHAB
        self.service.rehab(WEB1)
        assert self.channel.take() == []

    def test_of_a_node_that_is_offline_or_unknown_waits_until_it_returns(self) -> None:
        self.service.rehab(WEB1)
        self.online(WEB2)
        self.pass_time(12)
        self.channel.take()
        self.service.rehab(WEB2)
        self.pass_time(3)
        assert self.channel.take() == []
        self.hear(self.heartbeat(WEB2))
        assert self.channel.take_kinds() == [ABORT]

    def test_a_node_that_goes_down_in_rehab_is_told_no_more(self) -> None:
        self.hear(self.heartbeat())
        self.pass_time(12)
        assert self.service.presence(WEB1) is Presence.OFFLINE
        self.channel.take()
        self.pass_time(3)
        assert self.channel.take() == []

    def test_a_heartbeat_that_names_an_unknown_job(self) -> None:
        self.online(WEB1)
        self.hear(self.heartbeat(WEB1, JOB), route=b"web1")
        assert self.channel.take_kinds() == [ABORT]
        assert self.service.presence(WEB1) is Presence.REHAB

    def test_a_heartbeat_that_names_another_nodes_job(self) -> None:
        self.online(WEB1)
        self.jobs.live |= {(WEB2, JOB), (OTHER_WEB1, JOB)}
        self.hear(self.heartbeat(WEB1, JOB), route=b"web1")
        assert self.channel.take_kinds() == [ABORT]

    def test_a_heartbeat_that_names_its_job_or_none_changes_nothing(self) -> None:
        self.online(WEB1)
        self.jobs.live.add((WEB1, JOB))
        self.hear(self.heartbeat(WEB1, JOB), route=b"web1")
        self.hear(self.heartbeat(WEB1), route=b"web1")
        assert self.channel.take() == []
        assert self.service.presence(WEB1) is Presence.IDLE

    def test_any_other_message_of_an_unknown_job_or_of_none(self) -> None:
        for kind in (messages.AckCommit, messages.NackRun, messages.Succeeded, messages.Failed):
            for job_id in (JOB, None):
                self.online(WEB1)
                self.hear(said(kind, WEB1, job_id), route=b"web1")
                assert self.channel.take_kinds() == [ABORT], (kind, job_id)
        assert self.jobs.heard == []


class ConnectionTests(Nodes):
    def test_who_reconnects_is_answered_at_once_and_keeps_its_state(self) -> None:
        self.online(WEB1)
        self.hear(self.heartbeat(), route=b"new")
        (sent,) = self.channel.take()
        assert (sent.kind, sent.route) == (ACK, b"new")
        assert self.service.presence(WEB1) is Presence.IDLE
        self.hear(self.heartbeat(), route=b"new")
        assert self.channel.take() == []
        assert self.jobs.downs == []

    def test_who_reconnects_in_rehab_is_told_to_abort_and_the_interval_begins_anew(self) -> None:
        self.hear(self.heartbeat(), route=b"old")
        self.pass_time(0.5)
        self.hear(self.heartbeat(), route=b"new")
        assert [(sent.kind, sent.route) for sent in self.channel.take()] == [(ABORT, b"old"), (ABORT, b"new")]
        self.pass_time(0.875)
        assert self.channel.take() == []
        self.pass_time(0.25)
        assert self.channel.take_kinds() == [ABORT]

    def test_an_agent_that_was_restarted_is_down_then_in_rehab(self) -> None:
        self.online(WEB1)
        when_down: list[Presence] = []
        self.jobs.when_down = lambda node: when_down.append(self.service.presence(node))
        self.hear(self.heartbeat(incarnation="another"), route=b"web1")
        assert self.jobs.downs == [WEB1]
        assert self.channel.take_kinds() == [ABORT]
        assert self.service.presence(WEB1) is Presence.REHAB
        assert Presence.IDLE not in when_down, "a job could have taken it for available"
        self.pass_time(1.25)
        assert self.channel.take_kinds() == [ABORT]

    def test_what_a_job_does_about_a_node_that_was_restarted_says_abort_once(self) -> None:
        self.online(WEB1)
        self.jobs.when_down = self.service.rehab
        self.hear(self.heartbeat(incarnation="another"), route=b"web1")
        assert self.channel.take_kinds() == [ABORT]


class NewKeyTests(Nodes):
    """A node fetched its configuration with another CURVE key; whoever has the old one must hear nothing any more."""

    def setUp(self) -> None:
        super().setUp()
        self.online(WEB1, WEB2)
        self.session(WEB1, "9" * 40)

    def order(self) -> None:
        """A job's run, to both nodes."""
        self.service.send("acme", ["web1", "web2"], messages.Run, {"job_id": JOB})

    def test_what_it_is_told_waits_until_it_speaks_with_the_new_one(self) -> None:
        self.order()
        assert [sent.route for sent in self.channel.take()] == [b"web2"]
        self.hear(self.heartbeat(), route=b"new")
        sent = self.channel.take()
        assert [(each.kind, each.route) for each in sent] == [(ACK, b"new"), (messages.Run, b"new")]
        assert {each.signer for each in sent} == {self.signer_of(WEB1)}
        self.hear(self.heartbeat(), route=b"new")
        assert self.channel.take() == []

    def test_once_it_has_the_old_one_again_what_waited_is_sent_with_the_next_message(self) -> None:
        for say in (self.heartbeat(job_id=JOB), said(messages.AckRun, WEB1, JOB)):
            self.jobs.live = {(WEB1, JOB)}
            self.session(WEB1, "9" * 40)
            self.order()
            self.session(WEB1, "0" * 40)
            self.channel.take()
            self.hear(say, route=b"web1")
            assert self.channel.take_kinds() == [messages.Run]

    def test_all_of_it_in_its_order(self) -> None:
        for kind, fields in ((messages.Commit, {"job_id": JOB, "command": "true"}), (messages.Run, {"job_id": JOB})):
            self.service.send("acme", ["web1"], kind, fields)
        self.service.rehab(WEB1)
        assert self.channel.take() == []
        self.hear(self.heartbeat(), route=b"new")
        assert self.channel.take_kinds() == [ABORT, messages.Commit, messages.Run, ABORT]

    def test_what_is_said_after_that_goes_at_once(self) -> None:
        self.hear(self.heartbeat(), route=b"new")
        self.channel.take()
        self.order()
        assert [sent.route for sent in self.channel.take()] == [b"new", b"web2"]

    def test_an_agent_that_was_restarted_does_not_hear_what_was_for_the_one_before(self) -> None:
        self.order()
        self.channel.take()
        self.hear(self.heartbeat(incarnation="another"), route=b"new")
        assert self.channel.take_kinds() == [ABORT]

    def test_nor_one_that_was_down_meanwhile(self) -> None:
        self.order()
        self.pass_time(12, beating=[WEB2])
        self.channel.take()
        self.hear(self.heartbeat(), route=b"new")
        assert self.channel.take_kinds() == [ABORT]

    def test_the_same_key_again_changes_nothing(self) -> None:
        self.session(WEB2, "1" * 40)
        self.order()
        assert [sent.route for sent in self.channel.take()] == [b"web2"]


class MessageTests(Nodes):
    def test_what_concerns_a_job_reaches_it(self) -> None:
        self.online(WEB1)
        self.jobs.live.add((WEB1, JOB))
        message = said(messages.AckCommit, WEB1, JOB)
        self.hear(message, route=b"web1")
        assert self.jobs.heard == [(WEB1, message)]
        assert self.channel.take() == []

    def test_aborted_too_where_it_names_a_live_job(self) -> None:
        self.online(WEB1)
        self.jobs.live.add((WEB1, JOB))
        message = said(messages.Aborted, WEB1, JOB)
        self.hear(message, route=b"web1")
        assert self.jobs.heard == [(WEB1, message)]

    def test_what_concerns_none_does_not(self) -> None:
        self.online(WEB1)
        self.jobs.live |= {(WEB2, JOB), (OTHER_WEB1, JOB)}
        for kind in (messages.AckCommit, messages.Aborted, messages.Succeeded):
            for job_id in (JOB, "", None):
                self.hear(said(kind, WEB1, job_id), route=b"web1")
        assert self.jobs.heard == []

    def test_a_heartbeat_does_not(self) -> None:
        self.online(WEB1)
        self.jobs.live.add((WEB1, JOB))
        self.hear(self.heartbeat(WEB1, JOB), route=b"web1")
        assert self.jobs.heard == []

    def test_the_job_hears_of_it_after_the_node_was_brought_back(self) -> None:
        """A message from a node that was taken for down: first its rehab begins, then the job hears."""
        self.jobs.live.add((WEB1, JOB))
        self.hear(said(messages.Succeeded, WEB1, JOB))
        assert self.channel.take_kinds() == [ABORT]
        assert len(self.jobs.heard) == 1

    def test_nor_does_a_message_whose_job_ended_with_the_restart_of_its_node(self) -> None:
        self.online(WEB1)
        self.jobs.live.add((WEB1, JOB))
        self.jobs.when_down = lambda node: self.jobs.live.discard((node, JOB))
        self.hear(said(messages.Succeeded, WEB1, JOB, incarnation="another"), route=b"web1")
        assert self.jobs.downs == [WEB1]
        assert self.jobs.heard == []
        assert self.channel.take_kinds() == [ABORT]


class CarryingOnTests(Nodes):
    """Agents that speak 3.0: their results are acknowledged, and they resume instead of aborting."""

    def setUp(self) -> None:
        super().setUp()
        session = self.successResultOf(begin(self.sessions.admit(WEB1, curve_key="3" * 40, version="3.0")))
        assert {"results", "resume"} <= session.extensions

    def test_who_returns_with_its_job_carries_on(self) -> None:
        self.jobs.live.add((WEB1, JOB))
        self.hear(self.heartbeat(WEB1, JOB))
        assert self.channel.take_kinds() == [ACK]
        assert self.service.presence(WEB1) is Presence.IDLE
        assert self.jobs.available == [(WEB1, True)]

    def test_who_returns_with_a_job_that_is_over_or_unknown_does_not(self) -> None:
        for live in (set[tuple[NodeRef, str]](), {(WEB1, JOB)}):
            self.jobs.live = self.jobs.over = live
            self.hear(self.heartbeat(WEB1, JOB, incarnation=str(len(live))))
            assert self.channel.take_kinds() == [ABORT]
        assert self.jobs.available == []

    def test_nor_does_one_of_2x(self) -> None:
        self.jobs.live.add((WEB2, JOB))
        self.hear(self.heartbeat(WEB2, JOB))
        assert self.channel.take_kinds() == [ABORT]
        self.hear(said(messages.Aborted, WEB2))
        assert self.jobs.available == [(WEB2, False)]

    def test_that_it_is_there_is_told_once_it_is_available_and_of_2x_never(self) -> None:
        self.hear(self.heartbeat(WEB1))
        assert self.jobs.beating == []
        self.online(WEB1, WEB2)
        for node in (WEB1, WEB2):
            self.hear(self.heartbeat(node), route=node.name.encode())
        assert self.jobs.beating == [WEB1]
        self.jobs.live.add((WEB1, JOB))
        self.hear(said(messages.AckRun, WEB1, JOB), route=b"web1")
        assert self.jobs.beating == [WEB1]

    def test_it_hears_something_now_and_then_and_one_of_2x_does_not(self) -> None:
        self.online(WEB1, WEB2)
        self.pass_time(10, beating=[WEB1, WEB2])
        assert self.channel.take() == []
        self.pass_time(20, beating=[WEB1, WEB2])
        sent = self.channel.take()
        assert [(each.route, each.kind) for each in sent] == [(b"web1", ACK)] * 2

    def test_not_when_it_was_told_something_else(self) -> None:
        self.online(WEB1)
        for _ in range(5):
            self.pass_time(8, beating=[WEB1])
            self.service.acknowledge(WEB1, JOB)
        assert self.channel.take_kinds() == [ACK] * 5

    def test_results_are_passed_on_and_reported_also_when_they_come_again(self) -> None:
        self.online(WEB1)
        self.jobs.live.add((WEB1, JOB))
        for over in (False, True):
            if over:
                self.jobs.over.add((WEB1, JOB))
            self.hear(said(messages.Succeeded, WEB1, JOB), route=b"web1")
        assert [message.job_id for _, message in self.jobs.heard] == [JOB]
        assert self.results == [(WEB1, JOB)] * 2
        assert self.channel.take() == []

    def test_a_result_of_an_unknown_job_is_reported_and_causes_no_rehab(self) -> None:
        self.online(WEB1)
        self.hear(said(messages.Failed, WEB1, JOB), route=b"web1")
        assert self.results == [(WEB1, JOB)]
        assert self.channel.take() == []

    def test_one_of_2x_is_not_reported(self) -> None:
        self.online(WEB2)
        self.jobs.live.add((WEB2, JOB))
        self.hear(said(messages.Succeeded, WEB2, JOB), route=b"web2")
        assert self.results == []
        assert len(self.jobs.heard) == 1


class DownTests(Nodes):
    def test_a_silent_node_is_down_within_8_seconds_and_its_jobs_are_told_once(self) -> None:
        self.online(WEB1, WEB2)
        self.pass_time(7, beating=[WEB1, WEB2])
        self.pass_time(8, beating=[WEB2])
        assert self.service.presence(WEB1) is Presence.OFFLINE
        assert self.service.presence(WEB2) is Presence.IDLE
        self.pass_time(20, beating=[WEB2])
        assert self.jobs.downs == [WEB1]
        assert self.service.online_count() == 1

    def test_it_comes_back_through_rehab(self) -> None:
        self.online(WEB1)
        self.pass_time(12)
        self.channel.take()
        self.hear(self.heartbeat())
        assert self.channel.take_kinds() == [ABORT]
        assert self.service.presence(WEB1) is Presence.REHAB

    def test_its_coming_and_going_is_logged(self) -> None:
        with capturedLogs() as logged:
            self.hear(self.heartbeat())
            self.hear(said(messages.Aborted, WEB1))
            self.pass_time(12)
        assert texts(logged, "info") == ["Node acme/web1 is online", "Node acme/web1 is down"]

    def test_one_that_stays_is_never_down(self) -> None:
        self.online(WEB1)
        self.pass_time(120, beating=[WEB1])
        assert self.jobs.downs == []

    def test_a_job_that_fails_over_one_node_does_not_save_the_others(self) -> None:
        def fail(node: NodeRef) -> None:
            if node == WEB1:
                raise LookupError(node)

        self.online(WEB1, WEB2)
        self.jobs.when_down = fail
        self.pass_time(16)
        assert len(self.flushLoggedErrors(LookupError)) == 1
        assert self.jobs.downs == [WEB1, WEB2]

    def test_after_the_stop_nobody_is_looked_at(self) -> None:
        self.online(WEB1)
        self.hear(self.heartbeat(WEB2))
        self.service.stop()
        self.channel.take()
        self.pass_time(20)
        assert (self.jobs.downs, self.channel.take()) == ([], [])
        assert self.clock.getDelayedCalls() == []
        self.service.stop()


class StandstillTests(Nodes):
    """This process stood still: heartbeats wait in the sockets, and nodes must not be judged before they were read."""

    def stand_still(self, before: float, seconds: float) -> None:
        """Live until `before` seconds after a check, stand still, then read what waits and live on."""
        nodes = [WEB1, WEB2]
        self.online(*nodes)
        self.pass_time(2 * CHECK + before, beating=nodes)
        with capturedLogs() as self.logged:
            self.clock.advance(seconds)
            for _ in range(int(seconds)):
                for node in nodes:
                    self.hear(self.heartbeat(node), route=node.name.encode())
            self.pass_time(3 * CHECK, beating=nodes)

    def test_for_however_long_nobody_is_down(self) -> None:
        for seconds in (2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 6.0, 60.0):
            for before in (0.0, 0.125, 1.0, 2.0, 3.0, 3.5, 3.875):
                with self.subTest(seconds=seconds, before=before):
                    self.stand_still(before, seconds)
                    assert self.jobs.downs == []
                    self.service.stop()
                    self.service = self.make()

    def test_it_is_said(self) -> None:
        self.stand_still(1.0, 30.0)
        (text,) = texts(self.logged, "warn")
        assert "stood still for 29.8 s" in text

    def test_a_node_that_died_meanwhile_is_down_with_the_next_look(self) -> None:
        self.online(WEB1)
        self.pass_time(2 * CHECK, beating=[WEB1])
        self.clock.advance(30)
        assert self.jobs.downs == []
        self.pass_time(2 * CHECK)
        assert self.jobs.downs == [WEB1]

    def test_it_is_noticed_however_rarely_aborts_are_repeated(self) -> None:
        self.service.stop()
        self.service = self.make(rehab_seconds=3600.0)
        self.stand_still(1.0, 6.0)
        assert self.jobs.downs == []

    def test_nor_while_what_they_say_is_read_late(self) -> None:
        self.online(WEB1)
        self.pass_time(2 * CHECK, beating=[WEB1])
        with capturedLogs() as logged:
            for seconds in range(1, 31):
                self.channel.is_behind = float(seconds)
                self.pass_time(1.0)
            self.channel.is_behind = 0.0
            for _ in range(30):
                self.hear(self.heartbeat(WEB1), route=WEB1.name.encode())
            self.pass_time(3 * CHECK, beating=[WEB1])
        assert self.jobs.downs == []
        (text,) = texts(logged, "warn")
        assert "read 2.0 s late" in text
        self.pass_time(2 * CHECK)
        assert self.jobs.downs == [WEB1]

    def test_a_busy_second_does_not_keep_dead_nodes_alive(self) -> None:
        self.online(WEB1)
        for _ in range(12):
            self.clock.advance(1.0)
        assert self.jobs.downs == [WEB1]
