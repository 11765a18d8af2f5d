"""What pages of a large archive are counted by: on SQLite an index of the keys by id, on PostgreSQL modalities in the trigram index."""

import sqlalchemy as sa
from alembic import op

revision = "0010_candidates"
down_revision = "0009_quarantine_copies"

# The trigram index names ids; what their studies must meet besides is looked up here, not in rows eight times as wide. New ids are
# the greatest: the index grows at its end.
_SQLITE = (
    "CREATE INDEX archive_study_met ON archive_study (id, tenant_id, study_date, study_time, patient_id, patient_key, "
    "accession_number, modalities, description)",
)
# What is not merged yet is read by every search: at most 1 MiB, some four hundred studies, instead of 4.
_POSTGRES = (
    "DROP INDEX archive_study_find",
    "CREATE INDEX archive_study_find ON archive_study USING gin (search_text gin_trgm_ops, modalities gin_trgm_ops) "
    "WITH (gin_pending_list_limit = 1024)",
)


def upgrade() -> None:
    """Add the index of either database."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in _SQLITE if sqlite else _POSTGRES:
        op.execute(statement)
    if sqlite:
        table = sa.table("sqlite_stat1", sa.column("tbl"), sa.column("idx"), sa.column("stat"))
        op.bulk_insert(
            table,
            [{"tbl": "archive_study", "idx": "archive_study_met", "stat": "100000 1 1 1 1 1 1 1 1 1"}],
        )
