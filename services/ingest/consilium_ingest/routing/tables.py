"""Routing in tables (migration 0013): rules, one job per destination and instance, and what all processes know of a destination.

``since`` of a rule is when it was made or last switched on: what was received before is not its business. ``conditions`` is JSON.
``attempts`` of a job are all, ``failures`` those that were its own and not the destination's or our store's.
``lease`` names the claim that may write a failure; a confirmed success is always written.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Float, Index, Integer, MetaData, String, Table, Text, text

metadata = MetaData()
_PK = BigInteger().with_variant(Integer, "sqlite")
UNFINISHED = ("waiting", "sending", "failed")
IS_UNFINISHED = text(
    "state IN ('waiting','sending','failed')"
)  # literal: else no planner knows that it means the partial index

rule = Table(
    "routing_rule",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("tenant_id", String(64), nullable=False),
    Column("name", String(64), nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("destination", String(64), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("conditions", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("since", DateTime(timezone=True), nullable=False),
    Column("changed_by", String(128), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Index("routing_rule_order", "tenant_id", "id"),
)

job = Table(
    "routing_job",
    metadata,
    Column("id", _PK, primary_key=True, autoincrement=True),
    Column("tenant_id", String(64), nullable=False),
    Column("destination", String(64), nullable=False),
    Column("rule_id", String(26), nullable=False),
    Column("study_uid", String(64), nullable=False),
    Column("series_uid", String(64), nullable=False),
    Column("sop_instance_uid", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("failures", BigInteger, nullable=False),
    Column("try_at", DateTime(timezone=True), nullable=False),
    Column("lease", String(26), nullable=False),
    Column("problem", String(64), nullable=False),
    Column("made_at", DateTime(timezone=True), nullable=False),
    Column("sent_at", DateTime(timezone=True), nullable=True),
    Index("routing_job_once", "tenant_id", "destination", "sop_instance_uid", unique=True),
    Index("routing_job_study", "tenant_id", "study_uid", "id"),
    Index(
        "routing_job_due", "tenant_id", "destination", "priority", "try_at", "id",
        sqlite_where=IS_UNFINISHED, postgresql_where=IS_UNFINISHED,
    ),
    Index("routing_job_sent", "sent_at"),
)  # fmt: skip

place = Table(
    "routing_destination",
    metadata,
    Column("tenant_id", String(64), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("failures", BigInteger, nullable=False),
    Column("shut_until", DateTime(timezone=True), nullable=True),
    Column("problem", String(64), nullable=False),
    Column("problem_at", DateTime(timezone=True), nullable=True),
    Column("bytes_per_s", Float, nullable=True),
    Column("measured_at", DateTime(timezone=True), nullable=True),
    Column("sent_instances", BigInteger, nullable=False),
    Column("sent_bytes", BigInteger, nullable=False),
)
