"""The composition root: the one place that knows every concrete class of the agent, and starts and stops them."""

import os
import random
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from attrs import field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from pushy_agent import facts, tree
from pushy_agent.background import background, daemon_thread, give_back_memory
from pushy_agent.bootstrap import Bootstrap, Session
from pushy_agent.cgroup import Groups
from pushy_agent.connection import Channels
from pushy_agent.conversation import Conversation
from pushy_agent.heartbeat import SequenceGuard
from pushy_agent.http import SignedClient, Trust
from pushy_agent.job import Exit, Idle, Kind, Say
from pushy_agent.jobfile import JobFiles
from pushy_agent.link import Link
from pushy_agent.order import Order, OrderDesk
from pushy_agent.output_spool import OutputSpool
from pushy_agent.process import TERM_TIME, CannotStart, Process
from pushy_agent.sender import Sender
from pushy_agent.settings import Settings
from pushy_agent.speaker import Speaker
from pushy_agent.spool import InUse, Journal, Spool
from pushy_agent.streams import Streams
from pushy_agent.watchdog import Watchdog
from pushy_agent.worker import Worker
from pushy_protocol.messages import Commit, ServerCommand, ServerHeartbeat
from pushy_protocol.systemd import Systemd
from pushy_protocol.zeromq import Context

_REAP_SECONDS = 5.0
_TIDY_SECONDS = 3600.0
_DRAIN_SECONDS = 2.0

T = TypeVar("T")


@frozen(kw_only=True)
class Surroundings:
    """What the agent takes from the machine that it runs on."""

    host: str = field(factory=socket.gethostname)
    environment: Mapping[str, str] = field(factory=lambda: dict(os.environ), repr=False)
    uid: int = field(factory=os.geteuid)
    now: Callable[[], float] = time.time
    jitter: Callable[[], float] = field(factory=lambda: random.SystemRandom().random)
    systemd: Systemd = field(factory=Systemd)


