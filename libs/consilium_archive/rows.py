"""Turn stored objects into index rows; the only place where a header's words become columns."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from consilium_archive.dicom_json import series_attributes, set_of, study_attributes
from consilium_archive.names import fuzzy_key, name_key, search_text, sort_key
from consilium_archive.stages import Stored
from consilium_dicom.header import Header
from consilium_dicom.person_name import PersonName

Row = dict[str, Any]
KEY_VERSION = 1
"""Of the keys that a study is found by; rows with an older one are given new keys by ``refresh``."""


@dataclass(frozen=True, slots=True)
class NameKeys:
    """What a person is found by."""

    name: str
    fuzzy: str
    search_text: str
    sort: str


@lru_cache(maxsize=1024)
def keys_of(name: PersonName) -> NameKeys:
    """Return the keys of a name; the instances of a study ask for the same one."""
    return NameKeys(name_key(name), fuzzy_key(name), search_text(name), sort_key(name))


def study_row(header: Header, tenant: str, at: datetime) -> Row:
    """Return a new study without any instance."""
    name = header.patient_name
    keys = keys_of(name)
    referring = header.referring_physician
    words = search_text(PersonName(), header.patient_id, header.accession_number, header.study_description)
    return {
        "tenant_id": tenant,
        "study_uid": header.study_uid,
        "patient_id": header.patient_id[:128],
        "issuer": header.issuer_of_patient_id[:128],
        "patient_name": str(name),
        "patient_key": keys.name,
        "birth_date": header.birth_date[:16],
        "sex": header.sex[:16],
        "study_date": plain_date(header.study_date),
        "study_time": header.study_time[:32],
        "accession_number": header.accession_number[:64],
        "study_id": header.study_id[:64],
        "description": header.study_description,
        "referring_key": keys_of(referring).name,
        "search_text": keys.search_text + keys_of(referring).search_text[1:] + words[1:],
        "name_sort": keys.sort,
        "fuzzy_key": keys.fuzzy,
        "key_version": KEY_VERSION,
        "modalities": "",
        "sop_classes": "",
        "series_count": 0,
        "instance_count": 0,
        "attributes": study_attributes(header),
        "received_at": at,
        "updated_at": at,
    }  # fmt: skip


_OF_PATIENT = (
    "patient_id", "issuer", "patient_name", "patient_key", "birth_date", "sex", "name_sort", "fuzzy_key", "key_version",
)  # fmt: skip


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
        "step_date": plain_date(header.step_date),
        "step_time": header.step_time[:32],
        "instance_count": count,
        "attributes": series_attributes(header),
        "received_at": at,
    }


def item_rows(stored: Stored) -> list[Row]:
    """Return the rows of the values inside the sequences of a series' first instance."""
    header, tenant = stored.validated.header, stored.validated.received.tenant
    return [
        {
            "tenant_id": tenant, "study_uid": header.study_uid, "series_uid": header.series_uid,
            "path": one.path, "number": one.number, "value": one.value,
        }
        for one in stored.validated.items
    ]  # fmt: skip


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
        "sender": valid.received.origin.sender[:128],
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
