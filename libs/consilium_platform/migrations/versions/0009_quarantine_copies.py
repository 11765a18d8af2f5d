"""Held objects get second copies: where each one's copy stands, and what scrubbing and reconciliation found in either place."""

import sqlalchemy as sa
from alembic import op

revision = "0009_quarantine_copies"
down_revision = "0008_read_index"


def upgrade() -> None:
    """Add the columns to ``ingest_quarantine``; what is held already waits for its copy from now on."""
    at = sa.DateTime(timezone=True)
    for column in (
        sa.Column("copy_state", sa.String(16), nullable=False, server_default="wanted"),
        sa.Column("copy_attempts", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("copy_try_at", at, nullable=True),
        sa.Column("copy_problem", sa.String(64), nullable=False, server_default=""),
        sa.Column("copied_at", at, nullable=True),
        sa.Column("first_damage", sa.String(16), nullable=False, server_default=""),
        sa.Column("copy_damage", sa.String(16), nullable=False, server_default=""),
    ):
        op.add_column("ingest_quarantine", column)
    op.create_index("ingest_quarantine_copies", "ingest_quarantine", ["copy_state", "copy_try_at"])
