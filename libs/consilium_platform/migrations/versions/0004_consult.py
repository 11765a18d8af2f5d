"""Patients, consultations, reports; the database itself locks what is signed."""

import sqlalchemy as sa
from alembic import op

revision = "0004_consult"
down_revision = "0003_gateway"

_AT = sa.DateTime(timezone=True)


def _text(name: str, size: int, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(size), nullable=nullable)


def upgrade() -> None:
    """Create the tables of consult and the triggers that refuse changes to signed and traced rows."""
    op.create_table(
        "patient",
        sa.Column("id", sa.String(26), primary_key=True),
        _text("tenant_id", 64),
        _text("patient_id", 64),
        _text("issuer", 64),
        _text("family", 64),
        _text("given", 64),
        _text("ideographic", 64),
        _text("phonetic", 64),
        _text("birth_date", 8),
        _text("sex", 1),
        sa.Column("search_text", sa.Text, nullable=False),
        sa.Column("created_at", _AT, nullable=False),
        sa.UniqueConstraint("tenant_id", "issuer", "patient_id"),
    )
    op.create_index("ix_patient_tenant_id", "patient", ["tenant_id"])
    op.create_table(
        "consultation",
        sa.Column("id", sa.String(26), primary_key=True),
        _text("tenant_id", 64),
        sa.Column("patient", sa.String(26), sa.ForeignKey("patient.id"), nullable=False),
        sa.Column("question", sa.Text, nullable=False),
        _text("urgency", 16),
        _text("kind", 32),
        _text("state", 16),
        _text("requested_by", 128),
        _text("requested_by_name", 128),
        sa.Column("requested_at", _AT, nullable=False),
        _text("accepted_by", 128, nullable=True),
        _text("accepted_by_name", 128, nullable=True),
        _text("site_id", 64),
        _text("room_id", 64, nullable=True),
        _text("report_id", 26, nullable=True),
        _text("study_uid", 64),
        _text("accession_number", 16),
        sa.Column("due_at", _AT, nullable=False),
    )
    op.create_index("consultation_open", "consultation", ["tenant_id", "state", "due_at"])
    op.create_table(
        "consultation_history",
        sa.Column("id", sa.String(26), primary_key=True),
        sa.Column("consultation", sa.String(26), sa.ForeignKey("consultation.id"), nullable=False),
        sa.Column("at", _AT, nullable=False),
        _text("by", 128),
        _text("by_name", 128),
        _text("from_state", 16),
        _text("to_state", 16),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_index("ix_consultation_history_consultation", "consultation_history", ["consultation"])
    _reports()
    for table in ("report_version", "report_change", "report_addendum", "consultation_history"):
        _append_only(table)
    _lock_signed_reports()


def _reports() -> None:
    op.create_table(
        "report",
        sa.Column("id", sa.String(26), primary_key=True),
        _text("tenant_id", 64),
        sa.Column("consultation", sa.String(26), sa.ForeignKey("consultation.id"), nullable=False, unique=True),
        sa.Column("patient", sa.String(26), sa.ForeignKey("patient.id"), nullable=False),
        _text("state", 16),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("sections", sa.JSON, nullable=False),
        sa.Column("key_images", sa.JSON, nullable=False),
        _text("language", 8),
        _text("author", 128),
        _text("author_name", 128),
        _text("author_role", 16),
        _text("reviewer", 128, nullable=True),
        _text("reviewer_name", 128, nullable=True),
        _text("signed_by", 128, nullable=True),
        _text("signed_by_name", 128, nullable=True),
        sa.Column("signed_at", _AT, nullable=True),
        _text("hash", 64, nullable=True),
        sa.Column("created_at", _AT, nullable=False),
        sa.Column("updated_at", _AT, nullable=False),
    )
    op.create_index("ix_report_tenant_id", "report", ["tenant_id"])
    report = sa.ForeignKey("report.id")
    op.create_table(
        "report_version",
        sa.Column("id", sa.String(26), primary_key=True),
        sa.Column("report", sa.String(26), report, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("at", _AT, nullable=False),
        _text("by", 128),
        _text("by_name", 128),
        _text("act", 16),
        _text("state", 16),
        sa.Column("sections", sa.JSON, nullable=False),
        sa.Column("key_images", sa.JSON, nullable=False),
        _text("language", 8),
        sa.Column("reason", sa.Text, nullable=False),
        sa.UniqueConstraint("report", "version"),
    )
    op.create_table(
        "report_change",
        sa.Column("id", sa.String(26), primary_key=True),
        sa.Column("report", sa.String(26), sa.ForeignKey("report.id"), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("at", _AT, nullable=False),
        _text("by", 128),
        _text("by_name", 128),
        _text("section", 32),
        sa.Column("before", sa.Text, nullable=False),
        sa.Column("after", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_index("ix_report_change_report", "report_change", ["report"])
    op.create_table(
        "report_addendum",
        sa.Column("id", sa.String(26), primary_key=True),
        sa.Column("report", sa.String(26), sa.ForeignKey("report.id"), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        _text("signed_by", 128),
        _text("signed_by_name", 128),
        sa.Column("signed_at", _AT, nullable=False),
        _text("hash", 64),
    )
    op.create_index("ix_report_addendum_report", "report_addendum", ["report"])


def _append_only(table: str) -> None:
    same = "id = NEW.id"
    if table == "report_version":
        same += " OR (report = NEW.report AND version = NEW.version)"
    reason = f"{table} is append-only"
    if op.get_bind().dialect.name == "sqlite":
        # REPLACE removes the row in its way without asking a DELETE trigger
        op.execute(
            f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
            f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {same}) "
            f"BEGIN SELECT RAISE(ABORT, '{reason}'); END"
        )
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


def _lock_signed_reports() -> None:
    reason = "a signed report is locked"
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER report_locked_{verb.lower()} BEFORE {verb} ON report WHEN OLD.state = 'signed' "
                f"BEGIN SELECT RAISE(ABORT, '{reason}'); END"
            )
        taken = (
            "EXISTS (SELECT 1 FROM report WHERE state = 'signed' AND (id = NEW.id OR consultation = NEW.consultation))"
        )
        for when in (f"INSERT ON report WHEN {taken}", f"UPDATE OF id, consultation ON report WHEN {taken}"):
            op.execute(
                f"CREATE TRIGGER report_locked_replace_{when[:6].lower()} BEFORE {when} "
                f"BEGIN SELECT RAISE(ABORT, '{reason}'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION report_refuse_signed() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN IF OLD.state = 'signed' THEN RAISE EXCEPTION '{reason}'; END IF; "
        "IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$"
    )
    op.execute(
        "CREATE TRIGGER report_locked BEFORE UPDATE OR DELETE ON report "
        "FOR EACH ROW EXECUTE FUNCTION report_refuse_signed()"
    )
    op.execute(
        "CREATE FUNCTION report_refuse_truncate() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{reason}'; END $$"
    )
    op.execute(
        "CREATE TRIGGER report_no_truncate BEFORE TRUNCATE ON report "
        "FOR EACH STATEMENT EXECUTE FUNCTION report_refuse_truncate()"
    )
