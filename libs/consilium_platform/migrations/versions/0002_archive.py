"""The archive's index and the uploads of sites."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002_archive"
down_revision = "0001_platform"

_PK = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _text(name: str, length: int | None = None) -> "sa.Column[Any]":
    return sa.Column(name, sa.String(length) if length else sa.Text, nullable=False)


def _at(name: str) -> "sa.Column[Any]":
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False)


def _count(name: str) -> "sa.Column[Any]":
    return sa.Column(name, sa.Integer, nullable=False)


def upgrade() -> None:
    """Create the tables of studies, series, instances and uploads."""
    _studies()
    _series()
    _instances()
    _uploads()


def _studies() -> None:
    op.create_table(
        "archive_study",
        sa.Column("id", _PK, primary_key=True, autoincrement=True),
        _text("tenant_id", 64),
        _text("study_uid", 64),
        _text("patient_id", 128),
        _text("issuer", 128),
        _text("patient_name"),
        _text("patient_key"),
        _text("birth_date", 16),
        _text("sex", 16),
        _text("study_date", 16),
        _text("study_time", 32),
        _text("accession_number", 64),
        _text("study_id", 64),
        _text("description"),
        _text("referring_key"),
        _text("search_text"),
        _text("modalities"),
        _text("sop_classes"),
        _count("series_count"),
        _count("instance_count"),
        _text("attributes"),
        _at("received_at"),
        _at("updated_at"),
    )
    op.create_index("archive_study_uid", "archive_study", ["tenant_id", "study_uid"], unique=True)
    op.create_index("archive_study_order", "archive_study", ["tenant_id", "study_date", "study_time", "id"])
    op.create_index("archive_study_patient", "archive_study", ["tenant_id", "patient_id"])
    op.create_index("archive_study_accession", "archive_study", ["tenant_id", "accession_number"])


def _series() -> None:
    op.create_table(
        "archive_series",
        sa.Column("id", _PK, primary_key=True, autoincrement=True),
        _text("tenant_id", 64),
        _text("study_uid", 64),
        _text("series_uid", 64),
        _text("modality", 16),
        sa.Column("number", sa.Integer, nullable=True),
        _text("description"),
        _text("body_part", 32),
        _text("series_date", 16),
        _text("series_time", 32),
        _count("instance_count"),
        _text("attributes"),
        _at("received_at"),
    )
    op.create_index("archive_series_uid", "archive_series", ["tenant_id", "study_uid", "series_uid"], unique=True)
    op.create_index("archive_series_only", "archive_series", ["tenant_id", "series_uid"])


def _instances() -> None:
    op.create_table(
        "archive_instance",
        sa.Column("id", _PK, primary_key=True, autoincrement=True),
        _text("tenant_id", 64),
        _text("study_uid", 64),
        _text("series_uid", 64),
        _text("sop_instance_uid", 64),
        _text("sop_class_uid", 64),
        _text("transfer_syntax_uid", 64),
        sa.Column("number", sa.Integer, nullable=True),
        sa.Column("rows", sa.Integer, nullable=True),
        sa.Column("columns", sa.Integer, nullable=True),
        _count("frames"),
        _text("sha256", 64),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        _text("origin", 16),
        _text("summary"),
        sa.Column("metadata", sa.LargeBinary, nullable=False),
        _count("metadata_bytes"),
        sa.Column("metadata_adler", sa.BigInteger, nullable=False),
        sa.Column("frame_index", sa.LargeBinary, nullable=True),
        _at("received_at"),
    )
    op.create_index("archive_instance_uid", "archive_instance", ["tenant_id", "sop_instance_uid"], unique=True)
    within = ["tenant_id", "study_uid", "series_uid", "number", "id"]
    op.create_index("archive_instance_series", "archive_instance", within)


def _uploads() -> None:
    op.create_table(
        "ingest_upload",
        sa.Column("id", sa.String(26), primary_key=True),
        _text("tenant_id", 64),
        _text("site_id", 128),
        _text("state", 16),
        sa.Column("length", sa.BigInteger, nullable=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
        _text("facts"),
        sa.Column("receipt", sa.Text, nullable=True),
        sa.Column("problem", sa.Text, nullable=True),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        _at("created_at"),
        _at("updated_at"),
    )
    op.create_index("ingest_upload_state", "ingest_upload", ["state", "updated_at"])
    op.create_table(
        "ingest_upload_segment",
        sa.Column("upload_id", sa.String(26), primary_key=True),
        sa.Column("start", sa.BigInteger, primary_key=True, autoincrement=False),
        _count("length"),
        _text("blob_key", 256),
    )
