"""Ask for a consultation and move it on; every transition is a row of history, an event and an audit entry."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from consilium_consult.domain.consultation import NEEDS_REASON, ConsultationState, Verb, next_state
from consilium_consult.domain.patient import PersonName
from consilium_consult.domain.report import ReportState
from consilium_consult.errors import AlreadyAccepted, ReasonNeeded, SiteNeeded
from consilium_consult.flow.common import Desk, audit_patients, find_consultation, find_patient, refusals_audited
from consilium_consult.rows import ConsultationHistoryRow, ConsultationRow, PatientRow, ReportRow
from consilium_core.events import EventType
from consilium_core.ids import new_uid, new_ulid
from consilium_core.roles import Principal
from consilium_core.site_protocol import CaptureContext, PatientContext
from consilium_platform.outbox import add_event


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for; ``patient`` is the system's id."""

    patient: str
    question: str
    urgency: str
    kind: str
    site_id: str
    study_uid: str
    accession_number: str


async def request_consultation(desk: Desk, who: Principal, asked: Request) -> tuple[ConsultationRow, PatientRow]:
    """Store a request; it is due by its urgency."""
    now = desk.platform.clock.now()
    s = desk.settings
    minutes = {"stat": s.stat_due_min, "urgent": s.urgent_due_min}.get(asked.urgency, s.routine_due_min)
    identifier = new_ulid()
    async with desk.platform.database.write() as session:
        patient = await find_patient(session, who, asked.patient)
        row = ConsultationRow(
            id=identifier,
            tenant_id=who.tenant,
            patient=patient.id,
            question=asked.question,
            urgency=asked.urgency,
            kind=asked.kind,
            state=ConsultationState.REQUESTED.value,
            requested_by=who.subject,
            requested_by_name=who.name,
            requested_at=now,
            site_id=asked.site_id or s.default_site_id,
            study_uid=asked.study_uid or new_uid(),
            accession_number=asked.accession_number or identifier[-12:],
            due_at=now + timedelta(minutes=minutes),
        )
        session.add(row)
        await session.flush()
        await _trace(desk, session, who, row, "", "")
        await desk.platform.audit.within(
            session, who, "consultation.request", subject=row.id, patient_id=patient.patient_id
        )
    desk.platform.outbox.wake()
    return row, patient


async def move(
    desk: Desk, who: Principal, consultation_id: str, verb: Verb, *, reason: str = "", site_id: str = ""
) -> tuple[ConsultationRow, PatientRow]:
    """Apply ``verb``; raise TransitionRefused, AlreadyAccepted, ReasonNeeded or SiteNeeded."""
    if verb in NEEDS_REASON and not reason:
        raise ReasonNeeded(f"To {verb.value} a consultation, say why.")
    async with refusals_audited(desk, who, f"consultation.{verb.value}", consultation_id):
        return await _move(desk, who, consultation_id, verb, reason, site_id)


async def _move(
    desk: Desk, who: Principal, consultation_id: str, verb: Verb, reason: str, site_id: str
) -> tuple[ConsultationRow, PatientRow]:
    room = await _open_room(desk, who, consultation_id, site_id) if verb is Verb.START else None
    async with desk.platform.database.write() as session:
        row = await find_consultation(session, who, consultation_id, lock=True)
        patient = await find_patient(session, who, row.patient)
        before = ConsultationState(row.state)
        if verb is Verb.ACCEPT and before is ConsultationState.ACCEPTED and row.accepted_by != who.subject:
            raise AlreadyAccepted(f"{row.accepted_by_name} has already accepted this consultation.")
        after = next_state(before, verb)
        if verb is Verb.ACCEPT:
            row.accepted_by, row.accepted_by_name = who.subject, who.name
        if room is not None and row.room_id is None:
            row.room_id, row.site_id = room
        if verb is Verb.FINISH and row.report_id is None:
            row.report_id = await _open_report(desk, session, row)
        row.state = after.value
        session.add(row)
        if after is not before:
            await _trace(desk, session, who, row, before.value, reason)
        act = f"consultation.{verb.value}"
        await desk.platform.audit.within(session, who, act, subject=row.id, patient_id=patient.patient_id)
    desk.platform.outbox.wake()
    return row, patient


async def complete(desk: Desk, session: AsyncSession, who: Principal, consultation_id: str) -> None:
    """Complete a consultation inside the transaction that signs its report."""
    row = await find_consultation(session, who, consultation_id, lock=True)
    before = ConsultationState(row.state)
    row.state = next_state(before, Verb.COMPLETE).value
    session.add(row)
    await _trace(desk, session, who, row, before.value, "")


