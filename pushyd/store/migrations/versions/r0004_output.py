"""Output that comes piece by piece. What is there of the whole kind becomes streams of one piece."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the new tables, and move to them what the old one holds."""
    _make()
    op.execute("INSERT INTO output_jobs (job, live, kept) SELECT seq, false, 0 FROM jobs WHERE capture")
    op.execute(
        "INSERT INTO output_streams (job, node, channel, taken, kept, end_bytes)"
        " SELECT job, node, channel, length(data), length(data), length(data) FROM outputs"
    )
    # When they came is not known: before all else, in any order.
    op.execute(
        "INSERT INTO output_chunks (job, stream, first, at, data)"
        " SELECT streams.job, streams.id, 0, streams.id, outputs.data FROM output_streams streams JOIN outputs"
        " ON outputs.job = streams.job AND outputs.node = streams.node AND outputs.channel = streams.channel"
        " WHERE streams.taken > 0"
    )
    op.drop_table("outputs")


def _make() -> None:
    op.create_table(
        "output_jobs",
        sa.Column("job", _SEQ, sa.ForeignKey("jobs.seq", ondelete="CASCADE"), primary_key=True),
        sa.Column("byte_limit", sa.BigInteger()),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("kept", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "output_streams",
        sa.Column("id", _SEQ, primary_key=True),
        sa.Column("job", _SEQ, sa.ForeignKey("jobs.seq", ondelete="CASCADE"), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("taken", sa.BigInteger(), nullable=False),
        sa.Column("kept", sa.BigInteger(), nullable=False),
        sa.Column("end_bytes", sa.BigInteger()),
        sa.Column("left_out", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("problem", sa.Text()),
        sa.UniqueConstraint("job", "node", "channel", name="output_streams_job_node_channel_unique"),
    )
    op.create_table(
        "output_chunks",
        sa.Column("seq", _SEQ, primary_key=True),
        sa.Column("job", sa.BigInteger(), nullable=False),
        sa.Column("stream", _SEQ, sa.ForeignKey("output_streams.id", ondelete="CASCADE"), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )
    op.create_index("output_chunks_by_stream", "output_chunks", ["stream", "first"], unique=True)
    op.create_index("output_chunks_by_job", "output_chunks", ["job", "at"])
