"""Turn stored objects into index rows; the only place where a header's words become columns."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from consilium_archive.dicom_json import series_attributes, set_of, study_attributes
from consilium_archive.names import name_key, search_text
from consilium_archive.stages import Stored
from consilium_dicom.header import Header

Row = dict[str, Any]


def study_row(header: Header, tenant: str, at: datetime) -> Row:
    """Return a new study without any instance."""
    name = header.patient_name
    return {
        "tenant_id": tenant,
        "study_uid": header.study_uid,
        "patient_id": header.patient_id[:128],
        "issuer": header.issuer_of_patient_id[:128],
        "patient_name": str(name),
        "patient_key": name_key(name),
        "birth_date": header.birth_date[:16],
        "sex": header.sex[:16],
        "study_date": plain_date(header.study_date),
        "study_time": header.study_time[:32],
        "accession_number": header.accession_number[:64],
        "study_id": header.study_id[:64],
        "description": header.study_description,
        "referring_key": name_key(header.referring_physician),
        "search_text": search_text(
            name.alphabetic, name.ideographic, name.phonetic, header.patient_id, header.accession_number,
            header.study_description,
        ),
        "modalities": "",
        "sop_classes": "",
        "series_count": 0,
        "instance_count": 0,
        "attributes": study_attributes(header),
        "received_at": at,
        "updated_at": at,
    }  # fmt: skip


_OF_PATIENT = ("patient_id", "issuer", "patient_name", "patient_key", "birth_date", "sex")


def patient_columns(header: Header, attributes: str, searched: str) -> Row:
    """Return what changes in a study's row when ``header`` names its patient; what else the study says of itself stays."""
    new = study_row(header, "", datetime.now(UTC))
    named: Row = json.loads(f"{{{new['attributes']}}}")
    merged_in = json.loads(f"{{{attributes}}}") | {tag: value for tag, value in named.items() if tag.startswith("0010")}
    return {name: new[name] for name in _OF_PATIENT} | {
        "attributes": json.dumps(merged_in, ensure_ascii=False, separators=(",", ":"))[1:-1],
        "search_text": f"{searched.rstrip()}{new['search_text']}",
    }


def plain_date(value: str) -> str:
    """Return a DA as YYYYMMDD; the old form YYYY.MM.DD (PS3.5 6.2, ACR-NEMA) loses its dots, so that ranges find it."""
    return value.split("\\", maxsplit=1)[0].replace(".", "")[:16]


def series_row(header: Header, tenant: str, count: int, at: datetime) -> Row:
    """Return a series with its first ``count`` instances."""
    return {
        "tenant_id": tenant,
        "study_uid": header.study_uid,
        "series_uid": header.series_uid,
        "modality": header.modality[:16],
        "number": header.series_number if _fits(header.series_number) else None,
        "description": header.series_description,
        "body_part": header.body_part[:32],
        "series_date": plain_date(header.series_date),
        "series_time": header.series_time[:32],
        "instance_count": count,
        "attributes": series_attributes(header),
        "received_at": at,
    }


def instance_row(stored: Stored, at: datetime) -> Row:
    """Return the instance's row."""
    valid, header = stored.validated, stored.validated.header
    return {
        "tenant_id": valid.received.tenant,
        "study_uid": header.study_uid,
        "series_uid": header.series_uid,
        "sop_instance_uid": header.sop_instance_uid,
        "sop_class_uid": header.sop_class_uid,
        "transfer_syntax_uid": header.transfer_syntax_uid,
        "number": header.instance_number if _fits(header.instance_number) else None,
        "rows": header.rows,
        "columns": header.columns,
        "frames": header.frames,
        "sha256": valid.sha256,
        "size_bytes": valid.size_bytes,
        "origin": valid.received.origin.kind,
        "summary": valid.summary,
        "metadata": valid.metadata.data,
        "metadata_bytes": valid.metadata.plain_bytes,
        "metadata_adler": valid.metadata.adler,
        "frame_index": valid.frame_index,
        "received_at": at,
    }


def _fits(number: int | None) -> bool:
    return number is not None and -(2**31) <= number < 2**31


def event_data(stored: Stored) -> Row:
    """Return the data of ``instance.stored``: ids only (docs/architecture.md section 4)."""
    header = stored.validated.header
    return {
        "study_uid": header.study_uid,
        "series_uid": header.series_uid,
        "sop_class_uid": header.sop_class_uid,
        "modality": header.modality,
        "frames": header.frames,
        **stored.validated.received.origin.facts(),
    }


def merged(members: str, more: list[str]) -> str:
    """Return a written set with more members."""
    return set_of([*members.split("\\"), *more])
