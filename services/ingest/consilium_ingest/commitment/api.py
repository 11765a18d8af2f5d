"""The DICOMweb resource ``/dicomweb/commitment-requests/{transactionUID}`` (PS3.18 13.4, 13.5) and people's receipts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse

from consilium_archive.commitment import Verdict
from consilium_core.roles import Permission, Principal
from consilium_dicom.json_read import parse_metadata
from consilium_dicom.uids import is_valid_uid
from consilium_ingest.commitment.desk import CommitmentDesk, Signed
from consilium_ingest.commitment.errors import CommitmentInvalid, CommitmentTooLarge, ReceiptKeyMissing
from consilium_ingest.commitment.page import HEADERS, receipt_page
from consilium_ingest.commitment.transactions import MAX_REQUEST_BYTES, Ask, Transaction, ask_of, result_of
from consilium_ingest.commitment.wire import ReceiptDocument, StateName, TransactionOut, TransactionPage
from consilium_ingest.commitment.words import Language
from consilium_ingest.errors import AnswerNotAcceptable, MediaTypeUnsupported, UidInvalid
from consilium_ingest.multipart import DICOM_JSON, media_type
from consilium_platform.http.auth import require
from consilium_platform.http.straight import body_of

JOSE = "application/jose"
_LATER_S = 5


def commitment_router(desk: CommitmentDesk) -> APIRouter:
    """Return the two addresses of the DICOMweb resource."""
    router = APIRouter(tags=["commitment"])
    sender = require(Permission.STUDY_STORE)

    @router.post("/dicomweb/commitment-requests/{transaction_uid}")
    async def commit(transaction_uid: str, request: Request, who: Principal = Depends(sender)) -> Response:
        kind = _wanted(request)
        ask = await _asked(request, _uid(transaction_uid))
        return await _answer(desk, who, await desk.ask(who, ask), kind)

    @router.get("/dicomweb/commitment-requests/{transaction_uid}")
    async def check(transaction_uid: str, request: Request, who: Principal = Depends(sender)) -> Response:
        kind = _wanted(request)
        return await _answer(desk, who, await desk.look(who, _uid(transaction_uid)), kind)

    return router


def receipt_router(desk: CommitmentDesk) -> APIRouter:
    """Return the addresses of people: transactions, receipts and their printable pages."""
    router = APIRouter(prefix="/api/v1/ingest/storage", tags=["ingest"])
    reader = require(Permission.RECEIPT_READ)

    @router.get("/transactions")
    async def transactions(
        response: Response,
        state: StateName | Literal[""] = "",
        cursor: Annotated[str, Query(max_length=26, pattern="^[0-9A-Z]*$")] = "",
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        who: Principal = Depends(reader),
    ) -> TransactionPage:
        items, following = await desk.rows.page(who.tenant, state, cursor, limit)
        await desk.audit.act(who, "transaction.view", detail=f"{len(items)} transactions")
        response.headers["Cache-Control"] = "no-store"
        return TransactionPage(items=[TransactionOut.model_validate(one) for one in items], next_cursor=following)

    @router.get("/transactions/{transaction_uid}/receipt", response_model=ReceiptDocument)
    async def of_transaction(transaction_uid: str, who: Principal = Depends(reader)) -> Response:
        return await _document(await desk.transaction_receipt(who, _uid(transaction_uid)))

    @router.get("/transactions/{transaction_uid}/receipt/page", response_class=HTMLResponse)
    async def transaction_page(
        transaction_uid: str, language: Language = "zh-CN", who: Principal = Depends(reader)
    ) -> HTMLResponse:
        return await _page(desk, await desk.transaction_receipt(who, _uid(transaction_uid)), language)

    @router.get("/studies/{study_uid}/receipt", response_model=ReceiptDocument)
    async def of_study(study_uid: str, who: Principal = Depends(reader)) -> Response:
        return await _document(await desk.study_receipt(who, _uid(study_uid)))

    @router.get("/studies/{study_uid}/receipt/page", response_class=HTMLResponse)
    async def study_page(
        study_uid: str, language: Language = "zh-CN", who: Principal = Depends(reader)
    ) -> HTMLResponse:
        return await _page(desk, await desk.study_receipt(who, _uid(study_uid)), language)

    return router


def _uid(text: str) -> str:
    if not is_valid_uid(text):
        raise UidInvalid("The path does not name a UID.")
    return text


def _wanted(request: Request) -> str:
    """Return the media type of the answer: DICOM JSON, or the signed receipt where only ``application/jose`` is accepted."""
    accepted = {media_type(part)[0] for part in request.headers.get("accept", "*/*").split(",")}
    if accepted & {"", "*/*", "application/*", DICOM_JSON, "application/json"}:
        return DICOM_JSON
    if JOSE in accepted:
        return JOSE
    raise AnswerNotAcceptable(f"Answers are {DICOM_JSON} or {JOSE}.")


async def _asked(request: Request, transaction_uid: str) -> Ask:
    kind, _ = media_type(request.headers.get("content-type", ""))
    if kind != DICOM_JSON:
        raise MediaTypeUnsupported(f"Send {DICOM_JSON}, not {kind[:60] or 'nothing'}.")
    body = bytearray()
    async for data, _ in body_of(request):
        body += data
        if len(body) > MAX_REQUEST_BYTES:
            raise CommitmentTooLarge(f"A request has at most {MAX_REQUEST_BYTES} bytes: send several transactions.")
    return await asyncio.to_thread(_read, body, transaction_uid)


def _read(body: bytearray, transaction_uid: str) -> Ask:
    found = parse_metadata(body)
    if len(found) != 1:
        raise CommitmentInvalid("The body is one DICOM JSON object.")
    return ask_of(found[0], transaction_uid)


async def _answer(desk: CommitmentDesk, who: Principal, known: Transaction, kind: str) -> Response:
    if known.verdicts is None:
        return Response(status_code=202, headers={"Retry-After": str(_LATER_S), "Cache-Control": "no-store"})
    headers = {"Cache-Control": "no-store"}
    if kind == JOSE:
        signed = await desk.transaction_receipt(who, known.ask.transaction_uid)
        return Response(signed.jws, 200, headers, JOSE)
    body = await asyncio.to_thread(_result, known.verdicts)
    return Response(body, 200, headers, DICOM_JSON)


def _result(verdicts: Sequence[Verdict]) -> str:
    return json.dumps(result_of(verdicts, comments=True), ensure_ascii=False)


async def _document(signed: Signed) -> Response:
    """Return a ReceiptDocument; the thread writes its JSON: the framework's own way takes the loop for as long as that lasts."""
    document = ReceiptDocument.model_construct(receipt=signed.content, jws=signed.jws)
    body = await asyncio.to_thread(document.model_dump_json)
    return Response(body, 200, {"Cache-Control": "no-store"}, "application/json")


async def _page(desk: CommitmentDesk, signed: Signed, language: Language) -> HTMLResponse:
    if desk.signer is None:
        raise ReceiptKeyMissing("This process has no key that receipts are signed with.")
    key, studies = desk.signer.key, signed.studies
    page = await asyncio.to_thread(receipt_page, signed.content, signed.jws, key, studies, language)
    return HTMLResponse(page, 200, HEADERS)
