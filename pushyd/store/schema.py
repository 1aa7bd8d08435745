"""The tables, as the newest migration leaves them.

Times are seconds since the epoch. Organizations, users, clients and groups are known by their names, as in the API.
Jobs also have a number, `seq`: it grows with every job, so it is the order of "newest first", the cursor of a list,
and what the many rows of a job carry instead of its id of 32 digits.

Which index serves what:

- the jobs of an organization, newest first: ``jobs_newest``
- the same with one status: ``jobs_by_status``; with one command: ``jobs_by_command``; with both:
  ``jobs_by_command_and_status``
- the jobs of a time, to begin or to end a list there, or to delete them: ``jobs_by_time``
- the jobs that have not ended, of all organizations: ``jobs_unfinished``, which holds nothing but them
- the jobs of a node, newest first: those of few nodes by ``job_nodes_by_node``, which holds nothing but them; of many,
  each is looked at, along ``jobs_of_many_nodes``. In an index by node the places of a job's nodes lie far apart, so a
  job of ten thousand would have ten thousand pages written, and make all others wait for half a second
- the jobs that are deleted, but whose rows are still there: ``jobs_retired``, which holds nothing but them
- all nodes of a job, or one: the primary key of `job_nodes`, in which the nodes of a job lie side by side
- a stream of output, or all of a job: the unique index of `output_streams`
- a part of a stream: ``output_chunks_by_stream``; what came of a job after some time: ``output_chunks_by_job``
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    literal_column,
)

from pushy_protocol.states import TERMINAL_JOB_STATUSES, JobStatus
from pushyd.store.text import AnyText

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_key",
        "uq": "%(table_name)s_%(column_0_N_name)s_unique",
        "fk": "%(table_name)s_%(column_0_N_name)s_reference",
    }
)

# SQLite numbers rows by itself only where the type is just INTEGER.
_Seq = BigInteger().with_variant(Integer(), "sqlite")

organizations = Table(
    "organizations",
    metadata,
    Column("name", AnyText, primary_key=True),
    Column("guid", Text, nullable=False, unique=True),
    Column("full_name", AnyText),
    Column("founded", Integer, nullable=False, server_default="0"),  # grows with every organization
)

users = Table(
    "users",
    metadata,
    Column("name", AnyText, primary_key=True),
    Column("profile", Text, nullable=False, server_default="{}"),  # JSON
)

user_keys = Table(
    "user_keys",
    metadata,
    Column("user_name", ForeignKey(users.c.name, ondelete="CASCADE"), primary_key=True),
    Column("name", AnyText, primary_key=True),
    Column("public_key", AnyText, nullable=False),
)

associations = Table(
    "associations",
    metadata,
    Column("organization", ForeignKey(organizations.c.name, ondelete="CASCADE"), primary_key=True),
    Column("user_name", ForeignKey(users.c.name, ondelete="CASCADE"), primary_key=True),
    Index("associations_by_user", "user_name"),
)

clients = Table(
    "clients",
    metadata,
    Column("organization", ForeignKey(organizations.c.name, ondelete="CASCADE"), primary_key=True),
    Column("name", AnyText, primary_key=True),
)

client_keys = Table(
    "client_keys",
    metadata,
    Column("organization", AnyText, primary_key=True),
    Column("client", AnyText, primary_key=True),
    Column("name", AnyText, primary_key=True),
    Column("public_key", AnyText, nullable=False),
    ForeignKeyConstraint(["organization", "client"], [clients.c.organization, clients.c.name], ondelete="CASCADE"),
)

groups = Table(
    "groups",
    metadata,
    Column("organization", ForeignKey(organizations.c.name, ondelete="CASCADE"), primary_key=True),
    Column("name", AnyText, primary_key=True),
)

group_members = Table(
    "group_members",
    metadata,
    Column("organization", AnyText, primary_key=True),
    Column("group_name", AnyText, primary_key=True),
    Column("kind", Text, primary_key=True),  # user, client or group
    Column("member", AnyText, primary_key=True),
    ForeignKeyConstraint(["organization", "group_name"], [groups.c.organization, groups.c.name], ondelete="CASCADE"),
)

# One row.
identity_generation = Table(
    "identity_generation",
    metadata,
    Column("generation", BigInteger, primary_key=True, autoincrement=False),
)

node_objects = Table(
    "node_objects",
    metadata,
    Column("organization", ForeignKey(organizations.c.name, ondelete="CASCADE"), primary_key=True),
    Column("name", AnyText, primary_key=True),
    Column("data", LargeBinary, nullable=False),  # JSON
)

registrations = Table(
    "registrations",
    metadata,
    Column("organization", ForeignKey(organizations.c.name, ondelete="CASCADE"), primary_key=True),
    Column("node", AnyText, primary_key=True),
    Column("curve_key", Text, nullable=False),
    Column("session_salt", LargeBinary, nullable=False),
    Column("protocol_version", Text, nullable=False),
)

# What can be long comes last: SQLite reads a row from its beginning, and a list needs no `file`.
jobs = Table(
    "jobs",
    metadata,
    Column("seq", _Seq, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("organization", ForeignKey(organizations.c.name)),  # null: retired, and no longer anybody's
    Column("status", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("created_by", AnyText, nullable=False),
    Column("quorum", Double, nullable=False),
    Column("run_timeout", Double, nullable=False),
    Column("voting_timeout", Double, nullable=False),
    Column("node_count", Integer, nullable=False),
    Column("capture", Boolean, nullable=False),
    Column("aborting", Boolean, nullable=False),
    Column("user_name", AnyText),
    Column("dir", AnyText),
    # Of the command, by which it is found: it can be longer than what an index takes.
    Column("command_digest", BigInteger, nullable=False),
    Column("command", AnyText, nullable=False),
    Column("env", Text),  # JSON
    Column("file", AnyText),
    Index("jobs_newest", "organization", "seq"),
    Index("jobs_by_status", "organization", "status", "seq"),
    Index("jobs_by_command", "organization", "command_digest", "seq"),
    Index("jobs_by_command_and_status", "organization", "command_digest", "status", "seq"),
    Index("jobs_by_time", "organization", "created_at"),
)

# Written out: a statement must say the very same for this index to serve it.
unfinished = jobs.c.status.in_(
    literal_column(f"'{status}'") for status in sorted(set(JobStatus) - TERMINAL_JOB_STATUSES)
)
Index("jobs_unfinished", jobs.c.seq, sqlite_where=unfinished, postgresql_where=unfinished)

FEW_NODES = 100
"""How many nodes a job has at most that is found by each of them in an index. To change it takes a migration: which
jobs that are there are in which index is by this number too."""

of_many_nodes = jobs.c.node_count > literal_column(str(FEW_NODES))
Index(
    "jobs_of_many_nodes",
    jobs.c.organization,
    jobs.c.seq,
    sqlite_where=of_many_nodes,
    postgresql_where=of_many_nodes,
)

retired = jobs.c.organization.is_(None)
Index("jobs_retired", jobs.c.seq, sqlite_where=retired, postgresql_where=retired)

job_nodes = Table(
    "job_nodes",
    metadata,
    Column("job", ForeignKey(jobs.c.seq, ondelete="CASCADE"), primary_key=True),
    Column("node", AnyText, primary_key=True),
    Column("position", Integer, nullable=False),  # in the request
    Column("status", Text, nullable=False),
    Column("reason", AnyText),
    Column("exit_status", BigInteger),
    Column("signal", Integer),
    Column("started_ms", BigInteger),  # since the epoch, as is the next
    Column("finished_ms", BigInteger),
    Column("by_node", Boolean, nullable=False, server_default=false()),  # whether the index has it
    sqlite_with_rowid=False,
)
Index(
    "job_nodes_by_node",
    job_nodes.c.node,
    job_nodes.c.job,
    sqlite_where=job_nodes.c.by_node,
    postgresql_where=job_nodes.c.by_node,
)

# The text of the events as they were sent, some at a time: a job of ten thousand nodes has thirty thousand of them.
feeds = Table(
    "feeds",
    metadata,
    Column("job", ForeignKey(jobs.c.seq, ondelete="CASCADE"), primary_key=True),
    Column("first", Integer, primary_key=True),
    Column("text", LargeBinary, nullable=False),
)

# Jobs that capture output.
output_jobs = Table(
    "output_jobs",
    metadata,
    Column("job", ForeignKey(jobs.c.seq, ondelete="CASCADE"), primary_key=True),
    Column("byte_limit", BigInteger),  # of a channel; null: the default
    Column("live", Boolean, nullable=False),
    Column("kept", BigInteger, nullable=False),  # bytes, of all its nodes that send it piece by piece
)

output_streams = Table(
    "output_streams",
    metadata,
    Column("id", _Seq, primary_key=True),
    Column("job", ForeignKey(jobs.c.seq, ondelete="CASCADE"), nullable=False),
    Column("node", AnyText, nullable=False),
    Column("channel", Text, nullable=False),  # stdout or stderr
    Column("taken", BigInteger, nullable=False),  # how far it is: what is kept, and what never will be
    Column("kept", BigInteger, nullable=False),  # bytes that are kept, its first ones
    Column("end_bytes", BigInteger),  # how far it will be in the end
    Column("left_out", BigInteger, nullable=False, server_default="0"),  # bytes that its node left out
    Column("problem", AnyText),  # why some is not kept that its node sent
    UniqueConstraint("job", "node", "channel"),
)

# `job` is that of the stream, for the index.
output_chunks = Table(
    "output_chunks",
    metadata,
    Column("seq", _Seq, primary_key=True),
    Column("job", BigInteger, nullable=False),
    Column("stream", ForeignKey(output_streams.c.id, ondelete="CASCADE"), nullable=False),
    Column("first", BigInteger, nullable=False),  # bytes of the stream before it
    Column("at", BigInteger, nullable=False),  # microseconds since the epoch
    Column("data", LargeBinary, nullable=False),
    Index("output_chunks_by_stream", "stream", "first", unique=True),
    Index("output_chunks_by_job", "job", "at"),
)
