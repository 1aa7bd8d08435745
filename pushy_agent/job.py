"""The machine of a node's one job: idle, committed, running. Pure: no Twisted, no I/O, no clock.

:func:`step` takes a state and an event and gives the next state and what is to be done. What a job runs (`Order`) is
only passed on. The rules are those of the 2.x client:

- a commit is taken when idle; asked again for the job that it is committed to, or already runs, the node says yes
  again;
- a run is obeyed for the job that the node is committed to; asked again for the one it runs, it says yes again;
- an abort ends whatever there is and is answered when it is over: one answer for all that asked meanwhile. With a job
  id that is not ours it changes nothing;
- a job that ended says how, once.
"""

from collections.abc import Mapping
from enum import Enum, StrEnum, auto
from typing import ClassVar

from attrs import evolve, frozen

from pushy_agent.order import Order
from pushy_agent.output import Captured
from pushy_protocol.messages import Channel, OutputTotal
from pushy_protocol.states import AgentState


class Ending(Enum):
    """Why a running command is being ended."""

    ABORTED = auto()
    STOPPED = auto()  # the agent itself stops
    TIMED_OUT = auto()  # its whitelist entry gives it no more time


@frozen(kw_only=True)
class Idle:
    """Nothing to do."""

    job_id: ClassVar[None] = None
    job_state: ClassVar = AgentState.IDLE


@frozen(kw_only=True)
class Committed:
    """Ready to run `order`."""

    order: Order
    job_state: ClassVar = AgentState.COMMITTED

    @property
    def job_id(self) -> str:
        """The job's id."""
        return self.order.job_id


@frozen(kw_only=True)
class Running:
    """`order` runs, or is just being started; with an `ending`, it is being ended."""

    order: Order
    started: bool = False
    ending: Ending | None = None
    job_state: ClassVar = AgentState.RUNNING

    @property
    def job_id(self) -> str:
        """The job's id."""
        return self.order.job_id


State = Idle | Committed | Running


@frozen(kw_only=True)
class Exit:
    """How a command ended: by `status` or by `signal`.

    The outputs are there only when they were captured; of those that travel by themselves there is how long they are.
    """

    status: int | None = None
    signal: int | None = None
    stdout: Captured | None = None
    stderr: Captured | None = None
    output: Mapping[Channel, OutputTotal] | None = None


# Events


@frozen(kw_only=True)
class CommitAsked:
    """The server asks for a commitment; `verdict` is the checked order, or the reason why it is refused."""

    job_id: str
    verdict: Order | str


@frozen(kw_only=True)
class RunAsked:
    """The server says: go."""

    job_id: str


@frozen(kw_only=True)
class AbortAsked:
    """The server wants nothing to run, or (with an id) not this job."""

    job_id: str | None = None


@frozen(kw_only=True)
class Started:
    """The command has been started."""

    job_id: str


@frozen(kw_only=True)
class NotStarted:
    """The command could not be started."""

    job_id: str
    reason: str


@frozen(kw_only=True)
class Ended:
    """The command, and where it was being ended its group, is no more."""

    job_id: str
    exit: Exit


@frozen(kw_only=True)
class TimeIsUp:
    """The command has run for as long as this node lets it."""

    job_id: str


@frozen(kw_only=True)
class StopAsked:
    """The agent stops: whatever there is must end."""


Event = CommitAsked | RunAsked | AbortAsked | Started | NotStarted | Ended | TimeIsUp | StopAsked


# Effects


class Kind(StrEnum):
    """What a node has to say of a job, by its name on the wire."""

    ACK_COMMIT = "ack_commit"
    NACK_COMMIT = "nack_commit"
    ACK_RUN = "ack_run"
    NACK_RUN = "nack_run"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABORTED = "aborted"


@frozen(kw_only=True)
class Say:
    """Tell the server; `reason` and `exit` go along where they are known and the server understands them."""

    kind: Kind
    job_id: str | None
    reason: str | None = None
    exit: Exit | None = None

    @property
    def is_result(self) -> bool:
        """Whether it tells the end of a job, and so must not be lost."""
        return self.job_id is not None and self.kind in {Kind.SUCCEEDED, Kind.FAILED, Kind.ABORTED}


