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
    "accession_number, birth_date, modalities, description, search_text, fuzzy_key)",
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


# What ANALYZE would find in an archive of 100,000 studies: without it SQLite takes the covering index even where a patient's
# own index leads straight to two rows. Given, not measured: plans do not change with what happens to be stored.
_STATISTICS = (
    ("archive_study", "archive_study_uid", "100000 100000 1"),
    ("archive_study", "archive_study_order", "100000 100000 30 1 1 1 1 1 1 1 1 1 1"),
    ("archive_study", "archive_study_patient", "100000 100000 2"),
    ("archive_study", "archive_study_accession", "100000 100000 1"),
    ("archive_study", "archive_study_name", "100000 100000 4 1"),
    ("archive_study", "archive_study_birth", "100000 100000 4"),
    ("archive_series", "archive_series_uid", "300000 300000 3 1"),
    ("archive_series", "archive_series_only", "300000 300000 1"),
    ("archive_series", "archive_series_order", "300000 300000 3 1 1"),
    ("archive_series", "archive_series_modality", "300000 300000 30000 1"),
    ("archive_instance", "archive_instance_uid", "9000000 9000000 1"),
    ("archive_instance", "archive_instance_series", "9000000 9000000 90 30 1 1"),
    ("archive_item", "archive_item_value", "300000 300000 50000 2"),
    ("archive_item", "archive_item_series", "300000 300000 3 1"),
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
    op.create_index("archive_series_order", "archive_series", ["tenant_id", "study_uid", "number", "id"])
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
    if op.get_bind().dialect.name == "sqlite":
        op.execute("ANALYZE alembic_version")  # makes sqlite_stat1
        table = sa.table("sqlite_stat1", sa.column("tbl"), sa.column("idx"), sa.column("stat"))
        op.bulk_insert(table, [dict(zip(("tbl", "idx", "stat"), row, strict=True)) for row in _STATISTICS])
