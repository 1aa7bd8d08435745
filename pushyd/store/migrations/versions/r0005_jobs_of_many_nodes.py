"""Jobs of many nodes are not found by an index of their nodes any more, in which they had a page written for each."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Leave them out of the index, and have one of these jobs instead."""
    op.add_column("job_nodes", sa.Column("by_node", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.drop_index("job_nodes_by_node", "job_nodes")
    op.execute("UPDATE job_nodes SET by_node = true WHERE job IN (SELECT seq FROM jobs WHERE node_count <= 100)")
    op.create_index(
        "job_nodes_by_node",
        "job_nodes",
        ["node", "job"],
        sqlite_where=sa.text("by_node = 1"),
        postgresql_where=sa.text("by_node"),
    )
    many = sa.text("node_count > 100")
    op.create_index("jobs_of_many_nodes", "jobs", ["organization", "seq"], sqlite_where=many, postgresql_where=many)
