"""Rooms and captures of the live service."""

import sqlalchemy as sa
from alembic import op

revision = "0005_live"
down_revision = "0004_consult"


def upgrade() -> None:
    """Create ``live_room`` and ``live_capture``."""
    at = sa.DateTime(timezone=True)
    op.create_table(
        "live_room",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("site_id", sa.String(64), nullable=False),
        sa.Column("site_name", sa.String(200), nullable=False),
        sa.Column("modality", sa.String(16), nullable=False),
        sa.Column("study_uid", sa.String(64), nullable=False),
        sa.Column("accession_number", sa.String(64), nullable=False),
        sa.Column("study_description", sa.String(200), nullable=False),
        sa.Column("referring_physician", sa.String(324), nullable=False),
        sa.Column("patient", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("wanted", sa.Boolean, nullable=False),
        sa.Column("created_at", at, nullable=False),
        sa.Column("created_by", sa.String(128), nullable=False),
        sa.Column("consultation_id", sa.String(64), nullable=True),
        sa.Column("waiting_since", at, nullable=True),
        sa.Column("started_at", at, nullable=True),
        sa.Column("ended_at", at, nullable=True),
        sa.CheckConstraint("state IN ('planned','lobby','live','paused','ended')", name="live_room_state"),
    )
    op.create_index("live_room_consultation", "live_room", ["tenant", "consultation_id"], unique=True)
    op.create_index("live_room_newest", "live_room", ["tenant", "created_at", "id"])
    op.create_table(
        "live_capture",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("room_id", sa.String(64), sa.ForeignKey("live_room.id"), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("frame", sa.Text, nullable=False),
        sa.Column("requested_at", at, nullable=False),
        sa.Column("requested_by", sa.String(128), nullable=False),
        sa.Column("deadline", at, nullable=False),
        sa.Column("command_id", sa.String(64), nullable=False),
        sa.Column("settled", sa.Boolean, nullable=False),
        sa.Column("study_uid", sa.String(64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(400), nullable=False),
        sa.CheckConstraint("state IN ('requested','stored','failed')", name="live_capture_state"),
    )
    op.create_index("live_capture_room", "live_capture", ["room_id", "requested_at"])
    op.create_index("live_capture_state", "live_capture", ["state", "requested_at"])
