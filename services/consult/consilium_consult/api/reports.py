"""``/api/v1/reports``: the text, its acts, its trace, its print."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from consilium_consult.adapters.printing import Printed, Printer
from consilium_consult.domain.report import ReportVerb
from consilium_consult.flow import reports
from consilium_consult.flow.common import Desk
from consilium_consult.settings import zone_of
from consilium_consult.wire import (
    AddendumBody,
    Change,
    PasswordBody,
    ReasonBody,
    Report,
    ReportEdit,
    Version,
    Wire,
    change_wire,
    report_wire,
    version_wire,
)
from consilium_core.roles import Permission, Principal
from consilium_platform.http.auth import authorize, require

IfMatch = Annotated[str | None, Header()]


class ReportPage(Wire):
    """A page of reports."""

    items: list[Report]
    next_cursor: str | None


class VersionList(Wire):
    """All versions of a report."""

    items: list[Version]


class ChangeList(Wire):
    """The trace of a report."""

    items: list[Change]


async def writer(request: Request) -> Principal:
    """Return a caller who drafts or reviews; which of the two is needed depends on the report's state."""
    who = await authorize(request, Permission.REPORT_READ)
    if who.may(Permission.REPORT_REVIEW):
        return who
    return await authorize(request, Permission.REPORT_DRAFT)


def reports_router(desk: Desk, printer: Printer) -> APIRouter:
    """Return the router bound to its desk and printer."""
    router = APIRouter(prefix="/api/v1/reports", tags=["consult"])

    async def whole(report_id: str, who: Principal, response: Response) -> Report:
        row, patient, addenda = await reports.get_report(desk, who, report_id)
        wire = report_wire(row, patient, addenda)
        response.headers["ETag"] = wire.etag
        return wire

    def version_of(header: str | None) -> int | None:
        return reports.parse_if_match(header) if header else None

    @router.get("")
    async def list_reports(
        state: Annotated[list[str], Query(max_length=10)] = [],  # noqa: B006 - FastAPI copies it
        cursor: Annotated[str | None, Query(max_length=26)] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        who: Principal = Depends(require(Permission.REPORT_READ)),
    ) -> ReportPage:
        rows, following = await reports.list_reports(desk, who, state, cursor, limit)
        return ReportPage(items=[report_wire(r, p) for r, p in rows], next_cursor=following)

    @router.get("/{report_id}")
    async def get_report(
        report_id: str, response: Response, who: Principal = Depends(require(Permission.REPORT_READ))
    ) -> Report:
        return await whole(report_id, who, response)

    @router.put("/{report_id}")
    async def save_report(
        report_id: str,
        body: ReportEdit,
        response: Response,
        if_match: IfMatch = None,
        who: Principal = Depends(writer),
    ) -> Report:
        edit = reports.Edit(
            body.sections.model_dump(), [image.model_dump() for image in body.key_images], body.language, body.reason
        )
        await reports.save(desk, who, report_id, reports.parse_if_match(if_match), edit)
        return await whole(report_id, who, response)

    @router.post("/{report_id}/submit")
    async def submit_report(
        report_id: str,
        response: Response,
        body: ReasonBody | None = None,
        if_match: IfMatch = None,
        who: Principal = Depends(require(Permission.REPORT_DRAFT)),
    ) -> Report:
        await reports.act(desk, who, report_id, ReportVerb.SUBMIT, version=version_of(if_match))
        return await whole(report_id, who, response)

    @router.post("/{report_id}/review")
    async def review_report(
        report_id: str,
        response: Response,
        body: ReasonBody | None = None,
        who: Principal = Depends(require(Permission.REPORT_REVIEW)),
    ) -> Report:
        await reports.act(desk, who, report_id, ReportVerb.REVIEW)
        return await whole(report_id, who, response)

    @router.post("/{report_id}/return")
    async def return_report(
        report_id: str,
        body: ReasonBody,
        response: Response,
        if_match: IfMatch = None,
        who: Principal = Depends(require(Permission.REPORT_REVIEW)),
    ) -> Report:
        await reports.act(desk, who, report_id, ReportVerb.RETURN, reason=body.reason, version=version_of(if_match))
        return await whole(report_id, who, response)

    @router.post("/{report_id}/sign")
    async def sign_report(
        report_id: str,
        body: PasswordBody,
        response: Response,
        if_match: IfMatch = None,
        who: Principal = Depends(require(Permission.REPORT_SIGN)),
    ) -> Report:
        await reports.sign(desk, who, report_id, body.password, reports.parse_if_match(if_match))
        return await whole(report_id, who, response)

    @router.post("/{report_id}/addenda", status_code=201)
    async def add_addendum(
        report_id: str,
        body: AddendumBody,
        response: Response,
        who: Principal = Depends(require(Permission.REPORT_SIGN)),
    ) -> Report:
        await reports.add_addendum(desk, who, report_id, body.text, body.password)
        return await whole(report_id, who, response)

    @router.get("/{report_id}/versions")
    async def versions(report_id: str, who: Principal = Depends(require(Permission.REPORT_READ))) -> VersionList:
        return VersionList(items=[version_wire(row) for row in await reports.versions_of(desk, who, report_id)])

    @router.get("/{report_id}/changes")
    async def changes(report_id: str, who: Principal = Depends(require(Permission.REPORT_READ))) -> ChangeList:
        return ChangeList(items=[change_wire(row) for row in await reports.changes_of(desk, who, report_id)])

    @router.get("/{report_id}/pdf", response_class=Response, responses={200: {"content": {"application/pdf": {}}}})
    async def print_report(report_id: str, who: Principal = Depends(require(Permission.REPORT_READ))) -> Response:
        row, patient, addenda = await reports.get_report(desk, who, report_id)
        case = await reports.consultation_of(desk, who, row)
        zone = zone_of(desk.settings.time_zone)
        report = report_wire(row, patient, addenda)
        printed = Printed(report, case.question, case.accession_number, case.requested_by_name, zone)
        document = await printer.print(printed)
        await desk.platform.audit.act(who, "report.print", subject=row.id, patient_id=patient.patient_id)
        headers = {"Content-Disposition": f'inline; filename="report-{row.id}.pdf"', "Cache-Control": "no-store"}
        return Response(document, media_type="application/pdf", headers=headers)

    return router
