"""What pushyd keeps, and the promises of keeping it. No statement and no driver is known here.

Every method that is `async` gives its answer after the transaction that it needed was committed (and flushed to the
disk). Nothing blocks the reactor. What a driver or the disk refuses comes out as :class:`StoreUnavailable`, with the
driver's words; a name that is taken as :class:`AlreadyExists`; an organization or group to put something into that is
not there as :class:`NotFound`.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from attrs import field, frozen

from pushy_protocol.states import JobStatus, NodeStatus
from pushyd.domain.job import JobSpec
from pushyd.store.output_interface import OutputCaptured, OutputEnd, OutputStore

DEFAULT_KEY = "default"
"""The name of a principal's first key, as in Chef."""

ADMINS = "admins"
"""The group that administers its organization."""

EMPTY: Mapping[str, str] = MappingProxyType({})


class StoreUnavailable(Exception):
    """The store cannot be reached, or cannot write; what was asked for did not happen."""


class AlreadyExists(Exception):
    """A record of that name is there; nothing was changed."""


class NotFound(Exception):
    """What the new record would belong to is not there; nothing was changed."""


class StillNeeded(Exception):
    """Something that has not ended belongs to it; nothing was changed. The text says what."""


class UnknownJob(NotFound):
    """A list should begin after a job that the organization does not have."""


class NodeDetail(NamedTuple):
    """What is known of one node's part in a job, beyond its status; None: not known, or not yet.

    Times are seconds since the epoch on the server's clock, kept to the millisecond.

    :param reason: why it did not succeed, as it said, or as its vote or end is called in the feed
    :param exit_status: that its command ended with
    :param signal: that its command was ended by
    :param started_at: when the server heard that the command runs
    :param finished_at: when its part was over, whatever became of it
    """

    reason: str | None = None
    exit_status: int | None = None
    signal: int | None = None
    started_at: float | None = None
    finished_at: float | None = None


NO_DETAIL = NodeDetail()


@frozen(kw_only=True)
class StoredJob:
    """A job as it was kept. `updated_at` (seconds since the epoch) is when `status` began.

    `nodes` has every node of the job; `details` only those of which more is known.
    """

    spec: JobSpec
    status: JobStatus
    updated_at: float
    nodes: Mapping[str, NodeStatus] = field(repr=False)
    details: Mapping[str, NodeDetail] = field(factory=dict, repr=False)
    aborting: bool = False

    @property
    def reasons(self) -> dict[str, str]:
        """Why nodes did not succeed, of those of which it is known."""
        return {node: detail.reason for node, detail in self.details.items() if detail.reason is not None}


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
class JobQuery:
    """Which jobs a list shall have: at most `limit`, and only those that are as everything says that is not None.

    :param before: the id of a job; those that were made before it
    :param command: the whole of it
    :param node: the name of one of their nodes
    :param since: those that were made then or later, in seconds since the epoch. Where the clock of the server was set
        back by more than ten minutes, some that were made before that are left out
    """

    limit: int
    before: str | None = None
    status: JobStatus | None = None
    command: str | None = None
    node: str | None = None
    since: float | None = None


@frozen(kw_only=True)
class JobStatusChange:
    """A job entered `status` at `at` (seconds since the epoch)."""

    job_id: str
    status: JobStatus
    at: float


class NodeStatusChange(NamedTuple):
    """A node of a job entered `status`; `detail` is all that is now known of its part."""

    job_id: str
    node: str
    status: NodeStatus
    detail: NodeDetail = NO_DETAIL


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


Change = JobStatusChange | NodeStatusChange | OutputCaptured | OutputEnd | AbortRequest | FeedText


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

    async def recorded(self, *, hurry: bool = False) -> None:
        """Return once every change recorded so far is committed.

        :param hurry: somebody waits for it: do not wait for others to join them
        """

    async def job(self, organization: str, job_id: str) -> StoredJob | None:
        """One job, whole, or None."""

    async def jobs(self, organization: str, query: JobQuery) -> Sequence[JobSummary]:
        """The newest jobs of those that were asked for, newest first.

        :raise UnknownJob: there is no job `before` which they were made
        """

    async def unfinished_jobs(self) -> Sequence[StoredJob]:
        """The jobs of all organizations that have not ended, oldest first."""

    async def feed(self, job_id: str) -> bytes:
        """The feed of a job as far as it was kept, in order; empty where there is none."""


