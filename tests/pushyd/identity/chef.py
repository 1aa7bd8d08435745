"""The double of a Chef Server on loopback, and what asks it."""

from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from twisted.internet import reactor as the_reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from twisted.web.client import HTTPConnectionPool
from twisted.web.server import Site

from demo.chef.data import World
from demo.chef.server import ChefDouble
from pushy_protocol.https import SignedClient, make_client
from pushy_protocol.tls import Policy
from pushyd.identity.cache import Lifetimes
from pushyd.identity.chef_http import ChefHttp
from pushyd.identity.chef_server import ChefServer, KeptOrganizations
from pushyd.identity.interface import Identity
from pushyd.store.interface import AlreadyExists, Organization
from tests.pushyd.identity.keys import key_of, pem_of

reactor: Any = the_reactor
NOW = 1_769_860_800.0
US = "pushy"
LIFETIMES = Lifetimes(present=60, absent=10, stale=900)


class MemoryOrganizations:
    """Of a store, what is known of organizations."""

    def __init__(self) -> None:
        self.kept: dict[str, Organization] = {}

    async def organization(self, name: str) -> Organization | None:
        return self.kept.get(name)

    async def create_organization(self, name: str, guid: str, full_name: str = "") -> int:
        if name in self.kept:
            raise AlreadyExists(name)
        self.kept[name] = Organization(name=name, guid=guid, full_name=full_name)
        return 1


class ChefCase(TestCase):
    """Serves the double for each test. Time is the test's: for what is held, and for what waits for too long."""

    timeout = 20

    def setUp(self) -> None:
        self.clock = Clock()
        self.world = World()
        self.chef = ChefDouble(self.world, reactor=reactor, now=lambda: NOW)
        self.world.make_organization("acme")
        self.world.make_organization("other")
        self.world.make_user(US, pem_of(US), member_of=("acme", "other"))
        self.organizations = MemoryOrganizations()
        self.client = make_client(reactor, Policy(trusted=(), verify=True), connections=4)
        self.pool: HTTPConnectionPool = cast("Any", self.client)._agent._pool
        self.addCleanup(self.pool.closeCachedConnections)
        self.where = 0
        self.port: Any
        self.start_chef()
        self.url = f"http://127.0.0.1:{self.where}"
        self.http = self.make_http()
        self.identity: Identity = self.make_identity(self.http)

    def start_chef(self) -> None:
        """Listen; where it did before, if it did."""
        self.port = reactor.listenTCP(self.where, Site(self.chef), interface="127.0.0.1")
        self.where = self.port.getHost().port
        self.addCleanup(self.port.stopListening)

    async def stop_chef(self) -> None:
        """Be away: connections that are kept open end too."""
        await self.pool.closeCachedConnections()
        await self.port.stopListening()

    def make_http(
        self,
        *,
        user: str = US,
        key: RSAPrivateKey | None = None,
        version: str = "1.3",
        concurrency: int = 4,
        timeout: float = 10,
        url: str | None = None,
    ) -> ChefHttp:
        return ChefHttp(
            client=SignedClient(self.client, self.clock, lambda: NOW, timeout=timeout, version=version),
            url=url or self.url,
            user=user,
            key=key or key_of(US),
            seconds=self.clock.seconds,
            concurrency=concurrency,
        )

    def make_identity(self, http: ChefHttp, kept: KeptOrganizations | None = None, size: int = 100) -> ChefServer:
        return ChefServer(
            http=http,
            kept=kept or self.organizations,
            seconds=self.clock.seconds,
            lifetimes=LIFETIMES,
            size=size,
        )

    def asked(self) -> list[str]:
        """The last parts of the paths that it was asked for since the last time."""
        seen, self.chef.seen[:] = list(self.chef.seen), []
        return [one.path.rpartition("/")[2] for one in seen]
