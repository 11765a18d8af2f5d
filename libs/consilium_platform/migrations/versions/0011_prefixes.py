"""Beginnings of Patient IDs and accession numbers by the index of the column on PostgreSQL, in any collation, ordered without reading rows."""

from alembic import op

revision = "0011_prefixes"
down_revision = "0010_candidates"


def upgrade() -> None:
    """Make the two indexes anew; SQLite's lead to prefixes as they are."""
    if op.get_bind().dialect.name == "sqlite":
        return
    for name, column in (("archive_study_patient", "patient_id"), ("archive_study_accession", "accession_number")):
        op.execute(f"DROP INDEX {name}")
        op.execute(
            f"CREATE INDEX {name} ON archive_study (tenant_id, {column} text_pattern_ops) "
            "INCLUDE (study_date, study_time, id)"
        )
