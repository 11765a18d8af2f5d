"""Storage: second copies, damage found by scrubbing, legal holds, tombstones, removals, and how far the work has come."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007_storage"
down_revision = "0006_quarantine"

_PK = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _text(name: str, length: int | None = None) -> "sa.Column[Any]":
    return sa.Column(name, sa.String(length) if length else sa.Text, nullable=False)


def _at(name: str, *, nullable: bool = False) -> "sa.Column[Any]":
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _count(name: str) -> "sa.Column[Any]":
    return sa.Column(name, sa.BigInteger, nullable=False)


def _object() -> "list[sa.Column[Any]]":
    return [
        sa.Column("tenant_id", sa.String(64), primary_key=True),
        sa.Column("sha256", sa.String(64), primary_key=True),
    ]


def upgrade() -> None:
    """Create the tables of the object store's care; tombstones refuse updates and deletions."""
    _objects()
    _scrub()
    _retention()


def _objects() -> None:
    op.create_table(
        "archive_copy",
        *_object(),
        _count("size_bytes"),
        _text("state", 16),
        _count("attempts"),
        _at("try_at"),
        _text("problem", 64),
        _at("copied_at", nullable=True),
        sa.CheckConstraint("state IN ('wanted','copied')", name="archive_copy_state"),
    )
    op.create_index("archive_copy_waiting", "archive_copy", ["state", "try_at"])
    op.create_table(
        "archive_damage",
        *_object(),
        sa.Column("place", sa.String(8), primary_key=True),
        _text("kind", 16),
        _at("found_at"),
        _at("repaired_at", nullable=True),
        sa.CheckConstraint("place IN ('first','copy')", name="archive_damage_place"),
        sa.CheckConstraint("kind IN ('missing','corrupt')", name="archive_damage_kind"),
    )
    op.create_table(
        "archive_removal",
        *_object(),
        _text("sop_instance_uid", 64),
        _text("cause", 64),
        _at("doomed_at"),
        _at("removed_at", nullable=True),
        _text("problem", 64),
    )


def _scrub() -> None:
    op.create_table(
        "archive_scrub",
        sa.Column("id", _PK, primary_key=True, autoincrement=True),
        _count("first_id"),
        _count("last_id"),
        _at("started_at"),
        _at("finished_at", nullable=True),
        _count("objects"),
        _count("bytes"),
        _count("missing"),
        _count("corrupt"),
        _count("repaired"),
    )
    op.create_table(
        "archive_mark",
        sa.Column("name", sa.String(32), primary_key=True),
        _count("value"),
    )


def _retention() -> None:
    op.create_table(
        "archive_hold",
        sa.Column("id", sa.String(26), primary_key=True),
        _text("tenant_id", 64),
        _text("study_uid", 64),
        _text("patient_id", 128),
        _text("reason"),
        _text("placed_by", 128),
        _at("placed_at"),
        sa.Column("released_by", sa.String(128), nullable=True),
        _at("released_at", nullable=True),
    )
    op.create_index("archive_hold_study", "archive_hold", ["tenant_id", "study_uid"])
    op.create_index("archive_hold_patient", "archive_hold", ["tenant_id", "patient_id"])
    op.create_table(
        "archive_tombstone",
        sa.Column("id", _PK, primary_key=True, autoincrement=True),
        _text("tenant_id", 64),
        _text("study_uid", 64),
        _text("series_uid", 64),
        _text("sop_instance_uid", 64),
        _text("sop_class_uid", 64),
        _text("sha256", 64),
        _count("size_bytes"),
        _text("rule", 64),
        _text("actor", 128),
        _at("deleted_at"),
    )
    op.create_index("archive_tombstone_uid", "archive_tombstone", ["tenant_id", "sop_instance_uid"])
    op.create_index("archive_tombstone_study", "archive_tombstone", ["tenant_id", "study_uid"])
    _refuse_changes("archive_tombstone", "tombstones are append-only")


def _refuse_changes(table: str, reason: str) -> None:
    """Make the database itself refuse UPDATE and DELETE on ``table``."""
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{reason}'); END"
            )
        return
    op.execute(
        f"CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{reason}'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuse()"
    )
