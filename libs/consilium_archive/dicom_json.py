"""The ready-made DICOM JSON of each query level (PS3.18 F.2, tables 10.6.3-3 to -5), made once when an object is stored.

Every function returns the inside of a JSON object, without braces, so that levels are joined as text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from consilium_dicom.header import Header
from consilium_dicom.person_name import PersonName

Element = tuple[str, str, Any]


def _values(text: str) -> list[Any]:
    return [part or None for part in text.split("\\")] if text else []


def _inside(elements: Iterable[Element]) -> str:
    body: dict[str, Any] = {}
    for tag, vr, value in elements:
        element: dict[str, Any] = {"vr": vr}
        if isinstance(value, PersonName):
            found: list[Any] = [value.json()] if value else []
        elif isinstance(value, str):
            found = _values(value)
        else:
            found = [] if value is None else [value]
        if found:
            element["Value"] = found
        body[tag] = element
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))[1:-1]


def study_attributes(header: Header) -> str:
    """Return the study's fixed attributes; ``study_counts`` adds what grows."""
    elements: list[Element] = [
        ("00080020", "DA", header.study_date),
        ("00080030", "TM", header.study_time),
        ("00080050", "SH", header.accession_number),
        ("00080056", "CS", "ONLINE"),
        ("00080090", "PN", header.referring_physician),
        ("00081030", "LO", header.study_description),
        ("00100010", "PN", header.patient_name),
        ("00100020", "LO", header.patient_id),
        ("00100030", "DA", header.birth_date),
        ("00100040", "CS", header.sex),
        ("0020000D", "UI", header.study_uid),
        ("00200010", "SH", header.study_id),
    ]
    if header.issuer_of_patient_id:
        elements.append(("00100021", "LO", header.issuer_of_patient_id))
    if header.timezone_offset:
        elements.append(("00080201", "SH", header.timezone_offset))
    return _inside(elements)


def study_counts(modalities: str, sop_classes: str, series: int, instances: int) -> str:
    """Return ModalitiesInStudy, SOPClassesInStudy and the numbers of related series and instances."""
    return (
        f'"00080061":{{"vr":"CS"{_set(modalities)}}},"00080062":{{"vr":"UI"{_set(sop_classes)}}},'
        f'"00201206":{{"vr":"IS","Value":[{series}]}},"00201208":{{"vr":"IS","Value":[{instances}]}}'
    )


@lru_cache(maxsize=1024)  # hospitals have few modalities and kinds of objects
def _set(members: str) -> str:
    found = members_of(members)
    return f',"Value":{json.dumps(found, separators=(",", ":"))}' if found else ""


def members_of(members: str) -> list[str]:
    """Return the members of a set written ``\\CT\\US\\``."""
    return [member for member in members.split("\\") if member]


def set_of(members: Iterable[str]) -> str:
    """Return a set as one text, sorted, each member between backslashes."""
    present = sorted({member for member in members if member})
    return f"\\{chr(92).join(present)}\\" if present else ""


def series_attributes(header: Header) -> str:
    """Return the series' attributes without the study's UID."""
    elements: list[Element] = [
        ("00080060", "CS", header.modality),
        ("0008103E", "LO", header.series_description),
        ("0020000E", "UI", header.series_uid),
        ("00200011", "IS", header.series_number),
        ("00080021", "DA", header.series_date),
        ("00080031", "TM", header.series_time),
        ("00180015", "CS", header.body_part),
        ("00181030", "LO", header.protocol_name),
        ("00080070", "LO", header.manufacturer),
        ("00200060", "CS", header.laterality),
    ]
    needed = {"00080060", "0008103E", "0020000E", "00200011"}
    return _inside(element for element in elements if element[0] in needed or element[2])


def instance_attributes(header: Header) -> str:
    """Return the instance's attributes without the study's and the series' UIDs."""
    pixels = (header.rows, header.columns, header.bits_allocated, header.frames) if header.has_pixels else None
    before, after = _alike(
        header.sop_class_uid,
        header.transfer_syntax_uid,
        pixels,
        header.content_date,
        header.content_time,
        header.image_type,
    )
    own = _inside([("00080018", "UI", header.sop_instance_uid), ("00200013", "IS", header.instance_number)])
    return f"{before},{own}{after}"


@lru_cache(maxsize=512)
def _alike(
    sop_class: str, syntax: str, pixels: tuple[int | None, ...] | None, date: str, time: str, image_type: str
) -> tuple[str, str]:
    """Return what the instances of a series have in common, as it stands before and after what is each one's own."""
    elements: list[Element] = []
    if pixels is not None:
        rows, columns, bits, frames = pixels
        elements += [
            ("00280010", "US", rows),
            ("00280011", "US", columns),
            ("00280100", "US", bits),
            ("00280008", "IS", frames),
        ]
    if date:
        elements += [("00080023", "DA", date), ("00080033", "TM", time)]
    if image_type:
        elements.append(("00080008", "CS", image_type))
    always = [("00080016", "UI", sop_class), ("00080056", "CS", "ONLINE"), ("00083002", "UI", syntax)]
    return _inside(always), f",{_inside(elements)}" if elements else ""
