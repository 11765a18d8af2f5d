"""The gateway's tables (SQLAlchemy Core) and the conversion of times; the migration is ``0003_gateway``."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()
_TIME = DateTime(timezone=True)

user_account = Table(
    "user_account",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("username", String(64), nullable=False, unique=True),
    Column("name", String(128), nullable=False),
    Column("role", String(32), nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("created_at", _TIME, nullable=False),
)
browser_session = Table(
    "browser_session",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("user_id", String(26), ForeignKey("user_account.id"), nullable=False),
    Column("secret_hash", String(64), nullable=False),
    Column("previous_hash", String(64), nullable=False),
    Column("created_at", _TIME, nullable=False),
    Column("used_at", _TIME, nullable=False),
    Column("revoked_at", _TIME, nullable=True),
    Index("browser_session_user", "user_id"),
)
site = Table(
    "site",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("name", String(128), nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", _TIME, nullable=False),
    Column("refresh_hashes", JSON, nullable=False),
    Column("public_key", Text, nullable=False),
    Column("boot_id", String(128), nullable=False),
    Column("version", String(64), nullable=False),
    Column("session_at", _TIME, nullable=True),
    Column("last_seen", _TIME, nullable=True),
    Column("online", Boolean, nullable=False),
    Column("clock_offset_ms", Integer, nullable=True),
    Column("devices", JSON, nullable=False),
    Column("streams", JSON, nullable=False),
    Column("spool_unacknowledged", Integer, nullable=False),
    Column("spool_bytes", BigInteger, nullable=False),
    Column("command_seq", BigInteger, nullable=False),
    Column("event_seq", BigInteger, nullable=False),
    Index("site_tenant", "tenant", "name"),
)
enrolment_code = Table(
    "enrolment_code",
    metadata,
    Column("code_hash", String(64), primary_key=True),
    Column("site_id", String(26), ForeignKey("site.id"), nullable=False),
    Column("expires_at", _TIME, nullable=False),
    Column("used_at", _TIME, nullable=True),
    Column("nonce_hash", String(64), nullable=False),
)
site_command = Table(
    "site_command",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("site_id", String(26), ForeignKey("site.id"), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("type", String(32), nullable=False),
    Column("args", JSON, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", String(64), nullable=False),
    Column("detail", Text, nullable=False),
    Column("data", JSON, nullable=False),
    Column("issued_at", _TIME, nullable=False),
    Column("deadline", _TIME, nullable=False),
    Column("lease_until", _TIME, nullable=True),
    Column("finished_at", _TIME, nullable=True),
    Column("cancel_requested", Boolean, nullable=False),
    UniqueConstraint("site_id", "seq", name="site_command_seq"),
    Index("site_command_state", "state"),
)
site_event = Table(
    "site_event",
    metadata,
    Column("site_id", String(26), ForeignKey("site.id"), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("type", String(32), nullable=False),
    Column("time", _TIME, nullable=False),
    Column("data", JSON, nullable=False),
    Column("received_at", _TIME, nullable=False),
    Index("site_event_received", "received_at"),
)


def utc(at: datetime) -> datetime:
    """Return the instant in UTC; SQLite gives times back without a zone."""
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def utc_or_none(at: datetime | None) -> datetime | None:
    """As ``utc`` for a nullable column."""
    return None if at is None else utc(at)
