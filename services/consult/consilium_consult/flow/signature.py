"""What a signature covers, and whether a signed report still says it: everything that is shown or printed of the report itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from consilium_consult.domain import report as rules
from consilium_consult.domain.report import ReportState
from consilium_consult.errors import SignatureBroken
from consilium_consult.rows import PatientRow, ReportRow
from consilium_core.clock import iso


def signed_content(row: ReportRow, patient: PatientRow, signed_at: datetime, version: int) -> dict[str, Any]:
    """Return exactly what the hash covers; ``version`` is the one that the signature makes."""
    return {
        "report": row.id,
        "consultation": row.consultation,
        "version": version,
        "language": row.language,
        "patient": {
            "patient_id": patient.patient_id,
            "issuer": patient.issuer,
            "birth_date": patient.birth_date,
            "family": patient.family,
            "given": patient.given,
            "ideographic": patient.ideographic,
            "phonetic": patient.phonetic,
            "sex": patient.sex,
        },
        "sections": row.sections,
        "key_images": row.key_images,
        "author": row.author,
        "author_name": row.author_name,
        "reviewer": row.reviewer,
        "reviewer_name": row.reviewer_name,
        "signer": row.signed_by,
        "signer_name": row.signed_by_name,
        "signed_at": iso(signed_at),
    }


def check_signature(row: ReportRow, patient: PatientRow) -> None:
    """Raise SignatureBroken when a signed report does not say any more what its hash covers."""
    if row.state != ReportState.SIGNED.value:
        return
    at = row.signed_at
    if at is not None and at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    if at is None or rules.content_hash(signed_content(row, patient, at, row.version)) != row.hash:
        raise SignatureBroken(
            "This report is not what was signed: it was changed in the database. An administrator compares it with its versions.",
            report=row.id,
        )
