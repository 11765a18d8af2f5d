"""Write, submit, review, return, sign and supplement reports; one act is one version, and every changed section is traced."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from consilium_consult.domain import report as rules
from consilium_consult.domain.report import ReportState, ReportVerb
from consilium_consult.errors import (
    ReasonNeeded,
    ReportChanged,
    SignatureRefused,
    TransitionRefused,
    VersionNeeded,
)
from consilium_consult.flow.common import (
    Desk,
    audit_patients,
    find_consultation,
    find_patient,
    find_report,
    refusals_audited,
)
from consilium_consult.flow.consultations import complete
from consilium_consult.flow.signature import check_signature, signed_content
from consilium_consult.rows import (
    ConsultationRow,
    PatientRow,
    ReportAddendumRow,
    ReportChangeRow,
    ReportRow,
    ReportVersionRow,
)
from consilium_core.clock import iso
from consilium_core.errors import Denied
from consilium_core.events import EventType
from consilium_core.ids import new_ulid
from consilium_core.roles import Permission, Principal, Role
from consilium_platform.outbox import add_event


@dataclass(frozen=True, slots=True)
class Edit:
    """A save."""

    sections: dict[str, str]
    key_images: list[dict[str, Any]]
    language: str
    reason: str


def parse_if_match(header: str | None) -> int:
    """Return the version in an ``If-Match`` header (RFC 9110 13.1.1) or raise VersionNeeded."""
    value = (header or "").strip().removeprefix("W/").strip('"')
    if not value.isdecimal() or len(value) > 9:
        raise VersionNeeded('Send If-Match with the version you have read, for example If-Match: "3".')
    return int(value)


async def save(desk: Desk, who: Principal, report_id: str, version: int, edit: Edit) -> ReportRow:
    """Save text; the author drafts, a reviewer edits in place with a reason. Raise ReportChanged on a lost race."""
    async with refusals_audited(desk, who, "report.edit", report_id):
        return await _save(desk, who, report_id, version, edit)


async def _save(desk: Desk, who: Principal, report_id: str, version: int, edit: Edit) -> ReportRow:
    now = desk.platform.clock.now()
    async with desk.platform.database.write() as session:
        row = await find_report(session, who, report_id, lock=True)
        state = ReportState(row.state)
        after = rules.next_state(state, ReportVerb.EDIT)
        _check_writer(row, state, who)
        _check_version(row, version)
        rules.check_edit(state, edit.reason)
        changed = rules.changes(
            _traced(row.sections, row.key_images, row.language), _traced(edit.sections, edit.key_images, edit.language)
        )
        if not row.author:
            row.author, row.author_name, row.author_role = who.subject, who.name, who.role.value
        row.sections, row.key_images, row.language = edit.sections, edit.key_images, edit.language
        await _advance(desk, session, who, row, "edit", after, now, edit.reason)
        for change in changed:
            session.add(
                ReportChangeRow(
                    id=new_ulid(),
                    report=row.id,
                    version=row.version,
                    at=now,
                    by=who.subject,
                    by_name=who.name,
                    section=change.section,
                    before=change.before,
                    after=change.after,
                    reason=edit.reason,
                )
            )
        patient = await find_patient(session, who, row.patient)
        await desk.platform.audit.within(session, who, "report.edit", subject=row.id, patient_id=patient.patient_id)
    desk.platform.outbox.wake()
    return row


async def act(
    desk: Desk, who: Principal, report_id: str, verb: ReportVerb, *, reason: str = "", version: int | None = None
) -> ReportRow:
    """Submit, take into review or return; raise the rule that stands against it."""
    async with refusals_audited(desk, who, f"report.{verb.value}", report_id):
        return await _act(desk, who, report_id, verb, reason, version)


async def _act(
    desk: Desk, who: Principal, report_id: str, verb: ReportVerb, reason: str, version: int | None
) -> ReportRow:
    now = desk.platform.clock.now()
    async with desk.platform.database.write() as session:
        row = await find_report(session, who, report_id, lock=True)
        after = rules.next_state(ReportState(row.state), verb)
        if version is not None:
            _check_version(row, version)
        if verb is ReportVerb.SUBMIT:
            rules.check_complete(row.sections)
            if row.author != who.subject:
                raise Denied("Only the author submits the report.", rule="author")
        if verb is ReportVerb.REVIEW:
            rules.check_signer(row.author, Role(row.author_role), who.subject, who.role)
            row.reviewer, row.reviewer_name = who.subject, who.name
        if verb is ReportVerb.RETURN:
            if row.reviewer != who.subject:
                raise Denied(f"The report is with {row.reviewer_name} now.", rule="reviewer")
            if not reason:
                raise ReasonNeeded("To return a report, tell the author why.")
        await _advance(desk, session, who, row, verb.value, after, now, reason)
        patient = await find_patient(session, who, row.patient)
        act_name = f"report.{verb.value}"
        await desk.platform.audit.within(session, who, act_name, subject=row.id, patient_id=patient.patient_id)
    desk.platform.outbox.wake()
    return row


async def sign(desk: Desk, who: Principal, report_id: str, password: str, version: int) -> ReportRow:
    """Lock the report under the signer's name and the content's hash; complete the consultation in the same transaction."""
    async with desk.platform.database.read() as session:
        await find_report(session, who, report_id)
    async with refusals_audited(desk, who, "report.sign", report_id):
        await _reauthenticate(desk, who, password)
        row = await _sign(desk, who, report_id, version)
    desk.platform.outbox.wake()
    return row


async def _sign(desk: Desk, who: Principal, report_id: str, version: int) -> ReportRow:
    now = desk.platform.clock.now()
    async with desk.platform.database.write() as session:
        row = await find_report(session, who, report_id, lock=True)
        rules.next_state(ReportState(row.state), ReportVerb.SIGN)
        _check_version(row, version)
        rules.check_complete(row.sections)
        rules.check_signer(row.author, Role(row.author_role), who.subject, who.role)
        patient = await find_patient(session, who, row.patient)
        row.signed_by, row.signed_by_name, row.signed_at = who.subject, who.name, now
        row.hash = rules.content_hash(signed_content(row, patient, now, row.version + 1))
        await _advance(desk, session, who, row, "sign", ReportState.SIGNED, now, "")
        await complete(desk, session, who, row.consultation)
        await desk.platform.audit.within(
            session, who, "report.sign", subject=row.id, patient_id=patient.patient_id, detail=row.hash
        )
    return row


async def add_addendum(desk: Desk, who: Principal, report_id: str, text: str, password: str) -> ReportAddendumRow:
    """Sign an addition to a signed report."""
    async with desk.platform.database.read() as session:
        await find_report(session, who, report_id)
    async with refusals_audited(desk, who, "report.addendum", report_id):
        await _reauthenticate(desk, who, password)
    now = desk.platform.clock.now()
    async with desk.platform.database.write() as session:
        row = await find_report(session, who, report_id, lock=True)
        if row.state != ReportState.SIGNED.value:
            raise TransitionRefused("An addendum goes beside a signed report; this one is not signed yet.")
        content = {
            "report": row.id,
            "report_hash": row.hash,
            "text": text,
            "signer": who.subject,
            "signed_at": iso(now),
        }
        addendum = ReportAddendumRow(
            id=new_ulid(),
            report=row.id,
            text=text,
            signed_by=who.subject,
            signed_by_name=who.name,
            signed_at=now,
            hash=rules.content_hash(content),
        )
        session.add(addendum)
        patient = await find_patient(session, who, row.patient)
        await add_event(
            session,
            EventType.REPORT_CHANGED,
            tenant=row.tenant_id,
            subject=row.id,
            data={"consultation_id": row.consultation, "state": row.state, "version": row.version},
        )
        await desk.platform.audit.within(session, who, "report.addendum", subject=row.id, patient_id=patient.patient_id)
    desk.platform.outbox.wake()
    return addendum


async def get_report(
    desk: Desk, who: Principal, report_id: str
) -> tuple[ReportRow, PatientRow, list[ReportAddendumRow]]:
    """Return a report with patient and addenda; the view is audited. Raise SignatureBroken instead of showing a changed one."""
    async with desk.platform.database.read() as session:
        row = await find_report(session, who, report_id)
        patient = await find_patient(session, who, row.patient)
        query = select(ReportAddendumRow).where(col(ReportAddendumRow.report) == row.id)
        addenda = list((await session.execute(query.order_by(col(ReportAddendumRow.id)))).scalars())
    check_signature(row, patient)
    await desk.platform.audit.act(who, "report.view", subject=row.id, patient_id=patient.patient_id)
    return row, patient, addenda


async def consultation_of(desk: Desk, who: Principal, row: ReportRow) -> ConsultationRow:
    """Return the consultation that a report answers."""
    async with desk.platform.database.read() as session:
        return await find_consultation(session, who, row.consultation)


async def list_reports(
    desk: Desk, who: Principal, states: list[str], cursor: str | None, limit: int
) -> tuple[list[tuple[ReportRow, PatientRow]], str | None]:
    """Return reports newest first with their patients, and the next cursor."""
    query = (
        select(ReportRow, PatientRow)
        .join(PatientRow, col(PatientRow.id) == col(ReportRow.patient))
        .where(col(ReportRow.tenant_id) == who.tenant)
    )
    if states:
        query = query.where(col(ReportRow.state).in_(states))
    if cursor:
        query = query.where(col(ReportRow.id) < cursor)
    async with desk.platform.database.read() as session:
        found = (await session.execute(query.order_by(col(ReportRow.id).desc()).limit(limit + 1))).all()
    rows = [(report, patient) for report, patient in found[:limit]]
    await audit_patients(desk, who, "report.list", [patient for _, patient in rows])
    return rows, rows[-1][0].id if len(found) > limit else None


async def versions_of(desk: Desk, who: Principal, report_id: str) -> list[ReportVersionRow]:
    """Return all versions, oldest first."""
    async with desk.platform.database.read() as session:
        row = await find_report(session, who, report_id)
        patient = await find_patient(session, who, row.patient)
        query = select(ReportVersionRow).where(col(ReportVersionRow.report) == row.id)
        rows = list((await session.execute(query.order_by(col(ReportVersionRow.version)))).scalars())
    await desk.platform.audit.act(who, "report.versions", subject=row.id, patient_id=patient.patient_id)
    return rows


async def changes_of(desk: Desk, who: Principal, report_id: str) -> list[ReportChangeRow]:
    """Return the trace, oldest first."""
    async with desk.platform.database.read() as session:
        row = await find_report(session, who, report_id)
        patient = await find_patient(session, who, row.patient)
        query = select(ReportChangeRow).where(col(ReportChangeRow.report) == row.id)
        rows = list((await session.execute(query.order_by(col(ReportChangeRow.version)))).scalars())
    await desk.platform.audit.act(who, "report.changes", subject=row.id, patient_id=patient.patient_id)
    return sorted(rows, key=lambda change: (change.version, rules.TRACED.index(change.section)))


def _traced(sections: dict[str, str], key_images: list[dict[str, Any]], language: str) -> dict[str, str]:
    """Return everything whose change is traced, as text."""
    images = json.dumps(key_images, sort_keys=True) if key_images else ""
    return {**sections, "key_images": images, "language": language}


def _check_writer(row: ReportRow, state: ReportState, who: Principal) -> None:
    who.require(Permission.REPORT_REVIEW if state is ReportState.IN_REVIEW else Permission.REPORT_DRAFT)
    writer = row.reviewer if state is ReportState.IN_REVIEW else row.author
    if writer and writer != who.subject:
        name = row.reviewer_name if state is ReportState.IN_REVIEW else row.author_name
        raise Denied(f"The report is with {name} now.", rule="writer")


def _check_version(row: ReportRow, version: int) -> None:
    if row.version != version:
        raise ReportChanged(
            f"The report has moved on to version {row.version} since you read version {version}: compare and save again.",
            version=row.version,
        )


async def _advance(
    desk: Desk,
    session: AsyncSession,
    who: Principal,
    row: ReportRow,
    act_name: str,
    after: ReportState,
    now: datetime,
    reason: str,
) -> None:
    row.version += 1
    row.state = after.value
    row.updated_at = now
    session.add(row)
    session.add(
        ReportVersionRow(
            id=new_ulid(),
            report=row.id,
            version=row.version,
            at=now,
            by=who.subject,
            by_name=who.name,
            act=act_name,
            state=row.state,
            sections=row.sections,
            key_images=row.key_images,
            language=row.language,
            reason=reason,
        )
    )
    await add_event(
        session,
        EventType.REPORT_CHANGED,
        tenant=row.tenant_id,
        subject=row.id,
        data={"consultation_id": row.consultation, "state": row.state, "version": row.version},
    )


async def _reauthenticate(desk: Desk, who: Principal, password: str) -> None:
    """Ask the gateway, which alone holds passwords, whether this is the signer's own."""
    try:
        await desk.platform.services.call(
            "gateway",
            "POST",
            f"/internal/v1/users/{who.subject}/verify-password",
            tenant=who.tenant,
            caller="consult",
            json={"password": password},
        )
    except Denied as problem:
        raise SignatureRefused("The password is not right; nothing was signed.", rule="wrong password") from problem
