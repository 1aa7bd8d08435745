"""A job told of event after event, its effects carried out as a service would; each step is checked."""

from pushy_protocol.states import TERMINAL_NODE_STATUSES, JobStatus, NodeStatus
from pushyd.domain.effects import (
    AbortKept,
    Emit,
    FeedEvent,
    JobChanged,
    JobEffect,
    NodeChanged,
    Order,
    Rehab,
    Send,
    StartTimer,
    StopTimer,
    Timer,
)
from pushyd.domain.job import Job, JobEvent, Start, TakenUp, TimerFired, step
from tests.pushyd.domain.making import counted

ACTIVE = {NodeStatus.READY, NodeStatus.RUNNING}


class Life:
    """What the world around a job has: its store, its feed, its one timer, and what was sent."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.stored_status = job.status
        self.stored_nodes = dict(job.nodes)
        self.stored_aborting = job.aborting
        self.feed: list[Emit] = []
        self.timer: Timer | None = None
        self.sent: list[Send] = []
        self.rehabs: list[str] = []

    def tell(self, event: JobEvent) -> list[JobEffect]:
        """Tell the job of `event`; what it does must keep the rules that hold at every step."""
        ended, nodes = self.job.ended, dict(self.job.nodes)
        effects = step(self.job, event)
        if ended:
            assert effects == []
        for effect in effects:
            self._carry_out(effect)
        self._check_state(nodes)
        for before, effect in zip([None, *effects], effects, strict=False):
            if isinstance(effect, Emit) and effect.event is FeedEvent.REHAB:
                assert before == Rehab(effect.node or "")
        return effects

    def restart(self, elapsed: float) -> list[JobEffect]:
        """Kill the server `elapsed` seconds after the present status began, and start it again; nothing ended before.

        What it had in its memory is gone, its timer too.
        """
        self.timer = None
        restored = Job.restored(self.job.spec, self.stored_status, self.stored_nodes, aborting=self.stored_aborting)
        assert vars(restored) == vars(self.job)
        self.job = restored
        return self.tell(TakenUp(elapsed))

    def run_out(self) -> None:
        """Let everybody be silent until the job ends."""
        for _ in range(2):
            if self.timer is not None:
                self.tell(TimerFired(self.timer))
        assert self.job.ended
        assert self.timer is None

    def _carry_out(self, effect: JobEffect) -> None:
        match effect:
            case NodeChanged(node, status):
                assert self.stored_nodes[node] not in TERMINAL_NODE_STATUSES
                self.stored_nodes[node] = status
            case JobChanged(status):
                self.stored_status = status
            case AbortKept():
                assert not self.stored_aborting, "kept twice"
                self.stored_aborting = True
            case Emit():
                self.feed.append(effect)
            case Send(nodes, order):
                assert nodes, f"a {order} to nobody"
                self.sent.append(effect)
            case Rehab(node):
                assert node in self.job.nodes
                self.rehabs.append(node)
            case StartTimer(timer, seconds):
                assert seconds >= 0
                self.timer = timer
            case StopTimer():
                self.timer = None

    def _check_state(self, before: dict[str, NodeStatus]) -> None:
        job = self.job
        stored = (self.stored_status, self.stored_nodes, self.stored_aborting)
        assert stored == (job.status, job.nodes, job.aborting)
        assert job.counts == counted(job)
        statuses = set(job.nodes.values())
        match job.status:
            case JobStatus.VOTING | JobStatus.RUNNING if job.aborting:
                assert NodeStatus.NEW not in statuses
                assert statuses & ACTIVE
                assert self.timer is Timer.ABORTING
            case JobStatus.NEW:
                assert statuses <= {NodeStatus.NEW}
                assert self.timer is None
            case JobStatus.VOTING:
                assert NodeStatus.NEW in statuses
                assert NodeStatus.RUNNING not in statuses
                assert self.timer is Timer.VOTING
            case JobStatus.RUNNING:
                assert NodeStatus.NEW not in statuses
                assert statuses & ACTIVE
                assert self.timer is Timer.RUNNING
            case _:
                assert statuses <= TERMINAL_NODE_STATUSES
                assert self.timer is None
                assert job.aborting == (job.status is JobStatus.ABORTED)
        for node, status in before.items():
            assert status not in TERMINAL_NODE_STATUSES or job.nodes[node] is status


def check_feed(life: Life) -> None:
    """The rules for the whole feed of a job that has ended, and for what was sent."""
    job, feed = life.job, life.feed
    names = [emit.event for emit in feed]
    assert names.index(FeedEvent.START) == 0
    assert names.count(FeedEvent.START) == names.count(FeedEvent.JOB_COMPLETE) == 1
    assert feed[-1] == Emit(FeedEvent.JOB_COMPLETE, status=job.status.value)

    ran = FeedEvent.QUORUM_SUCCEEDED in names
    assert names.count(FeedEvent.QUORUM_SUCCEEDED) <= 1
    if job.status is not JobStatus.ABORTED:
        assert ran == (job.status is not JobStatus.QUORUM_FAILED)
    turn = names.index(FeedEvent.QUORUM_SUCCEEDED) if ran else len(names)
    assert FeedEvent.QUORUM_VOTE not in names[turn:]
    assert FeedEvent.RUN_COMPLETE not in names[:turn]
    if not job.aborting:  # else a node may say so of itself while it is told to abort
        assert FeedEvent.RUN_START not in names[:turn]

    for node, status in job.nodes.items():
        of_node = [emit for emit in feed if emit.node == node]
        if job.aborting:
            check_node_in_aborted_feed(status, of_node)
        else:
            check_node_in_feed(node, status, of_node)
    ready = {emit.node for emit in feed if emit == Emit(FeedEvent.QUORUM_VOTE, emit.node, "success")}
    assert [send.order for send in life.sent] in ([], [Order.COMMIT], [Order.COMMIT, Order.RUN])
    if len(life.sent) == 2:
        commit, run = life.sent
        assert set(run.nodes) <= ready <= set(commit.nodes) <= set(job.nodes)


REPORT_OF_END = {
    NodeStatus.NACKED: {"failure"},
    NodeStatus.SUCCEEDED: {"success"},
    NodeStatus.FAILED: {"failure", "run_nacked", "run_nacked_while_running"},
    NodeStatus.CRASHED: {"crashed"},
}
REPEATED = {"client_died_while_voting", "client_died_while_running", "unexpected_commit"}


def check_node_in_feed(node: str, status: NodeStatus, feed: list[Emit]) -> None:
    """What the feed says of one node agrees with how it ended."""
    starts = [emit for emit in feed if emit.event is FeedEvent.RUN_START]
    votes = [str(emit.status) for emit in feed if emit.event is FeedEvent.QUORUM_VOTE and emit.status not in REPEATED]
    ends = [str(emit.status) for emit in feed if emit.event is FeedEvent.RUN_COMPLETE and emit.status not in REPEATED]
    assert len(starts) <= 1
    assert len(ends) <= 1
    if starts and ends:
        assert feed.index(starts[0]) < feed.index(Emit(FeedEvent.RUN_COMPLETE, node, ends[0]))
    # A ready node may be lost again; otherwise a node votes once, or it dropped out without a vote.
    assert len(votes) <= 1 or (votes[0] == "success" and votes[1:] in (["down"], ["lost_availibility"]))
    match status:
        case NodeStatus.UNAVAILABLE:
            assert not starts + ends
        case NodeStatus.WAS_READY | NodeStatus.TIMED_OUT:
            assert votes == ["success"]
            assert not ends
        case NodeStatus.NACKED:
            assert votes == ["failure"]
            assert not starts + ends
        case _:
            assert votes == ["success"]
            assert ends
            assert ends[0] in REPORT_OF_END[status]


def check_node_in_aborted_feed(status: NodeStatus, feed: list[Emit]) -> None:
    """The same for a job that was aborted, where the feed tells a node's end by whatever the job did meanwhile."""
    told = [str(emit.status) for emit in feed if emit.status and emit.status not in REPEATED]
    assert len([emit for emit in feed if emit.event is FeedEvent.RUN_START]) <= 1
    match status:
        case NodeStatus.ABORTED:  # of one that had not voted nothing is told
            assert told in ([], ["success", "aborted"])
        case NodeStatus.UNAVAILABLE:
            assert told in (
                [],
                ["down"],
                ["success"],
                ["success", "down"],
                ["success", "lost_availibility"],
                ["voting_timeout"],
            )
        case NodeStatus.NACKED:
            assert told == ["failure"]
        case _:
            first, end = told
            assert first == "success"
            assert end in REPORT_OF_END[status]


def begun(job: Job, *unavailable: str) -> Life:
    life = Life(job)
    life.tell(Start(frozenset(unavailable)))
    return life
