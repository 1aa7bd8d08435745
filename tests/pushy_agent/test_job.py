"""The machine of a node's job: every state with every event, and sequences of them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushy_agent.job import (
    AbortAsked,
    CommitAsked,
    Committed,
    Effect,
    End,
    Ended,
    Ending,
    Event,
    Exit,
    Idle,
    Kind,
    NotStarted,
    RunAsked,
    Running,
    Say,
    Start,
    Started,
    State,
    StopAsked,
    TimeIsUp,
    step,
)
from pushy_agent.order import Order


class Environment(dict[str, str]):
    """Hashable, so that states can be keys of a table."""

    def __hash__(self) -> int:  # type: ignore[override]  # a dict has none
        return 0


def order(job_id: str) -> Order:
    return Order(job_id=job_id, argv=("true",), env=Environment())


def say(kind: Kind, job_id: str | None, **more: Any) -> Say:
    return Say(kind=kind, job_id=job_id, **more)


OURS, OTHER = order("ours"), order("other")
DONE, BROKEN = Exit(status=0), Exit(signal=9)
IDLE = Idle()
COMMITTED = Committed(order=OURS)
STARTING = Running(order=OURS)
RUNNING = Running(order=OURS, started=True)
ABORTING = Running(order=OURS, started=True, ending=Ending.ABORTED)
STOPPING = Running(order=OURS, started=True, ending=Ending.STOPPED)
ABORTING_START = Running(order=OURS, ending=Ending.ABORTED)
STOPPING_START = Running(order=OURS, ending=Ending.STOPPED)
TIMED_OUT = Running(order=OURS, started=True, ending=Ending.TIMED_OUT)
STATES: list[State] = [
    IDLE, COMMITTED, STARTING, RUNNING, ABORTING, STOPPING, TIMED_OUT, ABORTING_START, STOPPING_START,
]  # fmt: skip
ALL_RUNNING: list[State] = STATES[2:]

COMMIT = CommitAsked(job_id="ours", verdict=OURS)
COMMIT_OTHER = CommitAsked(job_id="other", verdict=OTHER)
COMMIT_REFUSED = CommitAsked(job_id="ours", verdict="not_whitelisted")
RUN, RUN_OTHER = RunAsked(job_id="ours"), RunAsked(job_id="other")
ABORT, ABORT_OURS, ABORT_OTHER = AbortAsked(), AbortAsked(job_id="ours"), AbortAsked(job_id="other")
STARTED, NOT_STARTED = Started(job_id="ours"), NotStarted(job_id="ours", reason="no_such_command")
SUCCESS, FAILURE = Ended(job_id="ours", exit=DONE), Ended(job_id="ours", exit=BROKEN)
STOP = StopAsked()
TIME_IS_UP = TimeIsUp(job_id="ours")
OLD_NEWS: list[Event] = [
    Started(job_id="other"),
    NotStarted(job_id="other", reason="x"),
    Ended(job_id="other", exit=DONE),
    TimeIsUp(job_id="other"),
]
EVENTS: list[Event] = [
    COMMIT, COMMIT_OTHER, COMMIT_REFUSED, RUN, RUN_OTHER, ABORT, ABORT_OURS, ABORT_OTHER,
    STARTED, NOT_STARTED, SUCCESS, FAILURE, STOP, TIME_IS_UP, *OLD_NEWS,
]  # fmt: skip

ACK = say(Kind.ACK_COMMIT, "ours")
ACK_RUN = say(Kind.ACK_RUN, "ours")
ABORTED = say(Kind.ABORTED, "ours")
NOTHING: tuple[Effect, ...] = ()


def busy(job_id: str) -> Say:
    return say(Kind.NACK_COMMIT, job_id, reason="busy")


def not_run(job_id: str, reason: str) -> Say:
    return say(Kind.NACK_RUN, job_id, reason=reason)


TABLE: dict[tuple[State, Event], tuple[State, tuple[Effect, ...]]] = {
    # idle
    (IDLE, COMMIT): (COMMITTED, (ACK,)),
    (IDLE, COMMIT_OTHER): (Committed(order=OTHER), (say(Kind.ACK_COMMIT, "other"),)),
    (IDLE, COMMIT_REFUSED): (IDLE, (say(Kind.NACK_COMMIT, "ours", reason="not_whitelisted"),)),
    (IDLE, RUN): (IDLE, (not_run("ours", "not_committed"),)),
    (IDLE, RUN_OTHER): (IDLE, (not_run("other", "not_committed"),)),
    (IDLE, ABORT): (IDLE, (say(Kind.ABORTED, None),)),
    (IDLE, ABORT_OURS): (IDLE, (ABORTED,)),
    (IDLE, STOP): (IDLE, NOTHING),
    **{(IDLE, news): (IDLE, NOTHING) for news in (STARTED, NOT_STARTED, SUCCESS, FAILURE, TIME_IS_UP)},
    # committed
    (COMMITTED, COMMIT): (COMMITTED, (ACK,)),
    (COMMITTED, COMMIT_REFUSED): (COMMITTED, (ACK,)),
    (COMMITTED, COMMIT_OTHER): (COMMITTED, (busy("other"),)),
    (COMMITTED, RUN): (STARTING, (Start(order=OURS),)),
    (COMMITTED, RUN_OTHER): (COMMITTED, (not_run("other", "not_committed"),)),
    (COMMITTED, ABORT): (IDLE, (ABORTED,)),
    (COMMITTED, ABORT_OURS): (IDLE, (ABORTED,)),
    (COMMITTED, STOP): (IDLE, NOTHING),
    **{(COMMITTED, news): (COMMITTED, NOTHING) for news in (STARTED, NOT_STARTED, SUCCESS, FAILURE, TIME_IS_UP)},
    # running
    **{(state, event): (state, (busy("ours"),)) for state in ALL_RUNNING for event in (COMMIT, COMMIT_REFUSED)},
    **{(state, event): (state, (ACK,)) for state in (STARTING, RUNNING) for event in (COMMIT, COMMIT_REFUSED)},
    **{(state, COMMIT_OTHER): (state, (busy("other"),)) for state in ALL_RUNNING},
    **{(state, RUN_OTHER): (state, (not_run("other", "busy"),)) for state in ALL_RUNNING},
    **{(state, RUN): (state, (not_run("ours", "busy"),)) for state in ALL_RUNNING},
    (STARTING, RUN): (STARTING, NOTHING),
    (RUNNING, RUN): (RUNNING, (ACK_RUN,)),
    **{(STARTING, abort): (ABORTING_START, NOTHING) for abort in (ABORT, ABORT_OURS)},
    **{(RUNNING, abort): (ABORTING, (End(job_id="ours"),)) for abort in (ABORT, ABORT_OURS)},
    **{(ABORTING, abort): (ABORTING, NOTHING) for abort in (ABORT, ABORT_OURS)},
    **{(STOPPING, abort): (ABORTING, NOTHING) for abort in (ABORT, ABORT_OURS)},
    **{(TIMED_OUT, abort): (ABORTING, NOTHING) for abort in (ABORT, ABORT_OURS)},
    **{(state, TIME_IS_UP): (state, NOTHING) for state in ALL_RUNNING},
    (RUNNING, TIME_IS_UP): (TIMED_OUT, (End(job_id="ours"),)),
    (STARTING, TIME_IS_UP): (Running(order=OURS, ending=Ending.TIMED_OUT), NOTHING),
    **{(ABORTING_START, abort): (ABORTING_START, NOTHING) for abort in (ABORT, ABORT_OURS)},
    **{(STOPPING_START, abort): (ABORTING_START, NOTHING) for abort in (ABORT, ABORT_OURS)},
    (STARTING, STOP): (STOPPING_START, NOTHING),
    (RUNNING, STOP): (STOPPING, (End(job_id="ours"),)),
    **{(state, STOP): (state, NOTHING) for state in (ABORTING, STOPPING, TIMED_OUT, ABORTING_START, STOPPING_START)},
    (STARTING, STARTED): (RUNNING, (ACK_RUN,)),
    (ABORTING_START, STARTED): (ABORTING, (End(job_id="ours"),)),
    (STOPPING_START, STARTED): (STOPPING, (End(job_id="ours"),)),
    **{(state, STARTED): (state, NOTHING) for state in (RUNNING, ABORTING, STOPPING, TIMED_OUT)},
    **{(state, NOT_STARTED): (IDLE, (not_run("ours", "no_such_command"),)) for state in ALL_RUNNING},
    **{(state, NOT_STARTED): (IDLE, (ABORTED,)) for state in (ABORTING, ABORTING_START)},
    **{(state, SUCCESS): (IDLE, (say(Kind.SUCCEEDED, "ours", exit=DONE),)) for state in (STARTING, RUNNING)},
    **{(state, FAILURE): (IDLE, (say(Kind.FAILED, "ours", exit=BROKEN),)) for state in (STARTING, RUNNING)},
    **{(state, end): (IDLE, (ABORTED,)) for state in (ABORTING, ABORTING_START) for end in (SUCCESS, FAILURE)},
    **{
        (state, end): (IDLE, (say(Kind.FAILED, "ours", reason="agent_stopped", exit=end.exit),))
        for state in (STOPPING, STOPPING_START)
        for end in (SUCCESS, FAILURE)
    },
    **{
        (TIMED_OUT, end): (IDLE, (say(Kind.FAILED, "ours", reason="timed_out", exit=end.exit),))
        for end in (SUCCESS, FAILURE)
    },
    # whatever the state
    **{(state, ABORT_OTHER): (state, (say(Kind.ABORTED, "other"),)) for state in STATES},
    **{(state, news): (state, NOTHING) for state in STATES for news in OLD_NEWS},
}


@pytest.mark.parametrize("state", STATES, ids=str)
@pytest.mark.parametrize("event", EVENTS, ids=str)
def test_every_state_with_every_event(state: State, event: Event) -> None:
    assert step(state, event) == TABLE[state, event]


def test_only_a_named_end_is_a_result() -> None:
    results = [kind for kind in Kind if say(kind, "ours").is_result]
    assert results == [Kind.SUCCEEDED, Kind.FAILED, Kind.ABORTED]
    assert not say(Kind.ABORTED, None).is_result


@given(st.lists(st.sampled_from(EVENTS), max_size=40))
def test_sequences(events: list[Event]) -> None:
    state: State = IDLE
    running = 0
    for event in events:
        before = state
        state, effects = step(state, event)
        # Carrying out a Start feeds the next event, so nothing else may be left to do.
        assert len(effects) <= 1
        match effects:
            case (Start(),):
                assert isinstance(before, Committed)
                running += 1
            case (End(),):
                assert isinstance(state, Running)
                assert state.started
                assert state.ending
            case (Say(kind=kind),) if isinstance(before, Running) and isinstance(state, Idle):
                assert kind in {Kind.SUCCEEDED, Kind.FAILED, Kind.ABORTED, Kind.NACK_RUN}
                running -= 1
        # What was started is told once, and one thing is running at most.
        assert running == isinstance(state, Running)
    # An abort and the end of what it ends make any state idle.
    state, _ = step(state, ABORT)
    if isinstance(state, Running):
        state, effects = step(state, Ended(job_id=state.job_id, exit=DONE))
        assert [effect.kind for effect in effects if isinstance(effect, Say)] == [Kind.ABORTED]
    assert state == IDLE
