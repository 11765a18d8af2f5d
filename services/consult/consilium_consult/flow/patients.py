"""Enter and find patients."""

from __future__ import annotations

from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select

from consilium_consult.domain.patient import PersonName, search_text
from consilium_consult.errors import PatientExists
from consilium_consult.flow.common import Desk, audit_patients, find_patient
from consilium_consult.rows import PatientRow
from consilium_core.ids import new_ulid
from consilium_core.roles import Principal


async def add_patient(
    desk: Desk, who: Principal, *, patient_id: str, issuer: str, name: PersonName, birth_date: str, sex: str
) -> PatientRow:
    """Store a new patient; raise PatientExists when the hospital's number is taken."""
    row = PatientRow(
        id=new_ulid(),
        tenant_id=who.tenant,
        patient_id=patient_id,
        issuer=issuer,
        family=name.family,
        given=name.given,
        ideographic=name.ideographic,
        phonetic=name.phonetic,
        birth_date=birth_date,
        sex=sex,
        search_text=search_text(name, patient_id),
        created_at=desk.platform.clock.now(),
    )
    try:
        async with desk.platform.database.write() as session:
            session.add(row)
            await session.flush()
            await desk.platform.audit.within(session, who, "patient.create", subject=row.id, patient_id=patient_id)
    except IntegrityError as problem:
        raise PatientExists("A patient with this number is already here: open that one.") from problem
    return row


async def get_patient(desk: Desk, who: Principal, patient_id: str) -> PatientRow:
    """Return one patient; the view is audited."""
    async with desk.platform.database.read() as session:
        row = await find_patient(session, who, patient_id)
    await desk.platform.audit.act(who, "patient.view", subject=row.id, patient_id=row.patient_id)
    return row


async def search_patients(
    desk: Desk, who: Principal, words: str, cursor: str | None, limit: int
) -> tuple[list[PatientRow], str | None]:
    """Return patients whose every word is found in id, names or pinyin, newest first, and the next cursor."""
    query = select(PatientRow).where(col(PatientRow.tenant_id) == who.tenant)
    for word in words.lower().split():
        escaped = word.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
        query = query.where(col(PatientRow.search_text).like(f"%{escaped}%", escape="\\"))
    if cursor:
        query = query.where(col(PatientRow.id) < cursor)
    async with desk.platform.database.read() as session:
        rows = list((await session.execute(query.order_by(col(PatientRow.id).desc()).limit(limit + 1))).scalars())
    more = len(rows) > limit
    rows = rows[:limit]
    await audit_patients(desk, who, "patient.search", rows)
    return rows, rows[-1].id if more else None
