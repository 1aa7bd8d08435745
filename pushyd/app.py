"""The composition root: the only place that knows every concrete class, and the order of start and stop.

Starting: the lock of the state directory, the store, the services, the sockets, the API last. What has been started
is stopped in the opposite order: the API first, the store after all that writes to it.
"""

import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from ipaddress import ip_address
from typing import Any
from uuid import uuid4

import zmq
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from pushy_protocol import api as shapes
from pushy_protocol.keys import public_pem
from pushy_protocol.systemd import Systemd
from pushy_protocol.zeromq import Context
from pushyd.api_endpoint import Tls, api_endpoint
from pushyd.broker.command import CommandChannel
from pushyd.broker.heartbeat import HeartbeatPublisher
from pushyd.broker.zap import Authenticator
from pushyd.config import Settings
from pushyd.domain.node import HeartbeatRule
from pushyd.feeds import FeedService
from pushyd.first_start import make_first_principals
from pushyd.identity_backend import Backend, BackendError, make_backend, offered_extensions
from pushyd.jobs import JobService
from pushyd.live_jobs import LiveJobs
from pushyd.nodes import NodeService
from pushyd.outputs import Outputs
from pushyd.results import Results
from pushyd.retention import Retention
from pushyd.sessions import Sessions
from pushyd.state_dir import StateDir, StateDirError
from pushyd.store.interface import Store, StoreUnavailable
from pushyd.store.output_interface import OutputRules
from pushyd.store.sql import SqlStore
from pushyd.web import agent_config, feeds, jobs, nodes, openapi, output, status
from pushyd.web.app import Api

_ABSENCE_SECONDS = 30.0
"""How long nodes with an unfinished job may take to come back after a restart of the server."""

_STOP_SECONDS = 4.0
"""How long writing what is held may take when the server stops."""


class StartError(Exception):
    """The server cannot start; the text is for the operator."""


