"""Consultations that are booked, and which priors were chosen for them and why: imaging's."""

import sqlalchemy as sa
from alembic import op

revision = "0014_priors"
down_revision = "0013_routing"


def upgrade() -> None:
    """Create ``imaging_booking`` and ``imaging_prior``."""
    at = sa.DateTime(timezone=True)
    op.create_table(
        "imaging_booking",
        sa.Column("tenant_id", sa.String(64), primary_key=True),
        sa.Column("consultation_id", sa.String(64), primary_key=True),
        sa.Column("study_uid", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("chosen_at", at, nullable=False),
    )
    op.create_index("imaging_booking_study", "imaging_booking", ["tenant_id", "study_uid"])
    op.create_index("imaging_booking_state", "imaging_booking", ["state", "chosen_at"])
    op.create_table(
        "imaging_prior",
        sa.Column("tenant_id", sa.String(64), primary_key=True),
        sa.Column("consultation_id", sa.String(64), primary_key=True),
        sa.Column("study_uid", sa.String(64), primary_key=True),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("hot_at", at, nullable=True),
    )
