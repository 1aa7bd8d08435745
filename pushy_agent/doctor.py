"""``pushy-agent --doctor``: looks once at all that lies between this node and its server, and says what is wrong.

From the name of the server to its heartbeat, in the order in which an agent needs them; what needs a step that failed
is not looked at. It makes no client on the server and runs no job. A server admits one CURVE key for a node, so where
the node's agent runs the channels are left to that, and the server is asked whether it hears it.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pushy_agent.background import InThread
from pushy_agent.bootstrap import BootstrapError, Session
from pushy_agent.checks import Checks, Examination, NotChecked, Trouble
from pushy_agent.clock import sleep
from pushy_agent.config import Config
from pushy_agent.connection import Channels
from pushy_agent.heartbeat import SequenceGuard
from pushy_agent.http import Trust
from pushy_protocol.messages import ServerHeartbeat
from pushy_protocol.zeromq import Context

_LOOK_EVERY = 0.05

T = TypeVar("T")


class _Over(Exception):
    """What comes next cannot be checked."""


class Doctor:
    """Makes the checks, one after the other."""

    def __init__(self, examination: Examination) -> None:
        self._with = examination
        self._config = examination.config
        self._checks = Checks(examination)
        self._failed = False

    async def examine(self) -> bool:
        """Make them all; whether nothing is wrong."""
        self._say("ok", "settings", f"node {self._config.node_name} of {self._config.server_url}")
        with suppress(_Over):
            await self._examine()
        return not self._failed

    async def _examine(self) -> None:
        addresses = await self._check("dns", self._checks.dns)
        _ = await self._check("tcp", partial(self._checks.tcp, addresses))
        _ = await self._check("tls", self._checks.tls)
        answer = await self._check("http", self._checks.http)
        # Where the clock is wrong, nothing else that is signed can be right.
        _ = await self._check("clock", partial(self._checks.clock, answer))
        _ = await self._check("signature", partial(self._checks.signature, answer))
        if self._checks.agent_runs:
            _ = await self._check("agent", partial(self._checks.agent, answer))
        else:
            await self._channels(await self._check("terms", partial(self._checks.terms, answer)))

    async def _check(self, name: str, check: Callable[[], Awaitable[tuple[T, str]]]) -> T:
        """Make one and say what it found; what it gives for the next ones.

        :raise _Over: there is nothing for the next ones.
        """
        try:
            found, text = await check()
        except NotChecked as error:
            self._say("-", name, str(error))
            raise _Over from None
        except Trouble as trouble:
            self._failed = True
            self._say("FAIL", name, str(trouble))
            self._with.tell(f"{'':18}-> {trouble.advice}")
            raise _Over from None
        self._say("ok", name, text)
        return found

    def _say(self, verdict: str, name: str, text: str) -> None:
        self._with.tell(f"{verdict:5} {name:11} {text}")

    async def _channels(self, session: Session) -> None:
        heartbeats: list[ServerHeartbeat] = []
        context = Context(self._with.reactor)
        try:
            channels = Channels(
                session,
                context=context,
                clock=self._with.reactor,
                now=self._with.now,
                guard=SequenceGuard(),
                on_command=lambda _command: None,
                on_heartbeat=heartbeats.append,
            )
        except BootstrapError as error:
            self._failed = True
            self._say("FAIL", "channels", str(error))
            return
        try:
            await self._until(lambda: channels.stands and bool(heartbeats), session)
            with suppress(_Over):  # the other one does not need it
                _ = await self._check("commands", partial(self._checks.commands, channels))
            _ = await self._check("heartbeat", partial(self._checks.heartbeat, channels, session, heartbeats))
        finally:
            channels.close()
            context.shutdown()

    async def _until(self, done: Callable[[], bool], session: Session) -> None:
        beat = session.heartbeat
        end = self._with.reactor.seconds() + self._with.channel_seconds + beat.interval * beat.offline_threshold
        while not done() and self._with.reactor.seconds() < end:
            await sleep(self._with.reactor, _LOOK_EVERY)


def run(config: Config) -> int:
    """Examine, and print what is found; the exit status, 0 where nothing is wrong."""
    import time

    from twisted.internet import reactor

    from pushy_agent.background import daemon_thread
    from pushy_agent.clock import be_monotonic
    from pushy_agent.http import SignedClient

    concrete: Any = reactor
    be_monotonic(concrete)
    in_thread: InThread = partial(daemon_thread, concrete)
    requests = SignedClient(
        trust=Trust(trusted=config.trusted, verify=config.verify_peer),
        in_thread=in_thread,
        clock=concrete,
        now=time.time,
    )
    doctor = Doctor(
        Examination(
            config=config,
            requests=requests,
            reactor=concrete,
            in_thread=in_thread,
            now=time.time,
            tell=partial(print, flush=True),
        )
    )
    results: list[object] = [None]  # of one that was interrupted

    def begin() -> None:
        examined = Deferred.fromCoroutine(doctor.examine()).addBoth(lambda result: results.__setitem__(0, result))
        _ = examined.addCallback(lambda _: concrete.stop())

    concrete.callWhenRunning(begin)
    concrete.run()
    if isinstance(results[0], Failure):
        results[0].printTraceback()
    return 0 if results == [True] else 1