class RetirementStore(Protocol):
    """How jobs are deleted: in steps, none of which takes long, and none of which anybody sees half done."""

    async def place(self, organization: str, rank: int) -> int | None:
        """The place of an organization's newest job but `rank`; None where it has not so many.

        A place is a number that grows with every job of any organization.
        """

    async def retire_jobs(
        self, organization: str, *, limit: int, created_before: float | None = None, up_to: int | None = None
    ) -> int:
        """Delete the oldest jobs that have ended, as far as anybody can see; how many. See also :meth:`purge`.

        :param limit: how many at most: the store is busy that long
        :param created_before: only those that were made before, in seconds since the epoch
        :param up_to: only those up to this place
        """

    async def purge(self, limit: int) -> int:
        """Delete at most `limit` rows of retired jobs, their nodes, feeds and outputs; how many. 0: none are left."""


class UnknownMember(NotFound):
    """Who should be in a group is not in its organization; nothing was changed. The text names them."""


@frozen(kw_only=True)
class Organization:
    """An organization and its unchanging id."""

    name: str
    guid: str
    full_name: str = ""


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
    """Organizations, users, clients and groups.

    Every change of them, by whatever program, makes a number in the database one greater, the *generation*: who keeps
    copies looks there whether they still hold. A method that changes something returns the generation that it made.

    A key is a public key in PEM. Keys have names; that of a principal's first is :data:`DEFAULT_KEY`.
    """

    async def identity_generation(self) -> int:
        """The generation as it is now."""

    async def organizations(self) -> Sequence[Organization]:
        """All of them, in the order in which they were made."""

    async def organization(self, name: str) -> Organization | None:
        """One organization, or None."""

    async def create_organization(self, name: str, guid: str, full_name: str = "") -> int:
        """:raise AlreadyExists: it is there"""

    async def found_organization(
        self, name: str, *, guid: str, full_name: str, admin: str, validator: str, validator_key: str
    ) -> int:
        """An organization with its first user, in group :data:`ADMINS`, and the client that introduces others; at once.

        :raise AlreadyExists: it is there
        :raise NotFound: there is no such user
        """

    async def rename_organization(self, name: str, full_name: str) -> int:
        """Give it another full name.

        :raise NotFound: it is not there
        """

    async def identify_organization(self, name: str, guid: str) -> int:
        """Give it another id: what is kept of it is that of the organization with this id from now on.

        :raise AlreadyExists: another organization has the id
        :raise NotFound: it is not there
        """

    async def delete_organization(self, name: str) -> int:
        """Delete an organization that has no jobs (any more), and all that belongs to it; its users stay.

        :raise NotFound: it is not there
        :raise StillNeeded: it has jobs
        """

    async def principals(self, organization: str, name: str) -> Sequence[StoredPrincipal]:
        """Everyone of that name: the user, associated with the organization or not, and its client."""

    async def keys(self, organization: str | None, name: str) -> Mapping[str, str] | None:
        """The keys by name of a client, or (without an organization) of a user; None where there is no such one."""

    async def put_key(self, organization: str | None, name: str, key: str, public_key: str) -> int:
        """Give a client, or (without an organization) a user, the key of this name, in the place of an earlier one.

        :raise NotFound: there is no such one
        """

    async def users(self, organization: str | None = None) -> Sequence[str]:
        """The names of all users, or of those that are associated with an organization, sorted."""

    async def profile(self, user: str) -> Mapping[str, str] | None:
        """What a user said of itself, such as its `email`; None where there is no such user."""

    async def create_user(
        self,
        name: str,
        public_key: str | None,
        organizations: Sequence[str] = (),
        profile: Mapping[str, str] = EMPTY,
    ) -> int:
        """A user with one key or none, associated with `organizations`.

        :raise AlreadyExists: the name is taken by a user
        :raise NotFound: an organization is not there
        """

    async def change_user(self, name: str, new_name: str, profile: Mapping[str, str]) -> int:
        """Give a user another name (or the same) and profile; it stays in its organizations and groups.

        :raise AlreadyExists: the new name is taken by a user
        :raise NotFound: there is no such user
        """

    async def delete_user(self, name: str) -> int:
        """Delete a user, also from organizations and groups.

        :raise NotFound: there is no such user
        """

    async def associate(self, organization: str, user: str) -> int:
        """Make a user belong to an organization.

        :raise AlreadyExists: it does
        :raise NotFound: there is no such user or organization
        """

    async def dissociate(self, organization: str, user: str) -> int:
        """Let a user belong to an organization no more, nor to its groups.

        :raise NotFound: it does not
        """

    async def clients(self, organization: str) -> Sequence[str]:
        """The names of the clients, sorted."""

    async def create_client(self, organization: str, name: str, public_key: str | None) -> int:
        """A client with one key or none.

        :raise AlreadyExists: the name is taken by a client of the organization
        :raise NotFound: the organization is not there
        """

    async def rename_client(self, organization: str, name: str, new_name: str) -> int:
        """Give a client another name; it stays in its groups.

        :raise AlreadyExists: the new name is taken by a client of the organization
        :raise NotFound: there is no such client
        """

    async def delete_client(self, organization: str, name: str) -> int:
        """Delete a client, also from groups, and its registration as a node.

        :raise NotFound: there is no such client
        """

    async def groups(self, organization: str) -> Mapping[str, StoredGroup]:
        """Every group of an organization, by name."""

    async def create_group(self, organization: str, name: str) -> int:
        """An empty group.

        :raise AlreadyExists: it is there
        :raise NotFound: the organization is not there
        """

    async def set_group(self, organization: str, group: StoredGroup) -> int:
        """Give a group these members, and no others.

        :raise NotFound: there is no such group
        :raise UnknownMember: some of them are no users, clients or groups of the organization
        """

    async def delete_group(self, organization: str, name: str) -> int:
        """Delete a group, also from other groups.

        :raise NotFound: there is no such group
        """

    async def add_to_group(self, organization: str, group: str, kind: str, member: str) -> int:
        """Make the user, client or group (`kind`) `member` a member of a group; again is no error.

        :raise NotFound: the group is not there
        """

    async def remove_from_group(self, organization: str, group: str, kind: str, member: str) -> int:
        """Let it be no member of a group; again is no error."""


