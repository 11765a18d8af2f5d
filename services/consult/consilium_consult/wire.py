"""Wire models of consult, and the converters from rows."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from consilium_consult.rows import (
    ConsultationHistoryRow,
    ConsultationRow,
    PatientRow,
    ReportAddendumRow,
    ReportChangeRow,
    ReportRow,
    ReportVersionRow,
)

NO_NUL = r"^[^\x00]*$"  # PostgreSQL stores no NUL, DICOM allows none
LO = r"^[^\\\x00-\x1f\x7f]*$"  # PS3.5 6.2: no backslash, no control characters
Urgency = Literal["stat", "urgent", "routine"]
Kind = Literal["live", "report", "second_opinion"]
ShortText = Annotated[str, StringConstraints(strip_whitespace=True, max_length=64, pattern=r"^[^\\\^=\x00-\x1f]*$")]
Ideographic = Annotated[str, StringConstraints(strip_whitespace=True, max_length=64, pattern=r"^[^\\=\x00-\x1f]*$")]
LongText = Annotated[str, StringConstraints(max_length=20_000, pattern=NO_NUL)]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500, pattern=NO_NUL)]
Uid = Annotated[str, StringConstraints(max_length=64, pattern=r"^(0|[1-9]\d*)(\.(0|[1-9]\d*))*$")]  # PS3.5 9.1


def calendar_date(value: str) -> str:
    """Return a DICOM DA (YYYYMMDD, PS3.5 6.2) that exists in the calendar, or empty."""
    if value and (len(value) != 8 or not value.isdigit()):
        raise ValueError("a date is written YYYYMMDD")
    if value:
        date(int(value[:4]), int(value[4:6]), int(value[6:]))
    return value


class Wire(BaseModel):
    """Base: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Name(Wire):
    """A person's name; ideographic and phonetic are ``family^given``."""

    family: ShortText
    given: ShortText = ""
    ideographic: Ideographic = ""
    phonetic: Ideographic = ""


class NewPatient(Wire):
    """A patient as the hospital knows them; dates are YYYYMMDD."""

    patient_id: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64, pattern=LO)]
    issuer: ShortText = ""
    name: Name
    birth_date: Annotated[str, AfterValidator(calendar_date)] = ""
    sex: Literal["M", "F", "O", ""] = ""


class Patient(NewPatient):
    """A patient with the system's own id."""

    id: str
    created_at: datetime


class NewConsultation(Wire):
    """A request: whom, what, how urgent."""

    patient_id: str = Field(description="The system's id of the patient.")
    question: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000, pattern=NO_NUL)]
    urgency: Urgency = "routine"
    kind: Kind = "live"
    site_id: Annotated[str, StringConstraints(max_length=64, pattern=r"^[\w.-]*$")] = ""
    study_uid: Uid | Literal[""] = ""
    accession_number: Annotated[str, StringConstraints(strip_whitespace=True, max_length=16, pattern=LO)] = ""


class HistoryEntry(Wire):
    """One transition."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, serialize_by_alias=True)

    at: datetime
    by: str
    by_name: str
    from_state: str = Field(alias="from")
    to_state: str = Field(alias="to")
    reason: str


class Consultation(Wire):
    """A consultation."""

    id: str
    patient: Patient
    question: str
    urgency: str
    kind: str
    state: str
    requested_by: str
    requested_by_name: str
    requested_at: datetime
    accepted_by: str | None
    accepted_by_name: str | None
    site_id: str
    room_id: str | None
    report_id: str | None
    study_uid: str
    accession_number: str
    due_at: datetime
    history: list[HistoryEntry] = []


class ReasonBody(Wire):
    """Why, in words."""

    reason: Reason = ""


class StartBody(Wire):
    """Where the picture comes from, when the request did not say."""

    site_id: Annotated[str, StringConstraints(max_length=64, pattern=r"^[\w.-]*$")] = ""
    reason: Reason = ""


class Sections(Wire):
    """The report's text."""

    findings: LongText = ""
    impression: LongText = ""
    recommendation: LongText = ""


class KeyImage(Wire):
    """An image that the report points at."""

    study_uid: Uid
    series_uid: Uid
    sop_instance_uid: Uid
    frame: int = Field(default=1, ge=1)


class ReportEdit(Wire):
    """A save; ``reason`` is needed from submission on."""

    sections: Sections
    key_images: list[KeyImage] = Field(default=[], max_length=50)
    language: Literal["zh-CN", "en"] = "zh-CN"
    reason: Reason = ""


