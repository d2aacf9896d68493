"""Messages to others, deployments, and what a search takes of the disk."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Adds two tables and a column; lists of one user come from one index in their order."""
    op.create_table(
        "deliveries",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("hook", sa.String(100), nullable=False),
        sa.Column("event", sa.String(20), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("state", sa.String(10), nullable=False, index=True),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("due", sa.Double, nullable=False),
        sa.Column("said", sa.Text, nullable=False),
    )
    op.create_table(
        "deployments",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("job_id", sa.String(24), sa.ForeignKey("jobs.id"), nullable=False, index=True),
        sa.Column("trial", sa.Integer, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("by", sa.String(100), nullable=False),
        sa.Column("place", sa.String(100)),
        sa.Column("alias", sa.String(200)),
        sa.Column("version", sa.Integer),
        sa.Column("digest", sa.String(64), nullable=False),
    )
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("disk_bytes", sa.BigInteger, nullable=False, server_default="0"))
        jobs.drop_index("ix_jobs_owner_id")
        jobs.create_index("ix_jobs_owner_id_id", ["owner_id", "id"])
