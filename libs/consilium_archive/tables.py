"""The index: one row per study, series and instance, each with its tenant; and the uploads of sites (tus).

``attributes`` of study and series is the inside of a DICOM JSON object without braces (PS3.18 F), ready to be joined into answers;
of an instance it is both that (``summary``) and the full metadata as raw deflate that ends on a byte (see ``packing``).
Text keys for matching are folded by ``names.fold``. Sets are written ``\\CT\\US\\`` so that a wildcard finds a member.
``sender`` of an instance (migration 0013) is who sent it: the calling AE title, a token's subject, a site, the command line's user.
``search_text`` has a trigram index (migrations 0008, 0010): FTS5 on SQLite, kept by triggers, pg_trgm on PostgreSQL. ``item`` holds the
values inside those sequences that can be matched (``sequences``): ``path`` of tags, ``number`` of the item.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, DateTime, Index, Integer, LargeBinary, MetaData, String, Table, Text

metadata = MetaData()
_PK = BigInteger().with_variant(Integer, "sqlite")


def _of_ids(name: str, column: str) -> Index:
    """Return an index of an id that PostgreSQL finds prefixes by in any collation, with what a page is ordered by."""
    ordered = ["study_date", "study_time", "id"]
    return Index(name, "tenant_id", column, postgresql_ops={column: "text_pattern_ops"}, postgresql_include=ordered)


study = Table(
    "archive_study",
    metadata,
    Column("id", _PK, primary_key=True, autoincrement=True),
    Column("tenant_id", String(64), nullable=False),
    Column("study_uid", String(64), nullable=False),
    Column("patient_id", String(128), nullable=False),
    Column("issuer", String(128), nullable=False),
    Column("patient_name", Text, nullable=False),
    Column("patient_key", Text, nullable=False),
    Column("birth_date", String(16), nullable=False),
    Column("sex", String(16), nullable=False),
    Column("study_date", String(16), nullable=False),
    Column("study_time", String(32), nullable=False),
    Column("accession_number", String(64), nullable=False),
    Column("study_id", String(64), nullable=False),
    Column("description", Text, nullable=False),
    Column("referring_key", Text, nullable=False),
    Column("search_text", Text, nullable=False),
    Column("fuzzy_key", Text, nullable=False),
    Column("name_sort", String(64), nullable=False),
    Column("key_version", Integer, nullable=False),
    Column("modalities", Text, nullable=False),
    Column("sop_classes", Text, nullable=False),
    Column("series_count", Integer, nullable=False),
    Column("instance_count", Integer, nullable=False),
    Column("attributes", Text, nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Index("archive_study_uid", "tenant_id", "study_uid", unique=True),
    Index("archive_study_order", "tenant_id", "study_date", "study_time", "id"),
    _of_ids("archive_study_patient", "patient_id"),
    _of_ids("archive_study_accession", "accession_number"),
    Index("archive_study_name", "tenant_id", "name_sort", "id"),
    Index("archive_study_birth", "tenant_id", "birth_date"),
)

series = Table(
    "archive_series",
    metadata,
    Column("id", _PK, primary_key=True, autoincrement=True),
    Column("tenant_id", String(64), nullable=False),
    Column("study_uid", String(64), nullable=False),
    Column("series_uid", String(64), nullable=False),
    Column("modality", String(16), nullable=False),
    Column("number", Integer, nullable=True),
    Column("description", Text, nullable=False),
    Column("body_part", String(32), nullable=False),
    Column("series_date", String(16), nullable=False),
    Column("series_time", String(32), nullable=False),
    Column("step_date", String(16), nullable=False),
    Column("step_time", String(32), nullable=False),
    Column("instance_count", Integer, nullable=False),
    Column("attributes", Text, nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False),
    Index("archive_series_uid", "tenant_id", "study_uid", "series_uid", unique=True),
    Index("archive_series_only", "tenant_id", "series_uid"),
    Index("archive_series_order", "tenant_id", "study_uid", "number", "id"),
    Index("archive_series_modality", "tenant_id", "modality", "study_uid"),
)

item = Table(
    "archive_item",
    metadata,
    Column("id", _PK, primary_key=True, autoincrement=True),
    Column("tenant_id", String(64), nullable=False),
    Column("study_uid", String(64), nullable=False),
    Column("series_uid", String(64), nullable=False),
    Column("path", String(64), nullable=False),
    Column("number", Integer, nullable=False),
    Column("value", String(256), nullable=False),
    Index("archive_item_value", "tenant_id", "path", "value"),
    Index("archive_item_series", "tenant_id", "study_uid", "series_uid"),
)

instance = Table(
    "archive_instance",
    metadata,
    Column("id", _PK, primary_key=True, autoincrement=True),
    Column("tenant_id", String(64), nullable=False),
    Column("study_uid", String(64), nullable=False),
    Column("series_uid", String(64), nullable=False),
    Column("sop_instance_uid", String(64), nullable=False),
    Column("sop_class_uid", String(64), nullable=False),
    Column("transfer_syntax_uid", String(64), nullable=False),
    Column("number", Integer, nullable=True),
    Column("rows", Integer, nullable=True),
    Column("columns", Integer, nullable=True),
    Column("frames", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("origin", String(16), nullable=False),
    Column("sender", String(128), nullable=False, server_default=""),
    Column("summary", Text, nullable=False),
    Column("metadata", LargeBinary, nullable=False),
    Column("metadata_bytes", Integer, nullable=False),
    Column("metadata_adler", BigInteger, nullable=False),
    Column("frame_index", LargeBinary, nullable=True),
    Column("received_at", DateTime(timezone=True), nullable=False),
    Index("archive_instance_uid", "tenant_id", "sop_instance_uid", unique=True),
    Index("archive_instance_series", "tenant_id", "study_uid", "series_uid", "number", "id"),
)

upload = Table(
    "ingest_upload",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("tenant_id", String(64), nullable=False),
    Column("site_id", String(128), nullable=False),
    Column("state", String(16), nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("facts", Text, nullable=False),
    Column("receipt", Text, nullable=True),
    Column("problem", Text, nullable=True),
    Column("quarantine_id", String(26), nullable=True),
    Column("claimed_until", DateTime(timezone=True), nullable=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Index("ingest_upload_state", "state", "updated_at"),
)

upload_segment = Table(
    "ingest_upload_segment",
    metadata,
    Column("upload_id", String(26), primary_key=True),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("length", Integer, nullable=False),
    Column("blob_key", String(256), nullable=False),
)
