"""Routing: rules, jobs and what is known of each destination; and who sent an instance, so that it never goes back there."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from consilium_platform.migrate import patiently

revision = "0013_routing"
down_revision = "0012_commitment"

_PK = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _text(name: str, length: int | None = None) -> "sa.Column[Any]":
    return sa.Column(name, sa.String(length) if length else sa.Text, nullable=False)


def _at(name: str, *, nullable: bool = False) -> "sa.Column[Any]":
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _count(name: str) -> "sa.Column[Any]":
    return sa.Column(name, sa.BigInteger, nullable=False)


def upgrade() -> None:
    """Add the column and create the tables; of instances that are stored already nobody knows the sender."""
    sender = sa.Column("sender", sa.String(128), nullable=False, server_default="")
    patiently(op.get_bind(), lambda: op.add_column("archive_instance", sender))
    _rules()
    _jobs()
    op.create_table(
        "routing_destination",
        sa.Column("tenant_id", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
        _count("failures"),
        _at("shut_until", nullable=True),
        _text("problem", 64),
        _at("problem_at", nullable=True),
        sa.Column("bytes_per_s", sa.Float, nullable=True),
        _at("measured_at", nullable=True),
        _count("sent_instances"),
        _count("sent_bytes"),
    )


def _rules() -> None:
    op.create_table(
        "routing_rule",
        sa.Column("id", sa.String(26), primary_key=True),
        _text("tenant_id", 64),
        _text("name", 64),
        sa.Column("enabled", sa.Boolean, nullable=False),
        _text("destination", 64),
        sa.Column("priority", sa.Integer, nullable=False),
        _text("conditions"),
        sa.Column("version", sa.Integer, nullable=False),
        _at("since"),
        _text("changed_by", 128),
        _at("changed_at"),
    )
    op.create_index("routing_rule_order", "routing_rule", ["tenant_id", "id"])


def _jobs() -> None:
    op.create_table(
        "routing_job",
        sa.Column("id", _PK, primary_key=True, autoincrement=True),
        _text("tenant_id", 64),
        _text("destination", 64),
        _text("rule_id", 26),
        _text("study_uid", 64),
        _text("series_uid", 64),
        _text("sop_instance_uid", 64),
        _count("size_bytes"),
        sa.Column("priority", sa.Integer, nullable=False),
        _text("state", 16),
        _count("attempts"),
        _count("failures"),
        _at("try_at"),
        _text("lease", 26),
        _text("problem", 64),
        _at("made_at"),
        _at("sent_at", nullable=True),
        sa.CheckConstraint("state IN ('waiting','sending','failed','sent','given-up')", name="routing_job_state"),
    )
    op.create_index("routing_job_once", "routing_job", ["tenant_id", "destination", "sop_instance_uid"], unique=True)
    op.create_index("routing_job_study", "routing_job", ["tenant_id", "study_uid", "id"])
    unfinished = sa.text("state IN ('waiting','sending','failed')")
    op.create_index(
        "routing_job_due",
        "routing_job",
        ["tenant_id", "destination", "priority", "try_at", "id"],
        sqlite_where=unfinished,
        postgresql_where=unfinished,
    )
    op.create_index("routing_job_sent", "routing_job", ["sent_at"])
