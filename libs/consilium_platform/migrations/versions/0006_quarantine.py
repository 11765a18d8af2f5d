"""Objects that are held for a person's decision."""

import sqlalchemy as sa
from alembic import op

revision = "0006_quarantine"
down_revision = "0005_live"


def upgrade() -> None:
    """Create ``ingest_quarantine``; let an upload name the entry that holds its object."""
    at = sa.DateTime(timezone=True)
    op.create_table(
        "ingest_quarantine",
        sa.Column("id", sa.String(26), primary_key=True),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("blob_key", sa.String(256), nullable=False),
        sa.Column("study_uid", sa.String(64), nullable=False),
        sa.Column("series_uid", sa.String(64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("sop_class_uid", sa.String(64), nullable=False),
        sa.Column("modality", sa.String(16), nullable=False),
        sa.Column("reasons", sa.Text, nullable=False),
        sa.Column("findings", sa.Text, nullable=False),
        sa.Column("identity", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("held_at", at, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("proposal", sa.Text, nullable=True),
        sa.Column("decided_by", sa.String(128), nullable=True),
        sa.Column("decided_at", at, nullable=True),
        sa.Column("reason", sa.Text, nullable=True),
        sa.Column("released_sha256", sa.String(64), nullable=True),
        sa.CheckConstraint("state IN ('held','released','rejected')", name="ingest_quarantine_state"),
    )
    op.create_index("ingest_quarantine_bytes", "ingest_quarantine", ["tenant_id", "sha256"], unique=True)
    op.create_index("ingest_quarantine_order", "ingest_quarantine", ["tenant_id", "state", "id"])
    op.add_column("ingest_upload", sa.Column("quarantine_id", sa.String(26), nullable=True))
