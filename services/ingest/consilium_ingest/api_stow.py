"""STOW-RS: ``POST /dicomweb/studies[/{study}]`` (PS3.18 10.5)."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.orm import Session

from consilium_archive.stages import Indexed, Origin
from consilium_archive.writer import ArchiveWriter
from consilium_core.roles import Permission, Principal
from consilium_dicom.uids import is_valid_uid
from consilium_ingest.digest import stated_of
from consilium_ingest.errors import AnswerNotAcceptable, BodyInvalid, MediaTypeUnsupported, NothingReadable
from consilium_ingest.multipart import DICOM_JSON, boundary_of, inner_type, media_type, single, split
from consilium_ingest.settings import IngestSettings
from consilium_ingest.spool import Part, Spool
from consilium_ingest.store_audit import Who, store_entries
from consilium_ingest.stow import Answer, Sender, store_parts
from consilium_ingest.stow_json import response_body, status_of_answers, unreadable
from consilium_ingest.stow_metadata import rebuilt
from consilium_platform.audit import AuditLog, AuditRecord
from consilium_platform.http.auth import require
from consilium_platform.http.plain_route import PlainRoute
from consilium_platform.http.straight import body_of


@dataclass(frozen=True)
class StowDesk:
    """What the endpoint needs of its room."""

    writer: ArchiveWriter
    spool: Spool
    audit: AuditLog
    settings: IngestSettings


def stow_router(desk: StowDesk) -> APIRouter:
    """Return the two STOW-RS addresses."""
    router = APIRouter(route_class=PlainRoute)
    storer = require(Permission.STUDY_STORE)

    @router.post("/dicomweb/studies")
    async def store(request: Request, principal: Principal = Depends(storer)) -> Response:
        return await _store(desk, request, principal, "")

    @router.post("/dicomweb/studies/{study_uid}")
    async def store_into(study_uid: str, request: Request, principal: Principal = Depends(storer)) -> Response:
        if not is_valid_uid(study_uid):
            raise BodyInvalid("The path does not name a Study Instance UID.")
        return await _store(desk, request, principal, study_uid)

    return router


async def _store(desk: StowDesk, request: Request, principal: Principal, study_uid: str) -> Response:
    _check_accept(request.headers.get("accept", "*/*"))
    parts = _parts(request, desk.spool)
    sender = Sender(principal.tenant, study_uid, Origin("stow", sender=principal.subject))
    who = Who(principal.tenant, principal.subject, principal.role.value)
    written: list[AuditRecord] = []

    def audited(session: Session, answers: Sequence[Answer]) -> None:
        written[:] = store_entries(who, answers)
        desk.audit.append(session, written)

    done = await store_parts(desk.writer, parts, sender, audited, in_flight=desk.settings.objects_in_flight)
    answers, entries = done.answers, store_entries(who, done.answers)
    if written != entries:  # nothing new was indexed, or its commit failed: the entries are on their own
        await desk.audit.record_all(entries)
    if done.broken is not None and not any(isinstance(answer, Indexed) for answer in answers):
        raise done.broken
    if unreadable(answers):
        problems = [answer.problem for answer in answers if not isinstance(answer, Indexed)]
        facts, first = [problem.facts for problem in problems], problems[0]
        raise NothingReadable(f"No part of the request can be stored. {first.detail}", parts=facts[:20])
    body = response_body(answers, f"{desk.settings.public_url or str(request.base_url).rstrip('/')}/dicomweb")
    headers = {"Retry-After": "2"} if status_of_answers(answers) == 503 else None
    return Response(json.dumps(body, ensure_ascii=False), status_of_answers(answers), headers, DICOM_JSON)


def _check_accept(accept: str) -> None:
    wanted = {media_type(part)[0] for part in accept.split(",")}
    if not wanted & {"", "*/*", "application/*", DICOM_JSON, "application/json"}:
        raise AnswerNotAcceptable(
            f"Answers are {DICOM_JSON}; the request accepts only {accept[:80]}.", accept=accept[:80]
        )


def _parts(request: Request, spool: Spool) -> AsyncGenerator[Part]:
    kind, parameters = media_type(request.headers.get("content-type", ""))
    if kind == "application/dicom":
        return single(body_of(request), spool, stated_of("", request.headers.get("content-digest", "")))
    if kind != "multipart/related":
        raise MediaTypeUnsupported(
            f'Send multipart/related; type="application/dicom" or application/dicom, not {kind[:60] or "nothing"}.'
        )
    parts = split(body_of(request), boundary_of(parameters), spool)
    return rebuilt(parts, spool, str(request.url)) if inner_type(parameters) == DICOM_JSON else parts
