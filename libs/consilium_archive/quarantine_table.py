"""The table of held objects: one row per tenant and content, from the day it was held to the decision and after.

``reasons``, ``findings``, ``identity``, ``origin`` and ``proposal`` are JSON texts; ``version`` grows with every change, so that two
people at the desk never overwrite each other. ``copy_...``, ``copied_at`` and ``..._damage`` say where the object's second copy stands, and what is
known to be wrong with it in either place (``quarantine_copies``, migration 0009).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, DateTime, Index, Integer, String, Table, Text

from consilium_archive.tables import metadata

quarantine = Table(
    "ingest_quarantine",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("tenant_id", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("blob_key", String(256), nullable=False),
    Column("study_uid", String(64), nullable=False),
    Column("series_uid", String(64), nullable=False),
    Column("sop_instance_uid", String(64), nullable=False),
    Column("sop_class_uid", String(64), nullable=False),
    Column("modality", String(16), nullable=False),
    Column("reasons", Text, nullable=False),
    Column("findings", Text, nullable=False),
    Column("identity", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("held_at", DateTime(timezone=True), nullable=False),
    Column("version", Integer, nullable=False),
    Column("proposal", Text, nullable=True),
    Column("decided_by", String(128), nullable=True),
    Column("decided_at", DateTime(timezone=True), nullable=True),
    Column("reason", Text, nullable=True),
    Column("released_sha256", String(64), nullable=True),
    Column("copy_state", String(16), nullable=False, server_default="wanted"),
    Column("copy_attempts", BigInteger, nullable=False, server_default="0"),
    Column("copy_try_at", DateTime(timezone=True), nullable=True),
    Column("copy_problem", String(64), nullable=False, server_default=""),
    Column("copied_at", DateTime(timezone=True), nullable=True),
    Column("first_damage", String(16), nullable=False, server_default=""),
    Column("copy_damage", String(16), nullable=False, server_default=""),
    Index("ingest_quarantine_bytes", "tenant_id", "sha256", unique=True),
    Index("ingest_quarantine_order", "tenant_id", "state", "id"),
    Index("ingest_quarantine_copies", "copy_state", "copy_try_at"),
    Index("ingest_quarantine_instance", "tenant_id", "sop_instance_uid"),
)
