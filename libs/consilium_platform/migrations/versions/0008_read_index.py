"""What searches of a large archive need: trigrams of the search text, keys of names by sound, values inside sequences."""

import sqlalchemy as sa
from alembic import op

revision = "0008_read_index"
down_revision = "0007_storage"

_PK = sa.BigInteger().with_variant(sa.Integer, "sqlite")

# FTS5 in its external content form keeps no second copy of the text; the triggers keep it true whoever writes the table.
_SQLITE = (
    # Covers what lists are filtered by, in their order: a scan that finds nothing costs 20 ms for 100,000 studies, not 300.
    "DROP INDEX archive_study_order",
    "CREATE INDEX archive_study_order ON archive_study (tenant_id, study_date, study_time, id, patient_id, patient_key, "
    "accession_number, birth_date, modalities, description, search_text)",
    "CREATE VIRTUAL TABLE archive_study_find USING fts5(search_text, content='archive_study', content_rowid='id', "
    "tokenize='trigram case_sensitive 1', detail='none')",
    "CREATE TRIGGER archive_study_found AFTER INSERT ON archive_study BEGIN "
    "INSERT INTO archive_study_find(rowid, search_text) VALUES (new.id, new.search_text); END",
    "CREATE TRIGGER archive_study_lost AFTER DELETE ON archive_study BEGIN "
    "INSERT INTO archive_study_find(archive_study_find, rowid, search_text) VALUES ('delete', old.id, old.search_text); END",
    "CREATE TRIGGER archive_study_renamed AFTER UPDATE OF search_text ON archive_study BEGIN "
    "INSERT INTO archive_study_find(archive_study_find, rowid, search_text) VALUES ('delete', old.id, old.search_text); "
    "INSERT INTO archive_study_find(rowid, search_text) VALUES (new.id, new.search_text); END",
    "INSERT INTO archive_study_find(archive_study_find) VALUES ('rebuild')",
)
_POSTGRES = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    "CREATE INDEX archive_study_find ON archive_study USING gin (search_text gin_trgm_ops)",
)


def upgrade() -> None:
    """Add the columns, ``archive_item``, and the trigram index of either database."""
    op.add_column("archive_study", sa.Column("fuzzy_key", sa.Text, nullable=False, server_default=""))
    op.add_column("archive_study", sa.Column("name_sort", sa.String(64), nullable=False, server_default=""))
    op.create_index("archive_study_name", "archive_study", ["tenant_id", "name_sort", "id"])
    op.create_index("archive_study_birth", "archive_study", ["tenant_id", "birth_date"])
    op.add_column("archive_study", sa.Column("key_version", sa.Integer, nullable=False, server_default="0"))
    op.add_column("archive_series", sa.Column("step_date", sa.String(16), nullable=False, server_default=""))
    op.add_column("archive_series", sa.Column("step_time", sa.String(32), nullable=False, server_default=""))
    op.create_index("archive_series_modality", "archive_series", ["tenant_id", "modality", "study_uid"])
    op.create_table(
        "archive_item",
        sa.Column("id", _PK, primary_key=True, autoincrement=True),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("study_uid", sa.String(64), nullable=False),
        sa.Column("series_uid", sa.String(64), nullable=False),
        sa.Column("path", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("value", sa.String(256), nullable=False),
    )
    op.create_index("archive_item_value", "archive_item", ["tenant_id", "path", "value"])
    op.create_index("archive_item_series", "archive_item", ["tenant_id", "study_uid", "series_uid"])
    for statement in _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRES:
        op.execute(statement)