async def _open_room(desk: Desk, who: Principal, consultation_id: str, site_id: str) -> tuple[str, str]:
    """Ask live for the consultation's room (idempotent there), before our own transaction; return room and site."""
    async with desk.platform.database.read() as session:
        row = await find_consultation(session, who, consultation_id)
        patient = await find_patient(session, who, row.patient)
    next_state(ConsultationState(row.state), Verb.START)
    site = row.site_id if row.room_id is not None else site_id or row.site_id
    if not site:
        raise SiteNeeded("Name the hospital whose picture is to be shown.")
    name = PersonName(patient.family, patient.given, patient.ideographic, patient.phonetic)
    person = PatientContext(
        patient_id=patient.patient_id,
        issuer=patient.issuer,
        name=name.as_pn(),
        birth_date=patient.birth_date,
        sex=patient.sex,
    )
    context = CaptureContext(patient=person, study_uid=row.study_uid, accession_number=row.accession_number)
    body = {
        "consultation_id": row.id,
        "title": "Live consultation",  # lists show it to everybody: nothing of the patient
        "site_id": site,
        "context": context.model_dump(mode="json"),
    }
    answer = await desk.platform.services.call(
        "live", "POST", "/internal/v1/rooms", tenant=who.tenant, caller="consult", json=body
    )
    return str(answer["id"]), site


async def _open_report(desk: Desk, session: AsyncSession, row: ConsultationRow) -> str:
    now = desk.platform.clock.now()
    report = ReportRow(
        id=new_ulid(),
        tenant_id=row.tenant_id,
        consultation=row.id,
        patient=row.patient,
        state=ReportState.DRAFTING.value,
        version=0,
        sections={},
        key_images=[],
        language="zh-CN",
        author="",
        author_name="",
        author_role="",
        created_at=now,
        updated_at=now,
    )
    session.add(report)
    await session.flush()
    await add_event(
        session,
        EventType.REPORT_CHANGED,
        tenant=row.tenant_id,
        subject=report.id,
        data={"consultation_id": row.id, "state": report.state, "version": 0},
    )
    return report.id


async def _trace(
    desk: Desk, session: AsyncSession, who: Principal, row: ConsultationRow, before: str, reason: str
) -> None:
    session.add(
        ConsultationHistoryRow(
            id=new_ulid(),
            consultation=row.id,
            at=desk.platform.clock.now(),
            by=who.subject,
            by_name=who.name,
            from_state=before,
            to_state=row.state,
            reason=reason,
        )
    )
    await add_event(
        session, EventType.CONSULTATION_CHANGED, tenant=row.tenant_id, subject=row.id, data={"state": row.state}
    )


async def list_consultations(
    desk: Desk, who: Principal, *, states: list[str], mine: bool, cursor: str | None, limit: int
) -> tuple[list[tuple[ConsultationRow, PatientRow]], str | None]:
    """Return consultations newest first with their patients, and the next cursor."""
    query = (
        select(ConsultationRow, PatientRow)
        .join(PatientRow, col(PatientRow.id) == col(ConsultationRow.patient))
        .where(col(ConsultationRow.tenant_id) == who.tenant)
    )
    if states:
        query = query.where(col(ConsultationRow.state).in_(states))
    if mine:
        query = query.where(
            (col(ConsultationRow.requested_by) == who.subject) | (col(ConsultationRow.accepted_by) == who.subject)
        )
    if cursor:
        query = query.where(col(ConsultationRow.id) < cursor)
    async with desk.platform.database.read() as session:
        found = (await session.execute(query.order_by(col(ConsultationRow.id).desc()).limit(limit + 1))).all()
    rows = [(consultation, patient) for consultation, patient in found[:limit]]
    await audit_patients(desk, who, "consultation.list", [patient for _, patient in rows])
    return rows, rows[-1][0].id if len(found) > limit else None


async def get_consultation(
    desk: Desk, who: Principal, consultation_id: str, *, action: str = "consultation.view"
) -> tuple[ConsultationRow, PatientRow, list[ConsultationHistoryRow]]:
    """Return one consultation with patient and history; audited as ``action``."""
    async with desk.platform.database.read() as session:
        row = await find_consultation(session, who, consultation_id)
        patient = await find_patient(session, who, row.patient)
        query = select(ConsultationHistoryRow).where(col(ConsultationHistoryRow.consultation) == row.id)
        history = list(
            (
                await session.execute(query.order_by(col(ConsultationHistoryRow.at), col(ConsultationHistoryRow.id)))
            ).scalars()
        )
    await desk.platform.audit.act(who, action, subject=row.id, patient_id=patient.patient_id)
    return row, patient, history
