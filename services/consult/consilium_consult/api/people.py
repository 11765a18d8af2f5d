"""``/api/v1/patients`` and ``/api/v1/consultations``."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from consilium_consult.domain.consultation import PERMISSION, Verb
from consilium_consult.domain.patient import PersonName
from consilium_consult.flow import consultations, patients
from consilium_consult.flow.common import Desk
from consilium_consult.wire import (
    Consultation,
    NewConsultation,
    NewPatient,
    Patient,
    ReasonBody,
    StartBody,
    Wire,
    consultation_wire,
    patient_wire,
)
from consilium_core.roles import Permission, Principal
from consilium_platform.http.auth import require

Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str | None, Query(max_length=26)]


class PatientPage(Wire):
    """A page of patients."""

    items: list[Patient]
    next_cursor: str | None


class ConsultationPage(Wire):
    """A page of consultations (without their histories)."""

    items: list[Consultation]
    next_cursor: str | None


def people_router(desk: Desk) -> APIRouter:
    """Return the router bound to its desk."""
    router = APIRouter(prefix="/api/v1", tags=["consult"])

    @router.get("/patients")
    async def search_patients(
        q: Annotated[str, Query(max_length=100)] = "",
        cursor: Cursor = None,
        limit: Limit = 50,
        who: Principal = Depends(require(Permission.PATIENT_READ)),
    ) -> PatientPage:
        rows, following = await patients.search_patients(desk, who, q, cursor, limit)
        return PatientPage(items=[patient_wire(row) for row in rows], next_cursor=following)

    @router.post("/patients", status_code=201)
    async def add_patient(body: NewPatient, who: Principal = Depends(require(Permission.PATIENT_WRITE))) -> Patient:
        name = PersonName(body.name.family, body.name.given, body.name.ideographic, body.name.phonetic)
        row = await patients.add_patient(
            desk,
            who,
            patient_id=body.patient_id,
            issuer=body.issuer,
            name=name,
            birth_date=body.birth_date,
            sex=body.sex,
        )
        return patient_wire(row)

    @router.get("/patients/{patient_id}")
    async def get_patient(patient_id: str, who: Principal = Depends(require(Permission.PATIENT_READ))) -> Patient:
        return patient_wire(await patients.get_patient(desk, who, patient_id))

    @router.get("/consultations")
    async def list_consultations(
        state: Annotated[list[str], Query(max_length=10)] = [],  # noqa: B006 - FastAPI copies it
        mine: bool = False,
        cursor: Cursor = None,
        limit: Limit = 50,
        who: Principal = Depends(require(Permission.CONSULT_READ)),
    ) -> ConsultationPage:
        rows, following = await consultations.list_consultations(
            desk, who, states=state, mine=mine, cursor=cursor, limit=limit
        )
        return ConsultationPage(items=[consultation_wire(c, p) for c, p in rows], next_cursor=following)

    @router.post("/consultations", status_code=201)
    async def request_consultation(
        body: NewConsultation, who: Principal = Depends(require(Permission.CONSULT_REQUEST))
    ) -> Consultation:
        asked = consultations.Request(
            body.patient_id, body.question, body.urgency, body.kind, body.site_id, body.study_uid, body.accession_number
        )
        row, _patient = await consultations.request_consultation(desk, who, asked)
        return await _whole(row.id, who)

    @router.get("/consultations/{consultation_id}")
    async def get_consultation(
        consultation_id: str, who: Principal = Depends(require(Permission.CONSULT_READ))
    ) -> Consultation:
        return await _whole(consultation_id, who)

    async def _whole(consultation_id: str, who: Principal) -> Consultation:
        row, patient, history = await consultations.get_consultation(desk, who, consultation_id)
        return consultation_wire(row, patient, history)

    def add_verb(verb: Verb) -> None:
        model: Any = StartBody if verb is Verb.START else ReasonBody

        async def endpoint(
            consultation_id: str,
            body: model | None = None,
            who: Principal = Depends(require(PERMISSION[verb])),
        ) -> Consultation:
            facts: dict[str, str] = body.model_dump() if body is not None else {}
            await consultations.move(
                desk, who, consultation_id, verb, reason=facts.get("reason", ""), site_id=facts.get("site_id", "")
            )
            return await _whole(consultation_id, who)

        endpoint.__annotations__ = {
            "consultation_id": str,
            "body": model | None,
            "who": Principal,
            "return": Consultation,
        }
        path = f"/consultations/{{consultation_id}}/{verb.value}"
        router.add_api_route(
            path, endpoint, methods=["POST"], name=f"{verb.value}_consultation", response_model=Consultation
        )

    for verb in PERMISSION:
        add_verb(verb)
    return router
