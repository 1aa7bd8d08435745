"""The composition root: the one place that knows every concrete class of the agent, and starts and stops them."""

import os
import random
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from attrs import field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pushy_agent.bootstrap import Bootstrap, Session
from pushy_agent.config import Config
from pushy_agent.connection import Channels
from pushy_agent.conversation import Conversation
from pushy_agent.heartbeat import SequenceGuard
from pushy_agent.http import SignedClient, make_client
from pushy_agent.job import Exit
from pushy_agent.jobfile import JobFiles
from pushy_agent.link import Link
from pushy_agent.order import Order, OrderDesk
from pushy_agent.process import Process
from pushy_agent.sender import Sender
from pushy_agent.tls import Policy
from pushy_agent.worker import Worker
from pushy_protocol.messages import ServerCommand, ServerHeartbeat
from pushy_protocol.zeromq import Context


@frozen(kw_only=True)
class Surroundings:
    """What the agent takes from the machine that it runs on."""

    host: str = field(factory=socket.gethostname)
    environment: Mapping[str, str] = field(factory=lambda: dict(os.environ), repr=False)
    uid: int = field(factory=os.geteuid)
    now: Callable[[], float] = time.time
    jitter: Callable[[], float] = field(factory=lambda: random.SystemRandom().random)


class AgentService(Service):
    """The agent: from the start of the service to its stop it serves one node."""

    name = "pushy-agent"
    log = Logger()

    def __init__(self, config: Config, reactor: Any, surroundings: Surroundings) -> None:
        """:param reactor: Twisted's, with time, TCP, names and readers"""
        self._config = config
        self._reactor = reactor
        self._surroundings = surroundings
        self._guard = SequenceGuard()
        self._context: Context | None = None
        self._sender = Sender(host=surroundings.host, incarnation_id=str(uuid.uuid4()), now=surroundings.now)
        self._link = Link(
            clock=reactor, jitter=surroundings.jitter, fetch=self._bootstrap().fetch, converse=self._converse
        )
        self._worker = Worker(
            check=self._desk().check,
            spawn=self._spawn,
            files=JobFiles(config.file_dir),
            say=self._sender.say,
            is_online=lambda: self._link.is_online,
        )

    def startService(self) -> None:
        """Begin to connect."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's
        self.log.info(
            "Serving as node {node} of {server_url}", node=self._config.node_name, server_url=self._config.server_url
        )
        if not self._config.verify_peer:
            self.log.warn("ssl_verify_mode is verify_none: whoever answers is taken for the server")
        self._context = Context(self._reactor)
        self._link.start()

    def stopService(self) -> Deferred[None]:
        """End what runs, say so, disconnect."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self._worker.stop()
        self._link.stop()
        if self._context is not None:
            self._context.shutdown()

    def _bootstrap(self) -> Bootstrap:
        config = self._config
        policy = Policy(trusted=config.trusted, verify=config.verify_peer)
        return Bootstrap(
            requests=SignedClient(make_client(self._reactor, policy), self._reactor, self._surroundings.now),
            server_url=config.server_url,
            node_name=config.node_name,
            client_key=config.client_key,
            validation_key=config.validation_key,
            validation_client_name=config.validation_client_name,
            max_body_size=config.max_body_size,
        )

    def _desk(self) -> OrderDesk:
        return OrderDesk(
            whitelist=self._config.whitelist,
            node_name=self._config.node_name,
            environment=self._surroundings.environment,
            allowed_env=self._config.allowed_env,
            uid=self._surroundings.uid,
        )

    def _converse(self, session: Session) -> Conversation:
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
        return Process(self._reactor, order, env, ended)
