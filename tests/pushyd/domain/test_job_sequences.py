"""What holds for a job whatever happens to it: all of its states where they can be counted, else chosen ones."""

from collections import defaultdict
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushy_protocol.states import JobStatus, NodeStatus
from pushyd.domain.effects import Timer
from pushyd.domain.job import AbortRequested, FromNode, JobEvent, Start, TakenUp, TimerFired
from pushyd.domain.tables import NodeEvent
from tests.pushyd.domain.living import ACTIVE, Life, begun, check_feed
from tests.pushyd.domain.making import job_at, new_job

NODES = tuple("abcde")
events = st.one_of(
    st.builds(FromNode, st.sampled_from(NODES), st.sampled_from(NodeEvent)),
    # What a healthy node says, so that some jobs come far.
    st.builds(
        FromNode,
        st.sampled_from(NODES),
        st.sampled_from([NodeEvent.ACK_COMMIT, NodeEvent.ACK_RUN, NodeEvent.SUCCEEDED]),
    ),
    st.builds(TimerFired, st.sampled_from(Timer)),
    st.builds(Start, st.frozensets(st.sampled_from(NODES))),
)
restarts = st.builds(TakenUp, st.floats(0, 10_000))
with_aborts = st.one_of(events, events, st.just(AbortRequested()))


@settings(deadline=None, max_examples=400)
@given(
    size=st.integers(1, len(NODES)),
    quorum=st.one_of(st.none(), st.floats(0, 6)),
    unavailable=st.frozensets(st.sampled_from(NODES), max_size=3),
    happenings=st.lists(events, max_size=60),
)
def test_any_sequence(size: int, quorum: float | None, unavailable: frozenset[str], happenings: list[JobEvent]) -> None:
    life = begun(new_job(*NODES[:size], quorum=quorum), *unavailable)
    possible = [event for event in happenings if not isinstance(event, FromNode) or event.node in life.job.nodes]
    for event in possible:
        life.tell(event)
    life.run_out()
    check_feed(life)
    for event in possible:
        assert life.tell(event) == []


@settings(deadline=None, max_examples=200)
@given(st.permutations([(node, turn) for node in NODES for turn in range(3)]), st.data())
def test_any_order_of_healthy_nodes(turns: list[tuple[str, int]], data: st.DataObject) -> None:
    """Whatever the order in which healthy nodes get on, the job completes, and every node with its own result."""
    outcome = {node: data.draw(st.sampled_from([NodeEvent.SUCCEEDED, NodeEvent.FAILED])) for node in NODES}
    life = begun(new_job(*NODES))
    for node, _ in turns:  # all vote before one can run
        if life.job.nodes[node] is NodeStatus.NEW:
            life.tell(FromNode(node, NodeEvent.ACK_COMMIT))
    for node, _ in turns:
        if life.job.nodes[node] is NodeStatus.READY:
            life.tell(FromNode(node, NodeEvent.ACK_RUN))
        elif life.job.nodes[node] is NodeStatus.RUNNING:
            life.tell(FromNode(node, outcome[node]))
    assert life.job.status is JobStatus.COMPLETE
    assert {node: status.value for node, status in life.job.nodes.items()} == {
        node: what.value for node, what in outcome.items()
    }
    assert life.rehabs == []
    check_feed(life)


@settings(deadline=None, max_examples=400)
@given(
    size=st.integers(1, len(NODES)),
    quorum=st.one_of(st.none(), st.floats(0, 6)),
    happenings=st.lists(st.one_of(with_aborts, restarts), max_size=60),
)
def test_any_sequence_with_aborts_and_restarts_of_the_server(
    size: int, quorum: float | None, happenings: list[JobEvent]
) -> None:
    """To kill the server costs a job nothing: the rules and the feed are those of a job that was never interrupted."""
    life = begun(new_job(*NODES[:size], quorum=quorum))
    for event in happenings:
        if isinstance(event, TakenUp):
            if not life.job.ended:
                life.restart(event.elapsed)
        elif not isinstance(event, FromNode) or event.node in life.job.nodes:
            life.tell(event)
    life.run_out()
    check_feed(life)


@settings(deadline=None)
@given(happenings=st.lists(events, max_size=40), data=st.data())
def test_a_restart_in_between_makes_no_difference(happenings: list[JobEvent], data: st.DataObject) -> None:
    plain, killed = begun(new_job(*NODES, quorum=1)), begun(new_job(*NODES, quorum=1))
    for event in happenings:
        if not killed.job.ended and data.draw(st.booleans()):
            killed.restart(data.draw(st.floats(0, 50)))
        assert killed.tell(event) == plain.tell(event)
    assert (killed.feed, killed.sent, killed.timer) == (plain.feed, plain.sent, plain.timer)
    assert vars(killed.job) == vars(plain.job)


