"""``/internal/v1`` of consult: what other services must know of a consultation. Service tokens only; the gateway leads nobody here."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from consilium_consult.domain.patient import PersonName
from consilium_consult.flow import consultations
from consilium_consult.flow.common import Desk
from consilium_consult.wire import Wire
from consilium_core.roles import Permission, Principal
from consilium_platform.http.auth import require

LOOKUP = "consultation.lookup"  # in the audit trail: a service asked, nobody has seen it


class BookedPatient(Wire):
    """Whose consultation it is: as DICOM writes it (PN, DA, CS), so that an archive can be sure."""

    patient_id: str
    issuer: str
    name: str
    birth_date: str
    sex: str


class Booking(Wire):
    """One consultation as imaging needs it; ``study_uid`` may not be stored yet."""

    id: str
    state: str
    study_uid: str
    patient: BookedPatient


def internal_router(desk: Desk) -> APIRouter:
    """Return the router bound to its desk."""
    router = APIRouter(prefix="/internal/v1", include_in_schema=False)

    @router.get("/consultations/{consultation_id}")
    async def get_booking(consultation_id: str, who: Principal = Depends(require(Permission.INTERNAL))) -> Booking:
        row, patient, _ = await consultations.get_consultation(desk, who, consultation_id, action=LOOKUP)
        name = PersonName(patient.family, patient.given, patient.ideographic, patient.phonetic)
        person = BookedPatient(
            patient_id=patient.patient_id, issuer=patient.issuer, name=name.as_pn(), birth_date=patient.birth_date,
            sex=patient.sex,
        )  # fmt: skip
        return Booking(id=row.id, state=row.state, study_uid=row.study_uid, patient=person)

    return router
