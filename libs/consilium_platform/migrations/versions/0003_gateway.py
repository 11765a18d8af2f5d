"""Users, browser sessions, sites, enrolment codes, commands and agents' events."""

import sqlalchemy as sa
from alembic import op

revision = "0003_gateway"
down_revision = "0002_archive"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the gateway's tables."""
    _people()
    _sites()
    _work()


def _people() -> None:
    op.create_table(
        "user_account",
        sa.Column("id", sa.String(26), primary_key=True),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("username", sa.String(64), nullable=False, unique=True),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
    )
    op.create_table(
        "browser_session",
        sa.Column("id", sa.String(26), primary_key=True),
        sa.Column("user_id", sa.String(26), sa.ForeignKey("user_account.id"), nullable=False),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("previous_hash", sa.String(64), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("used_at", _TIME, nullable=False),
        sa.Column("revoked_at", _TIME, nullable=True),
    )
    op.create_index("browser_session_user", "browser_session", ["user_id"])


def _sites() -> None:
    op.create_table(
        "site",
        sa.Column("id", sa.String(26), primary_key=True),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("refresh_hashes", sa.JSON, nullable=False),
        sa.Column("public_key", sa.Text, nullable=False),
        sa.Column("boot_id", sa.String(128), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("session_at", _TIME, nullable=True),
        sa.Column("last_seen", _TIME, nullable=True),
        sa.Column("online", sa.Boolean, nullable=False),
        sa.Column("clock_offset_ms", sa.Integer, nullable=True),
        sa.Column("devices", sa.JSON, nullable=False),
        sa.Column("streams", sa.JSON, nullable=False),
        sa.Column("spool_unacknowledged", sa.Integer, nullable=False),
        sa.Column("spool_bytes", sa.BigInteger, nullable=False),
        sa.Column("command_seq", sa.BigInteger, nullable=False),
        sa.Column("event_seq", sa.BigInteger, nullable=False),
    )
    op.create_index("site_tenant", "site", ["tenant", "name"])
    op.create_table(
        "enrolment_code",
        sa.Column("code_hash", sa.String(64), primary_key=True),
        sa.Column("site_id", sa.String(26), sa.ForeignKey("site.id"), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("used_at", _TIME, nullable=True),
        sa.Column("nonce_hash", sa.String(64), nullable=False),
    )


def _work() -> None:
    op.create_table(
        "site_command",
        sa.Column("id", sa.String(26), primary_key=True),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("site_id", sa.String(26), sa.ForeignKey("site.id"), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("args", sa.JSON, nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("issued_at", _TIME, nullable=False),
        sa.Column("deadline", _TIME, nullable=False),
        sa.Column("lease_until", _TIME, nullable=True),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.UniqueConstraint("site_id", "seq", name="site_command_seq"),
    )
    op.create_index("site_command_state", "site_command", ["state"])
    op.create_table(
        "site_event",
        sa.Column("site_id", sa.String(26), sa.ForeignKey("site.id"), primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("time", _TIME, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("received_at", _TIME, nullable=False),
    )
    op.create_index("site_event_received", "site_event", ["received_at"])
