"""What pushyd keeps, and the promises of keeping it. No statement and no driver is known here.

Every method that is `async` gives its answer after the transaction that it needed was committed (and flushed to the
disk). Nothing blocks the reactor. What a driver or the disk refuses comes out as :class:`StoreUnavailable`, with the
driver's words; a name that is taken as :class:`AlreadyExists`; an organization or group to put something into that is
not there as :class:`NotFound`.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from attrs import field, frozen

from pushy_protocol.states import JobStatus, NodeStatus
from pushyd.domain.job import JobSpec


class StoreUnavailable(Exception):
    """The store cannot be reached, or cannot write; what was asked for did not happen."""


class AlreadyExists(Exception):
    """A record of that name is there; nothing was changed."""


class NotFound(Exception):
    """What the new record would belong to is not there; nothing was changed."""


@frozen(kw_only=True)
class StoredJob:
    """A job as it was kept. `updated_at` (seconds since the epoch) is when `status` began.

    `nodes` has every node of the job; `reasons` only those that said why.
    """

    spec: JobSpec
    status: JobStatus
    updated_at: float
    nodes: Mapping[str, NodeStatus] = field(repr=False)
    reasons: Mapping[str, str] = field(factory=dict, repr=False)
    aborting: bool = False


@frozen(kw_only=True)
class JobSummary:
    """A job as a list shows it: without its nodes."""

    id: str
    command: str
    status: JobStatus
    run_timeout: float
    created_at: float
    updated_at: float
    user: str | None
    dir: str | None
    env: Mapping[str, str] | None
    capture: bool
    file_specified: bool


@frozen(kw_only=True)
class JobStatusChange:
    """A job entered `status` at `at` (seconds since the epoch)."""

    job_id: str
    status: JobStatus
    at: float


@frozen(kw_only=True)
class NodeStatusChange:
    """A node of a job entered `status`, with the reason that it gave, if any."""

    job_id: str
    node: str
    status: NodeStatus
    reason: str | None = None


@frozen(kw_only=True)
class OutputCaptured:
    """What a command wrote, whole; None where the channel was not captured."""

    job_id: str
    node: str
    stdout: bytes | None = field(repr=False)
    stderr: bytes | None = field(repr=False)


@frozen(kw_only=True)
class AbortRequest:
    """Somebody wants a job to end; it will be `aborted` once its nodes have confirmed."""

    job_id: str


@frozen(kw_only=True)
class FeedText:
    """A piece of a job's feed, as it is sent: events `first`, `first` + 1, … (the first of all is 1)."""

    job_id: str
    first: int
    text: bytes = field(repr=False)


Change = JobStatusChange | NodeStatusChange | OutputCaptured | AbortRequest | FeedText


class JobStore(Protocol):
    """Jobs, their nodes and what those wrote."""

    async def create_job(self, spec: JobSpec) -> None:
        """Keep a new job (status `new`, every node `new`); it is committed when this returns.

        :raise AlreadyExists: a job has that id
        :raise NotFound: the organization is not there
        :raise StoreUnavailable: it is not kept
        """

    def record(self, change: Change) -> None:
        """Keep a change of a job that is kept, soon: changes are written together, in order, in one transaction.

        Never raises and never waits. While the store cannot be written, changes are held and written again until they
        can be; one that is refused for what it says is dropped, with an error in the log. Of what a node captured the
        first counts, and a repetition is a no-op. A change of a job that is not there does nothing.
        """

    async def recorded(self) -> None:
        """Return once every change recorded so far is committed."""

    async def job(self, organization: str, job_id: str) -> StoredJob | None:
        """One job, whole, or None."""

    async def jobs(self, organization: str, limit: int) -> Sequence[JobSummary]:
        """The newest `limit` jobs, newest first."""

    async def unfinished_jobs(self) -> Sequence[StoredJob]:
        """The jobs of all organizations that have not ended, oldest first."""

    async def feed(self, job_id: str) -> bytes:
        """The feed of a job as far as it was kept, in order; empty where there is none."""

    async def output(self, organization: str, job_id: str, node: str, channel: str) -> bytes | None:
        """What a node's command wrote to `channel` (`stdout` or `stderr`); None when none was captured."""


@frozen(kw_only=True)
class Organization:
    """An organization and its unchanging id."""

    name: str
    guid: str


@frozen(kw_only=True)
class StoredPrincipal:
    """Who a name is: a user, or a client of an organization, and its public keys (PEM)."""

    name: str
    kind: str  # "user" or "client"
    public_keys: tuple[str, ...]
    associated: bool  # belongs to the organization that was asked about


@frozen(kw_only=True)
class StoredGroup:
    """The direct members of a group."""

    name: str
    users: frozenset[str]
    clients: frozenset[str]
    groups: frozenset[str]


class IdentityStore(Protocol):
    """Organizations, users, clients and groups."""

    async def organization(self, name: str) -> Organization | None:
        """One organization, or None."""

    async def create_organization(self, name: str, guid: str) -> None:
        """:raise AlreadyExists: it is there"""

    async def principals(self, organization: str, name: str) -> Sequence[StoredPrincipal]:
        """Everyone of that name: the user, associated with the organization or not, and its client."""

    async def create_user(self, name: str, public_key: str, organizations: Sequence[str] = ()) -> None:
        """A user with one key, associated with `organizations`.

        :raise AlreadyExists: the name is taken by a user
        :raise NotFound: an organization is not there
        """

    async def create_client(self, organization: str, name: str, public_key: str) -> None:
        """A client with one key.

        :raise AlreadyExists: the name is taken by a client of the organization
        :raise NotFound: the organization is not there
        """

    async def groups(self, organization: str) -> Mapping[str, StoredGroup]:
        """Every group of an organization, by name."""

    async def create_group(self, organization: str, name: str) -> None:
        """An empty group.

        :raise AlreadyExists: it is there
        :raise NotFound: the organization is not there
        """

    async def add_to_group(self, organization: str, group: str, kind: str, member: str) -> None:
        """Make the user, client or group (`kind`) `member` a member of a group; again is no error.

        :raise NotFound: the group is not there
        """


@frozen(kw_only=True)
class Registration:
    """What a node agreed on with its last configuration, so that it need not ask again after a restart.

    :param curve_key: the public half (Z85) that it connects with
    :param session_salt: from which its session key is derived; new only when the client is made anew
    :param protocol_version: that it asked for: ``2.0`` or ``3.0``
    """

    organization: str
    node: str
    curve_key: str
    session_salt: bytes = field(repr=False)
    protocol_version: str


class RegistrationStore(Protocol):
    """The nodes that may connect."""

    async def save_registration(self, registration: Registration) -> None:
        """Keep it, instead of an earlier one of the same node.

        :raise NotFound: the organization is not there
        """

    async def delete_registration(self, organization: str, node: str) -> None:
        """Forget it, where there is one."""

    async def registrations(self) -> Sequence[Registration]:
        """All of them."""


class Store(JobStore, IdentityStore, RegistrationStore, Protocol):
    """All that is kept, in one database."""

    async def open(self) -> None:
        """Connect, and bring the schema up to date.

        :raise StoreUnavailable: it cannot be reached, or a newer version of pushyd made it
        """

    async def close(self) -> None:
        """Write what is still held, then let go of the database."""
