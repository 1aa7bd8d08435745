"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make every table."""
    _identity()
    _jobs()


def _identity() -> None:
    op.create_table(
        "organizations",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("guid", sa.Text(), nullable=False, unique=True),
    )
    op.create_table("users", sa.Column("name", sa.Text(), primary_key=True))
    op.create_table(
        "user_keys",
        sa.Column("user_name", sa.Text(), sa.ForeignKey("users.name", ondelete="CASCADE"), primary_key=True),
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("public_key", sa.Text(), nullable=False),
    )
    op.create_table(
        "associations",
        _organization(),
        sa.Column("user_name", sa.Text(), sa.ForeignKey("users.name", ondelete="CASCADE"), primary_key=True),
    )
    op.create_index("associations_by_user", "associations", ["user_name"])
    op.create_table("clients", _organization(), sa.Column("name", sa.Text(), primary_key=True))
    op.create_table(
        "client_keys",
        sa.Column("organization", sa.Text(), primary_key=True),
        sa.Column("client", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization", "client"], ["clients.organization", "clients.name"], ondelete="CASCADE"
        ),
    )
    op.create_table("groups", _organization(), sa.Column("name", sa.Text(), primary_key=True))
    op.create_table(
        "group_members",
        sa.Column("organization", sa.Text(), primary_key=True),
        sa.Column("group_name", sa.Text(), primary_key=True),
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("member", sa.Text(), primary_key=True),
        sa.ForeignKeyConstraint(
            ["organization", "group_name"], ["groups.organization", "groups.name"], ondelete="CASCADE"
        ),
    )
    op.create_table(
        "registrations",
        _organization(),
        sa.Column("node", sa.Text(), primary_key=True),
        sa.Column("curve_key", sa.Text(), nullable=False),
        sa.Column("session_salt", sa.LargeBinary(), nullable=False),
        sa.Column("protocol_version", sa.Text(), nullable=False),
    )


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("seq", _SEQ, primary_key=True),
        sa.Column("id", sa.Text(), nullable=False, unique=True),
        sa.Column("organization", sa.Text(), sa.ForeignKey("organizations.name")),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("quorum", sa.Double(), nullable=False),
        sa.Column("run_timeout", sa.Double(), nullable=False),
        sa.Column("voting_timeout", sa.Double(), nullable=False),
        sa.Column("node_count", sa.Integer(), nullable=False),
        sa.Column("capture", sa.Boolean(), nullable=False),
        sa.Column("aborting", sa.Boolean(), nullable=False),
        sa.Column("user_name", sa.Text()),
        sa.Column("dir", sa.Text()),
        sa.Column("command_digest", sa.BigInteger(), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("env", sa.Text()),
        sa.Column("file", sa.Text()),
    )
    op.create_index("jobs_newest", "jobs", ["organization", "seq"])
    op.create_index("jobs_by_status", "jobs", ["organization", "status", "seq"])
    op.create_index("jobs_by_command", "jobs", ["organization", "command_digest", "seq"])
    op.create_index("jobs_by_command_and_status", "jobs", ["organization", "command_digest", "status", "seq"])
    op.create_index("jobs_by_time", "jobs", ["organization", "created_at"])
    unfinished = sa.text("status IN ('new', 'running', 'voting')")
    op.create_index("jobs_unfinished", "jobs", ["seq"], sqlite_where=unfinished, postgresql_where=unfinished)
    retired = sa.text("organization IS NULL")
    op.create_index("jobs_retired", "jobs", ["seq"], sqlite_where=retired, postgresql_where=retired)
    op.create_table(
        "job_nodes",
        sa.Column("job", _SEQ, sa.ForeignKey("jobs.seq", ondelete="CASCADE"), primary_key=True),
        sa.Column("node", sa.Text(), primary_key=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sqlite_with_rowid=False,
    )
    op.create_index("job_nodes_by_node", "job_nodes", ["node", "job"])
    op.create_table(
        "feeds",
        sa.Column("job", _SEQ, sa.ForeignKey("jobs.seq", ondelete="CASCADE"), primary_key=True),
        sa.Column("first", sa.Integer(), primary_key=True),
        sa.Column("text", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "outputs",
        sa.Column("job", _SEQ, sa.ForeignKey("jobs.seq", ondelete="CASCADE"), primary_key=True),
        sa.Column("node", sa.Text(), primary_key=True),
        sa.Column("channel", sa.Text(), primary_key=True),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )


def _organization() -> sa.Column[str]:
    return sa.Column(
        "organization", sa.Text(), sa.ForeignKey("organizations.name", ondelete="CASCADE"), primary_key=True
    )
