"""Rows of consult. Signed reports, versions, changes and addenda are append-only: the database refuses to alter them (migration 0004)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column, DateTime, Index, Text, UniqueConstraint
from sqlmodel import Field, SQLModel


def _at(nullable: bool = False) -> Any:
    return Column(DateTime(timezone=True), nullable=nullable)


class PatientRow(SQLModel, table=True):
    """A person as one hospital knows them."""

    __tablename__ = "patient"
    __table_args__ = (UniqueConstraint("tenant_id", "issuer", "patient_id"),)

    id: str = Field(primary_key=True, max_length=26)
    tenant_id: str = Field(max_length=64, index=True)
    patient_id: str = Field(max_length=64)
    issuer: str = Field(max_length=64)
    family: str = Field(max_length=64)
    given: str = Field(max_length=64)
    ideographic: str = Field(max_length=64)
    phonetic: str = Field(max_length=64)
    birth_date: str = Field(max_length=8)
    sex: str = Field(max_length=1)
    search_text: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=_at())


class ConsultationRow(SQLModel, table=True):
    """A case that is asked for."""

    __tablename__ = "consultation"
    __table_args__ = (Index("consultation_open", "tenant_id", "state", "due_at"),)

    id: str = Field(primary_key=True, max_length=26)
    tenant_id: str = Field(max_length=64)
    patient: str = Field(max_length=26, foreign_key="patient.id")
    question: str = Field(sa_column=Column(Text, nullable=False))
    urgency: str = Field(max_length=16)
    kind: str = Field(max_length=32)
    state: str = Field(max_length=16)
    requested_by: str = Field(max_length=128)
    requested_by_name: str = Field(max_length=128)
    requested_at: datetime = Field(sa_column=_at())
    accepted_by: str | None = Field(default=None, max_length=128)
    accepted_by_name: str | None = Field(default=None, max_length=128)
    site_id: str = Field(default="", max_length=64)
    room_id: str | None = Field(default=None, max_length=64)
    report_id: str | None = Field(default=None, max_length=26)
    study_uid: str = Field(max_length=64)
    accession_number: str = Field(max_length=16)
    due_at: datetime = Field(sa_column=_at())


class ConsultationHistoryRow(SQLModel, table=True):
    """One transition of a consultation."""

    __tablename__ = "consultation_history"

    id: str = Field(primary_key=True, max_length=26)
    consultation: str = Field(max_length=26, foreign_key="consultation.id", index=True)
    at: datetime = Field(sa_column=_at())
    by: str = Field(max_length=128)
    by_name: str = Field(max_length=128)
    from_state: str = Field(max_length=16)
    to_state: str = Field(max_length=16)
    reason: str = Field(sa_column=Column(Text, nullable=False))


class ReportRow(SQLModel, table=True):
    """A report as it stands now; once ``state`` is signed the row can't be altered."""

    __tablename__ = "report"

    id: str = Field(primary_key=True, max_length=26)
    tenant_id: str = Field(max_length=64, index=True)
    consultation: str = Field(max_length=26, foreign_key="consultation.id", unique=True)
    patient: str = Field(max_length=26, foreign_key="patient.id")
    state: str = Field(max_length=16)
    version: int
    sections: dict[str, str] = Field(sa_column=Column(JSON, nullable=False))
    key_images: list[dict[str, Any]] = Field(sa_column=Column(JSON, nullable=False))
    language: str = Field(max_length=8)
    author: str = Field(max_length=128)
    author_name: str = Field(max_length=128)
    author_role: str = Field(max_length=16)
    reviewer: str | None = Field(default=None, max_length=128)
    reviewer_name: str | None = Field(default=None, max_length=128)
    signed_by: str | None = Field(default=None, max_length=128)
    signed_by_name: str | None = Field(default=None, max_length=128)
    signed_at: datetime | None = Field(default=None, sa_column=_at(nullable=True))
    hash: str | None = Field(default=None, max_length=64)
    created_at: datetime = Field(sa_column=_at())
    updated_at: datetime = Field(sa_column=_at())


class ReportVersionRow(SQLModel, table=True):
    """What the report said after one act."""

    __tablename__ = "report_version"
    __table_args__ = (UniqueConstraint("report", "version"),)

    id: str = Field(primary_key=True, max_length=26)
    report: str = Field(max_length=26, foreign_key="report.id")
    version: int
    at: datetime = Field(sa_column=_at())
    by: str = Field(max_length=128)
    by_name: str = Field(max_length=128)
    act: str = Field(max_length=16)
    state: str = Field(max_length=16)
    sections: dict[str, str] = Field(sa_column=Column(JSON, nullable=False))
    key_images: list[dict[str, Any]] = Field(sa_column=Column(JSON, nullable=False))
    language: str = Field(max_length=8)
    reason: str = Field(sa_column=Column(Text, nullable=False))


class ReportChangeRow(SQLModel, table=True):
    """One section's change: who, when, from, to, why."""

    __tablename__ = "report_change"

    id: str = Field(primary_key=True, max_length=26)
    report: str = Field(max_length=26, foreign_key="report.id", index=True)
    version: int
    at: datetime = Field(sa_column=_at())
    by: str = Field(max_length=128)
    by_name: str = Field(max_length=128)
    section: str = Field(max_length=32)
    before: str = Field(sa_column=Column(Text, nullable=False))
    after: str = Field(sa_column=Column(Text, nullable=False))
    reason: str = Field(sa_column=Column(Text, nullable=False))


class ReportAddendumRow(SQLModel, table=True):
    """A signed addition beside a signed report."""

    __tablename__ = "report_addendum"

    id: str = Field(primary_key=True, max_length=26)
    report: str = Field(max_length=26, foreign_key="report.id", index=True)
    text: str = Field(sa_column=Column(Text, nullable=False))
    signed_by: str = Field(max_length=128)
    signed_by_name: str = Field(max_length=128)
    signed_at: datetime = Field(sa_column=_at())
    hash: str = Field(max_length=64)