class AgentService(Service):
    """The agent: from the start of the service to its stop it serves one node."""

    name = "pushy-agent"
    log = Logger()

    def __init__(self, settings: Settings, reactor: Any, surroundings: Surroundings) -> None:
        """:param reactor: Twisted's, with time, TCP, names, readers and threads"""
        self._settings = settings
        self._reactor = reactor
        self._surroundings = surroundings
        self._guard = SequenceGuard()
        self._reported: dict[str, Any] = {}
        self._context: Context | None = None
        self._child: Process | None = None
        self._groups = Groups.find(settings.config.node_name)
        # One thread for the disk, so that the journal is written in order; it is there only while there is work.
        self._disk = ThreadPool(0, 1, "disk")
        config = settings.config
        self._spool = Spool(Journal(config.state_dir / "jobs.journal"), self._on_disk)
        self._speaker = Speaker(host=surroundings.host, incarnation_id=str(uuid.uuid4()), now=surroundings.now)
        self._streams = Streams(
            clock=reactor,
            speaker=self._speaker,
            spool=OutputSpool(config.state_dir / "output", config.output_spool_limit),
            in_thread=self._on_disk,
        )
        self._sender = Sender(clock=reactor, speaker=self._speaker, spool=self._spool, streams=self._streams)
        self._link = Link(
            clock=reactor,
            jitter=surroundings.jitter,
            fetch=lambda: self._bootstrap().fetch(),
            converse=self._converse,
        )
        self._worker = Worker(
            clock=reactor,
            check=self._check,
            spawn=self._spawn,
            files=self._files,
            memory=self._spool,
            voice=self._sender,
            is_online=lambda: self._link.is_online,
        )
        self._watchdog = Watchdog(reactor)
        self._chores = [
            (LoopingCall(self._reap), _REAP_SECONDS),
            (LoopingCall(self._worker.tidy), _TIDY_SECONDS),
        ]

    def startService(self) -> None:
        """Take up what an earlier run left, and begin to connect.

        :raise SystemExit: the state directory is not ours to use; its code is the line that says why.
        """
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's
        config = self._settings.config
        try:
            interrupted = self._spool.open()
            self._streams.open()
            (config.state_dir / "locks").mkdir(mode=0o700, exist_ok=True)
        except InUse as error:
            raise SystemExit(f"pushy-agent: state_dir: {error.filename}: {error.strerror}") from None
        except OSError as error:
            raise SystemExit(f"pushy-agent: state_dir: {error.filename}: {error.strerror}") from None
        try:
            tree.become_subreaper()
        except OSError as error:
            self.log.warn("Daemons that jobs start will not be found when a job is ended: {error}", error=error)
        self.log.info("Serving as node {node} of {server_url}", node=config.node_name, server_url=config.server_url)
        if not config.verify_peer:
            self.log.warn("ssl_verify_mode is verify_none: whoever answers is taken for the server")
        self._disk.start()
        self._watchdog.start()
        self._context = Context(self._reactor)
        for chore, seconds in self._chores:
            chore.clock = self._reactor
            _ = chore.start(seconds)
        background(self._begin(interrupted), self.log, "The agent did not start")

    def stopService(self) -> Deferred[None]:
        """Let what runs end, or end it, say so, disconnect. A second call does nothing."""
        if not self.running:
            return succeed(None)
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's
        return Deferred.fromCoroutine(self._stop())

    def reload(self) -> None:
        """Read the settings again, and the server's configuration with them; bad ones change nothing."""
        self._surroundings.systemd.reloading()
        if self._settings.reload():
            self._link.renew("the settings have been read again")
        self._surroundings.systemd.reloaded()

    async def idle(self) -> None:
        """Wait until there is no job that a stop would end."""
        if not isinstance(self._worker.state, Idle):
            self.log.info("The agent ends when the job that it has is over")
        await self._worker.idle()

    def renew(self) -> None:
        """Read the server's configuration again."""
        self._link.renew("somebody asked for it")

    async def _begin(self, interrupted: tuple[str, ...]) -> None:
        node = self._settings.config.node_name
        for job_id in interrupted:
            await tree.end_lost(job_id, node, clock=self._reactor, term_time=TERM_TIME)
            if self._groups and (group := self._groups.of(job_id)):
                group.kill()  # what has cleared its environment
            self.log.warn("Job {job_id} was running when the agent died; it has failed", job_id=job_id)
            output = self._streams.totals(job_id)
            how = None if output is None else Exit(output=output)
            await self._spool.keep(Say(kind=Kind.FAILED, job_id=job_id, reason="agent_restarted", exit=how))
        if self.running:
            self._link.start()
            self._surroundings.systemd.ready(self._reactor)

    async def _stop(self) -> None:
        self._surroundings.systemd.stopping()
        await self._worker.stop(self._settings.config.stop_grace)
        await self._sender.drain(_DRAIN_SECONDS)
        self._link.stop()
        for chore, _seconds in self._chores:
            if chore.running:
                chore.stop()
        self._watchdog.stop()
        self._streams.stop()
        await self._spool.close()
        self._disk.stop()
        if self._context is not None:
            self._context.shutdown()

    def _on_disk(self, work: Callable[[], T], /) -> Awaitable[T]:
        return deferToThreadPool(self._reactor, self._disk, work)

    async def _check(self, commit: Commit) -> Order:
        self._settings.refresh()
        return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._desk().check, commit)

    def _files(self) -> JobFiles:
        config = self._settings.config
        return JobFiles(config.file_dir, expiry=config.file_dir_expiry, now=self._surroundings.now)

    def _reap(self) -> None:
        tree.reap_adopted([self._child.pid] if self._child is not None else [])

    def _bootstrap(self) -> Bootstrap:
        config = self._settings.config
        return Bootstrap(
            requests=SignedClient(
                trust=Trust(trusted=config.trusted, verify=config.verify_peer),
                in_thread=partial(daemon_thread, self._reactor),
                clock=self._reactor,
                now=self._surroundings.now,
            ),
            server_url=config.server_url,
            node_name=config.node_name,
            client_key=config.client_key,
            validation_key=config.validation_key,
            validation_client_name=config.validation_client_name,
            max_body_size=config.max_body_size,
            facts=partial(facts.collect, config.node_name, config.labels),
            reported=self._reported,
        )

    def _desk(self) -> OrderDesk:
        config = self._settings.config
        return OrderDesk(
            whitelist=config.whitelist,
            node_name=config.node_name,
            environment=self._surroundings.environment,
            allowed_env=config.allowed_env,
            lock_dir=config.state_dir / "locks",
            streams=self._speaker.offers("output"),
            uid=self._surroundings.uid,
        )

    def _converse(self, session: Session) -> Conversation:
        # TLS and the system's certificates have taken a megabyte that is not wanted for an hour now.
        give_back_memory()
        return Conversation(
            session,
            clock=self._reactor,
            jitter=self._surroundings.jitter,
            open_channels=self._open_channels,
            sender=self._sender,
            on_command=self._worker.on_command,
            job=lambda: self._worker.state,
        )

    def _open_channels(
        self,
        session: Session,
        on_command: Callable[[ServerCommand], None],
        on_heartbeat: Callable[[ServerHeartbeat], None],
    ) -> Channels:
        assert self._context is not None
        return Channels(
            session,
            context=self._context,
            clock=self._reactor,
            now=self._surroundings.now,
            guard=self._guard,
            on_command=on_command,
            on_heartbeat=on_heartbeat,
        )

    def _spawn(self, order: Order, env: Mapping[str, str], ended: Callable[[Exit], None]) -> Process:
        sinks = self._streams.begin(order) if order.streamed else None

        def over(how: Exit) -> None:
            self._child = None  # its id is anybody's now
            self._reap()
            ended(how)

        try:
            group = self._groups.make(order.job_id) if self._groups else None
            self._child = Process(self._reactor, order, env, over, sinks=sinks, group=group)
        except CannotStart:
            self._streams.drop(order.job_id)
            raise
        return self._child