class PushServer(Service):
    """One pushyd, as a service of twistd."""

    log = Logger()

    def __init__(
        self,
        *,
        reactor: Any,
        settings: Settings,
        state: StateDir,
        lock: int,
        now: Callable[[], float],
        failed: Callable[[], None],
        systemd: Systemd,
    ) -> None:
        """:param lock: the descriptor that holds the lock of the state directory
        :param now: seconds since the epoch
        :param failed: called where the server could not start
        :param systemd: is told when the server is ready
        """
        self._reactor = reactor
        self._settings = settings
        self._state = state
        self._lock = lock
        self._now = now
        self._failed = failed
        self._systemd = systemd
        self._tls: Tls | None = None
        self._incarnation_id = str(uuid4())
        self._starting: Deferred[None] | None = None
        self._started = AsyncExitStack()

    def startService(self) -> None:
        """Begin to start. No thread and no socket is made before, so that twistd can fork until then."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no types here
        self._starting = Deferred.fromCoroutine(self._start())

    def stopService(self) -> Deferred[None]:
        """Stop; the Deferred fires when everything is written."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no types here
        self._systemd.stopping()
        if self._starting:
            self._starting.cancel()
        return Deferred.fromCoroutine(self._started.aclose())

    def reload(self) -> None:
        """Read the certificate of the API again, for the connections to come; one that cannot be used changes nothing.

        What the settings say takes a restart, which jobs survive.
        """
        self._systemd.reloading()
        try:
            if self._tls:
                self._tls.reload()
                self.log.info("The API's certificate has been read again; settings take a restart")
        except ValueError as error:
            self.log.warn("The API goes on with the certificate that it has: {error}", error=error)
        finally:
            self._systemd.reloaded()

    async def _start(self) -> None:
        try:
            await self._start_in_order()
            self._systemd.ready(self._reactor)
        except CancelledError:
            self.log.info("pushyd was stopped while it started")
        except (StartError, StateDirError, StoreUnavailable, CannotListenError) as error:
            self.log.critical("pushyd cannot start: {error}", error=error)
            self._failed()
        except Exception:
            self.log.failure("pushyd cannot start")
            self._failed()

    async def _start_in_order(self) -> None:
        self._started.callback(os.close, self._lock)
        try:
            store = SqlStore(url=self._settings.database, reactor=self._reactor)
        except ValueError as error:
            raise StartError(str(error)) from None
        self._started.push_async_callback(self._close, store)
        await store.open()
        if self._settings.identity.backend == "local":
            await self._introduce(store)
        sessions = Sessions(
            secret=self._state.session_secret, store=store, extensions=offered_extensions(self._settings.identity)
        )
        await sessions.load()
        backend = self._backend(store, sessions)
        feed_service = FeedService(
            store=store,
            clock=self._reactor,
            now=self._now,
            wait_complete_seconds=self._settings.wait_complete_time,
            expiry_seconds=self._settings.org_feed_expiration,
        )
        node_service, live_jobs, job_service, outputs = self._services(store, sessions, feed_service)
        command, heartbeat = self._channels(store, node_service, live_jobs, sessions, outputs)
        # Before the first word of a node: what it says of a job that is not known is answered by an abort.
        if unfinished := await job_service.take_up(_ABSENCE_SECONDS):
            self.log.info("Going on with {count} jobs that were not finished", count=unfinished)
        self._open_channels(node_service, command, heartbeat)
        retention = Retention(
            store=store,
            clock=self._reactor,
            now=self._now,
            days=self._settings.job_retention_days,
            count=self._settings.job_retention_count,
        )
        self._started.callback(retention.stop)
        retention.start()
        self._started.callback(backend.stop)
        backend.start()
        api = self._api(backend, sessions, node_service, live_jobs, job_service, retention)
        feeds.FeedRoutes(
            feeds=feed_service,
            jobs=job_service,
            outputs=outputs,
            clock=self._reactor,
            now=self._now,
            keep_alive_seconds=self._settings.keep_alive_time,
        ).add_to(api)
        output.OutputRoutes(jobs=job_service, outputs=outputs, feeds=feed_service, clock=self._reactor).add_to(api)
        await self._open_api(api)

    async def _close(self, store: Store) -> None:
        await Deferred.fromCoroutine(store.close()).addTimeout(_STOP_SECONDS, self._reactor)

    async def _introduce(self, store: Store) -> None:
        """Make the organization and its first principals, where there are none."""
        made = await make_first_principals(store, self._state, self._settings.organization)
        if made:
            self.log.info("Made organization {organization}", organization=self._settings.organization)
        for name, path in made.items():
            self.log.info("Made {name}; its private key: {path}", name=name, path=path)
        self.log.info("The CA that agents and workstations have to trust: {path}", path=self._state.ca_certificate)

    def _backend(self, store: Store, sessions: Sessions) -> Backend:
        try:
            return make_backend(
                self._settings.identity,
                store=store,
                sessions=sessions,
                reactor=self._reactor,
                now=self._now,
                config_lifetime=self._settings.config_lifetime,
            )
        except BackendError as error:
            raise StartError(str(error)) from None

    def _services(
        self, store: Store, sessions: Sessions, feed_service: FeedService
    ) -> tuple[NodeService, LiveJobs, JobService, Outputs]:
        settings = self._settings
        node_service = NodeService(
            clock=self._reactor,
            sessions=sessions,
            rule=HeartbeatRule(
                interval=settings.heartbeat_seconds, window=settings.decay_window, threshold=settings.down_threshold
            ),
            rehab_seconds=settings.rehab_seconds,
            check_seconds=settings.detect_offline_nodes_interval,
        )
        outputs = Outputs(
            store=store,
            feeds=feed_service,
            acknowledge=node_service.acknowledge,
            clock=self._reactor,
            rules=OutputRules(
                max_output=settings.max_output,
                max_job_output=settings.max_job_output,
                min_free_disk=settings.min_free_disk,
            ),
        )
        outputs.start()
        self._started.callback(outputs.stop)
        live_jobs = LiveJobs(
            store=store,
            nodes=node_service,
            feeds=feed_service,
            outputs=outputs,
            clock=self._reactor,
            now=self._now,
        )
        self._started.callback(live_jobs.stop)
        job_service = JobService(
            store=store,
            live=live_jobs,
            clock=self._reactor,
            now=self._now,
            voting_timeout=settings.voting_timeout,
            default_run_timeout=settings.default_running_timeout,
            max_body_size=settings.max_body_size,
            max_output=settings.max_output,
        )
        return node_service, live_jobs, job_service, outputs

    def _channels(
        self, store: Store, node_service: NodeService, live_jobs: LiveJobs, sessions: Sessions, outputs: Outputs
    ) -> tuple[CommandChannel, HeartbeatPublisher]:
        settings = self._settings
        context = Context(self._reactor)
        self._started.callback(context.shutdown)
        Authenticator(context, lambda key: sessions.by_peer(key) is not None).listen()
        command = CommandChannel(
            context=context,
            keys=self._state.curve_keys,
            sessions=sessions,
            on_message=node_service.on_message,
            now=self._now,
            server_name=settings.server_name,
            max_body_size=settings.max_body_size,
            max_time_skew=settings.max_time_skew,
        )
        heartbeat = HeartbeatPublisher(
            context=context,
            key=self._state.rsa_key,
            clock=self._reactor,
            now=self._now,
            interval=settings.heartbeat_seconds,
            server_name=settings.server_name,
            incarnation_id=self._incarnation_id,
        )
        results = Results(store=store, acknowledge=node_service.acknowledge)
        node_service.connect(command, live_jobs, results.received, outputs.received)
        return command, heartbeat

    def _open_channels(self, node_service: NodeService, command: CommandChannel, heartbeat: HeartbeatPublisher) -> None:
        settings = self._settings
        self._listen(command.listen, settings.command_port)
        node_service.start()
        self._started.callback(node_service.stop)
        self._listen(heartbeat.listen, settings.server_heartbeat_port)
        self._started.callback(heartbeat.stop)

    def _listen(self, listen: Callable[[str], str], port: int) -> None:
        address = f"{self._settings.zeromq_listen_address}:{port}"
        try:
            listen(address)
        except zmq.ZMQError as error:
            raise StartError(f"cannot listen on {address}: {error}") from None

    def _api(
        self,
        backend: Backend,
        sessions: Sessions,
        node_service: NodeService,
        live_jobs: LiveJobs,
        job_service: JobService,
        retention: Retention,
    ) -> Api:
        settings = self._settings
        host = f"{_in_url(settings.server_name)}:{settings.api_port}"
        api = Api(identity=backend.identity, now=self._now)
        status.add_routes(
            api,
            incarnation_id=self._incarnation_id,
            online_nodes=node_service.online_count,
            live_jobs=live_jobs.ids,
        )
        openapi.add_routes(api)
        jobs.add_routes(api, jobs=job_service, retention=retention, host=host)
        nodes.add_routes(api, nodes=node_service)
        agent_config.add_routes(
            api, sessions=sessions, nodes=backend.node_objects, offer=self._offer(), admitted=backend.admitted
        )
        backend.add_routes(api, host)
        return api

    def _offer(self) -> agent_config.Offer:
        settings = self._settings
        server = _in_url(settings.server_name)
        return agent_config.Offer(
            server_name=settings.server_name,
            heartbeat=shapes.HeartbeatConfig(
                out_addr=f"tcp://{server}:{settings.server_heartbeat_port}",
                command_addr=f"tcp://{server}:{settings.command_port}",
                interval=settings.heartbeat_seconds,
            ),
            public_key=public_pem(self._state.rsa_key.public_key()),
            curve_public_key=self._state.curve_keys.public,
            lifetime=settings.config_lifetime,
            max_message_skew=settings.max_time_skew,
            max_body_size=settings.max_body_size,
            incarnation_id=self._incarnation_id,
            names_must_match=settings.validate_client_node_name,
        )

    async def _open_api(self, api: Api) -> None:
        try:
            if self._settings.api_endpoint is None:
                self._tls = Tls(self._state)
            endpoint = api_endpoint(self._reactor, self._settings, self._tls)
        except ValueError as error:
            raise StartError(str(error)) from None
        port = await endpoint.listen(api.site())
        self._started.push_async_callback(_stop_listening, port)
        self.log.info("pushyd is ready; its API listens on {address.host}:{address.port}", address=port.getHost())


async def _stop_listening(port: Any) -> None:
    await port.stopListening()


def _in_url(server_name: str) -> str:
    """The server's name as it stands in a URL: an IPv6 address in brackets."""
    try:
        return f"[{server_name}]" if ip_address(server_name).version == 6 else server_name
    except ValueError:
        return server_name
