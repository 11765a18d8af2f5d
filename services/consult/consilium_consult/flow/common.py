"""What every verb of consult is handed: the platform's parts, and rows found within the caller's tenant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from consilium_consult.errors import (
    AlreadyAccepted,
    ConsultationNotFound,
    PatientNotFound,
    ReportLocked,
    ReportNotFound,
)
from consilium_consult.rows import ConsultationRow, PatientRow, ReportRow
from consilium_consult.settings import ConsultSettings
from consilium_core.errors import Denied
from consilium_core.roles import Principal
from consilium_platform.platform import Platform


@dataclass(frozen=True, slots=True)
class Desk:
    """The consult room's tools."""

    platform: Platform
    settings: ConsultSettings


@asynccontextmanager
async def refusals_audited(desk: Desk, who: Principal, action: str, subject: str) -> AsyncIterator[None]:
    """Write an audit entry when the block is refused by a rule of roles, grades or locks; the refusal goes on."""
    try:
        yield
    except (Denied, ReportLocked, AlreadyAccepted) as refusal:
        await desk.platform.audit.act(
            who, action, "denied", subject=subject[:64], detail=f"{refusal.code} {refusal.facts}"[:500]
        )
        raise


async def audit_patients(desk: Desk, who: Principal, action: str, patients: Iterable[PatientRow]) -> None:
    """Record that these patients were shown: one entry each, so that \"who saw this patient\" has an answer."""
    shown = {patient.id: patient.patient_id for patient in patients}
    if not shown:
        await desk.platform.audit.act(who, action, detail="none found")
    await asyncio.gather(
        *(desk.platform.audit.act(who, action, subject=key, patient_id=number) for key, number in shown.items())
    )


async def find_patient(session: AsyncSession, who: Principal, patient_id: str) -> PatientRow:
    """Return the patient by the system's id or raise PatientNotFound."""
    row = await session.get(PatientRow, patient_id)
    if row is None or row.tenant_id != who.tenant:
        raise PatientNotFound("There is no such patient.")
    return row


async def find_consultation(
    session: AsyncSession, who: Principal, consultation_id: str, *, lock: bool = False
) -> ConsultationRow:
    """Return the consultation (locked for this transaction if asked) or raise ConsultationNotFound."""
    query = select(ConsultationRow).where(
        col(ConsultationRow.id) == consultation_id, col(ConsultationRow.tenant_id) == who.tenant
    )
    row = (await session.execute(query.with_for_update() if lock else query)).scalar_one_or_none()
    if row is None:
        raise ConsultationNotFound("There is no such consultation.")
    return row


async def find_report(session: AsyncSession, who: Principal, report_id: str, *, lock: bool = False) -> ReportRow:
    """Return the report (locked for this transaction if asked) or raise ReportNotFound."""
    query = select(ReportRow).where(col(ReportRow.id) == report_id, col(ReportRow.tenant_id) == who.tenant)
    row = (await session.execute(query.with_for_update() if lock else query)).scalar_one_or_none()
    if row is None:
        raise ReportNotFound("There is no such report.")
    return row
