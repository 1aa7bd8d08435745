"""How each node's part in a job ended, and when it began and ended."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add columns; of jobs that are there it is not known."""
    op.add_column("job_nodes", sa.Column("exit_status", sa.BigInteger()))
    op.add_column("job_nodes", sa.Column("signal", sa.Integer()))
    op.add_column("job_nodes", sa.Column("started_ms", sa.BigInteger()))
    op.add_column("job_nodes", sa.Column("finished_ms", sa.BigInteger()))
