"""Storage commitment: one row per transaction; held objects are found by their SOP Instance UID."""

import sqlalchemy as sa
from alembic import op

revision = "0012_commitment"
down_revision = "0011_prefixes"


def upgrade() -> None:
    """Create ``archive_commitment`` and the index of ``ingest_quarantine``."""
    at = sa.DateTime(timezone=True)
    op.create_table(
        "archive_commitment",
        sa.Column("id", sa.String(26), primary_key=True),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("transaction_uid", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("duplicate", sa.Boolean, nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("requested_by", sa.String(128), nullable=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("called", sa.String(16), nullable=False),
        sa.Column("requested_at", at, nullable=False),
        sa.Column("instances", sa.Integer, nullable=False),
        sa.Column("asked", sa.Text, nullable=False),
        sa.Column("verdicts", sa.Text, nullable=True),
        sa.Column("committed", sa.Integer, nullable=True),
        sa.Column("decided_at", at, nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.BigInteger, nullable=False),
        sa.Column("try_at", at, nullable=False),
        sa.Column("problem", sa.String(64), nullable=False),
        sa.Column("reported_at", at, nullable=True),
        sa.CheckConstraint("state IN ('received','waiting','done','given-up')", name="archive_commitment_state"),
    )
    first = sa.text("NOT duplicate")
    op.create_index(
        "archive_commitment_uid",
        "archive_commitment",
        ["tenant_id", "transaction_uid"],
        unique=True,
        sqlite_where=first,
        postgresql_where=first,
    )
    op.create_index(
        "archive_commitment_same", "archive_commitment", ["tenant_id", "transaction_uid", "digest"], unique=True
    )
    op.create_index("archive_commitment_due", "archive_commitment", ["state", "try_at"])
    op.create_index("archive_commitment_page", "archive_commitment", ["tenant_id", "id"])
    op.create_index("archive_commitment_decided", "archive_commitment", ["decided_at"])
    # What is held waits for people and is little: the index is made within the migration, at the risk of a failed start, which is tried
    # again, rather than of a queue of writers behind somebody's long transaction.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_index("ingest_quarantine_instance", "ingest_quarantine", ["tenant_id", "sop_instance_uid"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = DEFAULT")