class PasswordBody(Wire):
    """Signing re-authenticates."""

    password: Annotated[str, StringConstraints(min_length=1, max_length=256)]


class AddendumBody(PasswordBody):
    """An addition to a signed report."""

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20_000, pattern=NO_NUL)]


class Person(Wire):
    """Who."""

    id: str
    name: str


class Addendum(Wire):
    """A signed addition."""

    id: str
    text: str
    signed_by: Person
    signed_at: datetime
    hash: str


class Report(Wire):
    """A report as it stands."""

    id: str
    consultation_id: str
    patient: Patient
    state: str
    version: int
    etag: str
    sections: Sections
    language: str
    author: Person | None
    reviewer: Person | None
    signed_by: Person | None
    signed_at: datetime | None
    hash: str | None
    key_images: list[KeyImage]
    addenda: list[Addendum] = []
    updated_at: datetime


class Version(Wire):
    """What the report said after one act."""

    version: int
    at: datetime
    by: Person
    act: str
    state: str
    sections: Sections
    key_images: list[KeyImage]
    language: str
    reason: str


class Change(Wire):
    """One section's change."""

    version: int
    at: datetime
    by: Person
    section: str
    before: str
    after: str
    reason: str


def utc(at: datetime) -> datetime:
    """Return ``at`` with its time zone: SQLite forgets it."""
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def patient_wire(row: PatientRow) -> Patient:
    """Convert a patient."""
    return Patient(
        id=row.id,
        patient_id=row.patient_id,
        issuer=row.issuer,
        birth_date=row.birth_date,
        sex=row.sex,
        name=Name(family=row.family, given=row.given, ideographic=row.ideographic, phonetic=row.phonetic),
        created_at=utc(row.created_at),
    )


def consultation_wire(
    row: ConsultationRow, patient: PatientRow, history: list[ConsultationHistoryRow] | None = None
) -> Consultation:
    """Convert a consultation."""
    entries = [
        HistoryEntry(
            at=utc(h.at), by=h.by, by_name=h.by_name, from_state=h.from_state, to_state=h.to_state, reason=h.reason
        )
        for h in history or []
    ]
    facts = row.model_dump(exclude={"tenant_id", "patient", "requested_at", "due_at"})
    return Consultation(
        **facts,
        patient=patient_wire(patient),
        requested_at=utc(row.requested_at),
        due_at=utc(row.due_at),
        history=entries,
    )


def _person(id_: str | None, name: str | None) -> Person | None:
    return Person(id=id_, name=name or "") if id_ else None


def report_wire(row: ReportRow, patient: PatientRow, addenda: list[ReportAddendumRow] | None = None) -> Report:
    """Convert a report."""
    return Report(
        id=row.id,
        consultation_id=row.consultation,
        patient=patient_wire(patient),
        state=row.state,
        version=row.version,
        etag=f'"{row.version}"',
        sections=Sections(**row.sections),
        language=row.language,
        author=_person(row.author, row.author_name),
        reviewer=_person(row.reviewer, row.reviewer_name),
        signed_by=_person(row.signed_by, row.signed_by_name),
        signed_at=utc(row.signed_at) if row.signed_at else None,
        hash=row.hash,
        key_images=[KeyImage(**image) for image in row.key_images],
        updated_at=utc(row.updated_at),
        addenda=[
            Addendum(
                id=a.id,
                text=a.text,
                signed_by=Person(id=a.signed_by, name=a.signed_by_name),
                signed_at=utc(a.signed_at),
                hash=a.hash,
            )
            for a in addenda or []
        ],
    )


def version_wire(row: ReportVersionRow) -> Version:
    """Convert a version."""
    by = Person(id=row.by, name=row.by_name)
    return Version(
        version=row.version,
        at=utc(row.at),
        by=by,
        act=row.act,
        state=row.state,
        sections=Sections(**row.sections),
        key_images=[KeyImage(**image) for image in row.key_images],
        language=row.language,
        reason=row.reason,
    )


def change_wire(row: ReportChangeRow) -> Change:
    """Convert a change."""
    by = Person(id=row.by, name=row.by_name)
    return Change(
        version=row.version,
        at=utc(row.at),
        by=by,
        section=row.section,
        before=row.before,
        after=row.after,
        reason=row.reason,
    )
