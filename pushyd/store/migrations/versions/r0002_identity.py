"""What Chef's own API keeps of organizations and users, the node objects, and the generation of identity."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add columns and tables; of organizations that are there, which was first is not known, so names decide."""
    op.add_column("organizations", sa.Column("full_name", sa.Text()))
    op.add_column("organizations", sa.Column("founded", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("users", sa.Column("profile", sa.Text(), nullable=False, server_default="{}"))
    generation = op.create_table(
        "identity_generation", sa.Column("generation", sa.BigInteger(), primary_key=True, autoincrement=False)
    )
    op.bulk_insert(generation, [{"generation": 0}])
    op.create_table(
        "node_objects",
        sa.Column("organization", sa.Text(), sa.ForeignKey("organizations.name", ondelete="CASCADE"), primary_key=True),
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )
