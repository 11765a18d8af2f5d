"""The page of a printed report: A4, labels in Chinese and English, laid out by reportlab with an embedded font."""

from __future__ import annotations

import os
from datetime import UTC, datetime, tzinfo
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFError, TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import HRFlowable, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from consilium_consult.adapters.printing import Printed
from consilium_consult.errors import FontMissing
from consilium_consult.wire import Report

FONT = "ConsiliumText"
_LABELS = {
    "title": "会诊报告 Consultation report",
    "patient": "患者 Patient",
    "id": "患者编号 ID",
    "birth": "出生日期 Birth date",
    "sex": "性别 Sex",
    "number": "报告编号 Report no.",
    "accession": "检查号 Accession",
    "requested": "申请医师 Requested by",
    "question": "会诊问题 Question",
    "findings": "影像所见 Findings",
    "impression": "诊断意见 Impression",
    "recommendation": "建议 Recommendation",
    "images": "关键图像 Key images",
    "author": "报告医师 Author",
    "reviewer": "审核医师 Reviewer",
    "signed": "签名 Signed",
    "addendum": "补充报告 Addendum",
    "draft": "草稿，未签名，不得作为诊断依据 DRAFT, not signed, not for diagnosis",
}
_SEX = {"M": "男 Male", "F": "女 Female", "O": "其他 Other", "": "-"}


def has_font() -> bool:
    """Say whether the font is registered in this process."""
    return FONT in pdfmetrics.getRegisteredFontNames()


def use_font(file: Path) -> None:
    """Register the font; raise FontMissing when it can't be read."""
    try:
        pdfmetrics.registerFont(TTFont(FONT, os.fspath(file)))
    except TTFError as problem:
        raise FontMissing("The report font can't be read: set CONSILIUM_CONSULT_FONT_FILE.") from problem


def _style(name: str, size: float, **more: Any) -> ParagraphStyle:
    return ParagraphStyle(name, fontName=FONT, fontSize=size, leading=size * 1.5, wordWrap="CJK", **more)


def _paragraphs(text: str, style: ParagraphStyle) -> list[Paragraph]:
    return [Paragraph(escape(line) or "&nbsp;", style) for line in text.splitlines() or ["-"]]


def render(printed: Printed) -> bytes:
    """Lay the report out; deterministic (reportlab's ``invariant``), so that the same content gives the same bytes."""
    report = printed.report
    body, small = _style("body", 10.5), _style("small", 8, textColor=colors.HexColor("#555555"))
    heading = _style("heading", 11.5, spaceBefore=4 * mm, spaceAfter=1 * mm, textColor=colors.HexColor("#0b4a6f"))
    signed = report.signed_at is not None
    story: list[Any] = [Paragraph(_LABELS["title"], _style("title", 17, alignment=1, spaceAfter=4 * mm))]
    if not signed:
        story.append(
            Paragraph(_LABELS["draft"], _style("draft", 10, alignment=1, textColor=colors.HexColor("#a40000")))
        )
    story += [
        _patient_table(printed, body),
        Spacer(1, 2 * mm),
        HRFlowable(width="100%", color=colors.HexColor("#999999")),
        Paragraph(_LABELS["question"], heading),
        *_paragraphs(printed.question, body),
    ]
    for name in ("findings", "impression", "recommendation"):
        story += [Paragraph(_LABELS[name], heading), *_paragraphs(getattr(report.sections, name), body)]
    if report.key_images:
        story.append(Paragraph(_LABELS["images"], heading))
        story += [
            Paragraph(f"{n}. {escape(image.sop_instance_uid)} / {image.frame}", small)
            for n, image in enumerate(report.key_images, 1)
        ]
    for addendum in report.addenda:
        stamp = f"{addendum.signed_by.name}, {_local(addendum.signed_at, printed.zone)}"
        story += [Paragraph(_LABELS["addendum"], heading), *_paragraphs(addendum.text, body)]
        story += [Paragraph(escape(stamp), small), Paragraph(f"SHA-256 {addendum.hash}", small)]
    story += [Spacer(1, 6 * mm), *_signatures(printed, body, small)]
    output = BytesIO()
    document = SimpleDocTemplate(
        output,
        pagesize=A4,
        leftMargin=20 * mm,
        rightMargin=20 * mm,
        topMargin=18 * mm,
        bottomMargin=20 * mm,
        title="Consultation report",
        author="consilium",
        invariant=1,
    )
    footer = partial(_footer, report)
    document.build(story, onFirstPage=footer, onLaterPages=footer)
    return output.getvalue()


def _local(at: datetime, zone: tzinfo) -> str:
    """Return the moment as a clock on the hospital's wall shows it, with its offset."""
    return f"{(at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(zone):%Y-%m-%d %H:%M:%S UTC%z}"


def _patient_table(printed: Printed, style: ParagraphStyle) -> Table:
    report, p = printed.report, printed.report.patient
    name = " ".join(part for part in (p.name.ideographic.replace("^", ""), p.name.family, p.name.given) if part)
    birth = f"{p.birth_date[:4]}-{p.birth_date[4:6]}-{p.birth_date[6:]}" if p.birth_date else "-"
    cells = [
        (_LABELS["patient"], name, _LABELS["id"], p.patient_id),
        (_LABELS["birth"], birth, _LABELS["sex"], _SEX[p.sex]),
        (_LABELS["accession"], printed.accession_number or "-", _LABELS["requested"], printed.requested_by),
        (_LABELS["number"], report.id, "", ""),
    ]
    rows = [[Paragraph(escape(text), style) for text in row] for row in cells]
    table = Table(rows, colWidths=[34 * mm, 56 * mm, 30 * mm, 50 * mm])
    table.setStyle(
        TableStyle(
            [("VALIGN", (0, 0), (-1, -1), "TOP"), ("SPAN", (1, 3), (3, 3)), ("LEFTPADDING", (0, 0), (-1, -1), 0)]
        )
    )
    return table


def _signatures(printed: Printed, body: ParagraphStyle, small: ParagraphStyle) -> list[Paragraph]:
    report = printed.report
    lines: list[Paragraph] = []
    for label, person in (("author", report.author), ("reviewer", report.reviewer)):
        if person is not None:
            lines.append(Paragraph(f"{_LABELS[label]}: {escape(person.name)}", body))
    if report.signed_by is not None and report.signed_at is not None:
        stamp = _local(report.signed_at, printed.zone)
        lines.append(Paragraph(f"{_LABELS['signed']}: {escape(report.signed_by.name)}, {stamp}", body))
        lines.append(Paragraph(f"SHA-256 {report.hash}", small))
    return lines


def _footer(report: Report, canvas: Canvas, document: SimpleDocTemplate) -> None:
    canvas.saveState()
    canvas.setFont(FONT, 8)
    canvas.setFillColor(colors.HexColor("#555555"))
    canvas.drawString(20 * mm, 12 * mm, f"consilium  {report.id}  v{report.version}")
    canvas.drawRightString(A4[0] - 20 * mm, 12 * mm, f"{document.page}")
    canvas.restoreState()