@frozen(kw_only=True)
class StoredNode:
    """What is known of a node, beyond its presence: Chef's node object, in JSON."""

    name: str
    data: bytes = field(repr=False)


@frozen(kw_only=True)
class Found:
    """What a search found: how many there are, and a part of them, as the searcher wanted them."""

    total: int
    rows: Sequence[bytes] = field(repr=False)


class TooMuch(Exception):
    """What was asked for is larger than the caller wants to hold."""


class NodeObjectStore(Protocol):
    """The node objects. What they say is not looked at here."""

    async def node_names(self, organization: str) -> Sequence[str]:
        """The names of all node objects, sorted."""

    async def node_object(self, organization: str, name: str) -> bytes | None:
        """One node object, or None."""

    async def create_node_object(self, organization: str, node: StoredNode) -> None:
        """:raise AlreadyExists: it is there

        :raise NotFound: the organization is not there
        """

    async def change_node_object(
        self, organization: str, name: str, change: Callable[[bytes | None], bytes | None]
    ) -> None:
        """Keep what `change` makes of the object that is kept (None: there is none), with nobody writing in between.

        :param change: pure, for it may be called twice, and in another thread; None leaves it as it is. What it raises
            is raised here, and nothing is changed.
        :raise NotFound: the organization is not there
        """

    async def delete_node_object(self, organization: str, name: str) -> None:
        """:raise NotFound: there is none"""

    async def find_node_objects(
        self,
        organization: str,
        matches: Callable[[StoredNode], bool],
        show: Callable[[StoredNode], bytes],
        *,
        start: int,
        rows: int,
        max_bytes: int,
    ) -> Found:
        """Of all objects that match, in the order of their names, `rows` from `start` on, as `show` makes them.

        Every object is looked at. Both functions are called in another thread.

        :raise TooMuch: the rows are more than `max_bytes` together
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


class Store(JobStore, OutputStore, RetirementStore, IdentityStore, NodeObjectStore, RegistrationStore, Protocol):
    """All that is kept, in one database."""

    async def open(self) -> None:
        """Connect, and bring the schema up to date.

        :raise StoreUnavailable: it cannot be reached, or a newer version of pushyd made it
        """

    async def close(self) -> None:
        """Write what is still held, then let go of the database."""
