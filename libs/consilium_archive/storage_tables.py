"""The care of the object store in tables: second copies, damage, removals, holds, tombstones (migration 0007).

An original is named by tenant and SHA-256, as its key in the store is (``stages.original_key``); one original is one instance.
``archive_copy`` is the copy queue and its memory; ``archive_damage`` what scrubbing found and whether it is mended;
``archive_removal`` holds objects whose bytes are to go, from the decision until nothing can refer to them any more (``removal``).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()
_PK = BigInteger().with_variant(Integer, "sqlite")


def _object() -> list[Column[Any]]:
    return [Column("tenant_id", String(64), primary_key=True), Column("sha256", String(64), primary_key=True)]


copy = Table(
    "archive_copy",
    metadata,
    *_object(),
    Column("size_bytes", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("try_at", DateTime(timezone=True), nullable=False),
    Column("problem", String(64), nullable=False),
    Column("copied_at", DateTime(timezone=True), nullable=True),
    Index("archive_copy_waiting", "state", "try_at"),
)

damage = Table(
    "archive_damage",
    metadata,
    *_object(),
    Column("place", String(8), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("found_at", DateTime(timezone=True), nullable=False),
    Column("repaired_at", DateTime(timezone=True), nullable=True),
)

removal = Table(
    "archive_removal",
    metadata,
    *_object(),
    Column("sop_instance_uid", String(64), nullable=False),
    Column("cause", String(64), nullable=False),
    Column("doomed_at", DateTime(timezone=True), nullable=False),
    Column("removed_at", DateTime(timezone=True), nullable=True),
    Column("problem", String(64), nullable=False),
)

scrub_run = Table(
    "archive_scrub",
    metadata,
    Column("id", _PK, primary_key=True, autoincrement=True),
    Column("first_id", BigInteger, nullable=False),
    Column("last_id", BigInteger, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("finished_at", DateTime(timezone=True), nullable=True),
    Column("objects", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("missing", BigInteger, nullable=False),
    Column("corrupt", BigInteger, nullable=False),
    Column("repaired", BigInteger, nullable=False),
)

mark = Table(
    "archive_mark",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

hold = Table(
    "archive_hold",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("tenant_id", String(64), nullable=False),
    Column("study_uid", String(64), nullable=False),
    Column("patient_id", String(128), nullable=False),
    Column("reason", Text, nullable=False),
    Column("placed_by", String(128), nullable=False),
    Column("placed_at", DateTime(timezone=True), nullable=False),
    Column("released_by", String(128), nullable=True),
    Column("released_at", DateTime(timezone=True), nullable=True),
    Index("archive_hold_study", "tenant_id", "study_uid"),
    Index("archive_hold_patient", "tenant_id", "patient_id"),
)

tombstone = Table(
    "archive_tombstone",
    metadata,
    Column("id", _PK, primary_key=True, autoincrement=True),
    Column("tenant_id", String(64), nullable=False),
    Column("study_uid", String(64), nullable=False),
    Column("series_uid", String(64), nullable=False),
    Column("sop_instance_uid", String(64), nullable=False),
    Column("sop_class_uid", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("rule", String(64), nullable=False),
    Column("actor", String(128), nullable=False),
    Column("deleted_at", DateTime(timezone=True), nullable=False),
    Index("archive_tombstone_uid", "tenant_id", "sop_instance_uid"),
    Index("archive_tombstone_study", "tenant_id", "study_uid"),
)