@frozen(kw_only=True)
class Start:
    """Start the command, and say `Started` or `NotStarted`, later `Ended`."""

    order: Order


@frozen(kw_only=True)
class End:
    """End the command and all of its group; `Ended` follows."""

    job_id: str


Effect = Say | Start | End
Next = tuple[State, tuple[Effect, ...]]


def step(state: State, event: Event) -> Next:
    """The state that follows, and what is to be done, in order. Every event is welcome in every state."""
    match event:
        case CommitAsked():
            return _commit(state, event)
        case RunAsked():
            return _run(state, event)
        case AbortAsked():
            return _abort(state, event)
        case StopAsked():
            return _stop(state)
        case Started() | NotStarted() | Ended() | TimeIsUp():
            # News of a command that is not ours (any more) has been told already.
            return _news(state, event) if isinstance(state, Running) and state.job_id == event.job_id else (state, ())


def _commit(state: State, event: CommitAsked) -> Next:
    match state, event.verdict:
        case ((Committed() | Running(ending=None)), _) if state.job_id == event.job_id:
            return state, (Say(kind=Kind.ACK_COMMIT, job_id=event.job_id),)
        case Idle(), Order() as order:
            return Committed(order=order), (Say(kind=Kind.ACK_COMMIT, job_id=event.job_id),)
        case Idle(), reason:
            return state, (Say(kind=Kind.NACK_COMMIT, job_id=event.job_id, reason=str(reason)),)
    return state, (Say(kind=Kind.NACK_COMMIT, job_id=event.job_id, reason="busy"),)


def _run(state: State, event: RunAsked) -> Next:
    if state.job_id == event.job_id:
        match state:
            case Committed(order=order):
                return Running(order=order), (Start(order=order),)
            case Running(started=True, ending=None):
                return state, (Say(kind=Kind.ACK_RUN, job_id=event.job_id),)
            case Running(started=False, ending=None):
                return state, ()  # its start answers this one too
    reason = "busy" if isinstance(state, Running) else "not_committed"
    return state, (Say(kind=Kind.NACK_RUN, job_id=event.job_id, reason=reason),)


def _abort(state: State, event: AbortAsked) -> Next:
    if event.job_id is not None and event.job_id != state.job_id:
        return state, (Say(kind=Kind.ABORTED, job_id=event.job_id),)
    if isinstance(state, Running):
        return _end(state, Ending.ABORTED)
    return Idle(), (Say(kind=Kind.ABORTED, job_id=state.job_id),)


def _stop(state: State) -> Next:
    if isinstance(state, Running):
        return _end(state, state.ending or Ending.STOPPED)
    return Idle(), ()


def _end(state: Running, ending: Ending) -> Next:
    # A command that is not started yet is ended as soon as it is.
    effects = (End(job_id=state.job_id),) if state.started and state.ending is None else ()
    return evolve(state, ending=ending), effects


def _news(state: Running, event: Started | NotStarted | Ended | TimeIsUp) -> Next:
    job_id = state.job_id
    match event:
        case Started() if state.started:
            return state, ()
        case Started():
            effect = End(job_id=job_id) if state.ending else Say(kind=Kind.ACK_RUN, job_id=job_id)
            return evolve(state, started=True), (effect,)
        case NotStarted(reason=reason) if state.ending is not Ending.ABORTED:
            return Idle(), (Say(kind=Kind.NACK_RUN, job_id=job_id, reason=reason),)
        case NotStarted():
            return Idle(), (Say(kind=Kind.ABORTED, job_id=job_id),)
        case TimeIsUp():
            return _end(state, state.ending or Ending.TIMED_OUT)
        case Ended(exit=how):
            return Idle(), (_result(state, how),)


def _result(state: Running, how: Exit) -> Say:
    match state.ending:
        case Ending.ABORTED:
            return Say(kind=Kind.ABORTED, job_id=state.job_id)
        case Ending.STOPPED:
            return Say(kind=Kind.FAILED, job_id=state.job_id, reason="agent_stopped", exit=how)
        case Ending.TIMED_OUT:
            return Say(kind=Kind.FAILED, job_id=state.job_id, reason="timed_out", exit=how)
    return Say(kind=Kind.SUCCEEDED if how.status == 0 else Kind.FAILED, job_id=state.job_id, exit=how)