PAIR = ("a", "b")
State = tuple[JobStatus, bool, NodeStatus, NodeStatus]
"""Of the job, whether it is being aborted, of its nodes."""

LOST = {NodeStatus.NACKED, NodeStatus.UNAVAILABLE}
RAN = {NodeStatus.SUCCEEDED, NodeStatus.FAILED, NodeStatus.CRASHED}


def statuses_met(quorum: int) -> dict[JobStatus, set[NodeStatus]]:
    """Which statuses the nodes of a job of two can have while it has which status; others cannot be reached.

    It is not being aborted.
    """
    met = {JobStatus.VOTING: {NodeStatus.NEW, NodeStatus.READY} | LOST}
    if quorum > 0:
        met[JobStatus.QUORUM_FAILED] = LOST if quorum == 1 else LOST | {NodeStatus.WAS_READY}
    if quorum <= 2:
        while_running = RAN if quorum == 2 else RAN | LOST
        met[JobStatus.RUNNING] = while_running | {NodeStatus.READY, NodeStatus.RUNNING}
        met[JobStatus.COMPLETE] = while_running
        met[JobStatus.TIMED_OUT] = while_running | {NodeStatus.TIMED_OUT}
    return met


EVERYTHING: list[JobEvent] = [
    *(FromNode(node, what) for node in PAIR for what in NodeEvent),
    *(TimerFired(timer) for timer in Timer),
    Start(frozenset()),
    AbortRequested(),
]


def statuses_met_while_aborting(quorum: int) -> dict[JobStatus, set[NodeStatus]]:
    """The same of one that is being aborted. While voting one of the two was new, and is aborted at once."""
    aborted = {NodeStatus.ABORTED}
    met = {JobStatus.VOTING: ACTIVE | aborted, JobStatus.ABORTED: RAN | LOST | aborted}
    if quorum <= 2:
        while_running = RAN if quorum == 2 else RAN | LOST
        met[JobStatus.RUNNING] = while_running | ACTIVE | aborted
    return met


def life_at(state: State, quorum: float) -> Life:
    """A job in a state that it reached, with the timer that it has there."""
    status, aborting, *nodes = state
    life = Life(job_at(status, dict(zip(PAIR, nodes, strict=True)), quorum, aborting=aborting))
    if not life.job.ended:
        life.timer = Timer.ABORTING if aborting else Timer(status.value)
    return life


def explore(quorum: int) -> set[State]:
    """Every state that a job of two nodes can reach, by telling it of everything in each; all of it is checked."""
    seen: set[State] = set()
    to_do = [begun(new_job(*PAIR, quorum=quorum), *gone) for count in range(3) for gone in combinations(PAIR, count)]
    while to_do:
        job = to_do.pop().job
        state = (job.status, job.aborting, job.nodes["a"], job.nodes["b"])
        if state in seen:
            continue
        seen.add(state)
        if job.ended:
            continue
        for event in EVERYTHING:
            life = life_at(state, quorum)
            life.tell(event)
            to_do.append(life)
    return seen


each_quorum = pytest.mark.parametrize("quorum", range(4))


@each_quorum
def test_every_state_of_two_nodes(quorum: int) -> None:
    met: tuple[defaultdict[JobStatus, set[NodeStatus]], ...] = (defaultdict(set), defaultdict(set))
    for status, aborting, *nodes in explore(quorum):
        met[aborting][status].update(nodes)
    assert met == (statuses_met(quorum), statuses_met_while_aborting(quorum))


@each_quorum
def test_every_state_leads_to_an_end_by_itself(quorum: int) -> None:
    for state in explore(quorum):
        life_at(state, quorum).run_out()


@each_quorum
def test_every_state_outlives_a_restart_and_leads_to_an_end_by_itself(quorum: int) -> None:
    """Nobody hears of the restart but who has to be told once more to abort; then the same can happen as before."""
    for state in explore(quorum):
        life = life_at(state, quorum)
        if life.job.ended:
            continue
        timer, nodes = life.timer, dict(life.job.nodes)
        life.restart(elapsed=0.0)
        assert (life.timer, life.job.nodes, life.feed, life.sent) == (timer, nodes, [], [])
        assert life.rehabs == [node for node, status in nodes.items() if life.job.aborting and status in ACTIVE]
        life.run_out()
