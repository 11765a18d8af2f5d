"""QIDO-RS query parameters as a typed query (PS3.18 8.3.4, 10.6.1).

A key is a DICOM keyword or an 8 digit tag. A key that this archive can't match is refused, not ignored: an ignored filter
would show the wrong patients.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

from pydicom.datadict import tag_for_keyword

from consilium_archive.errors import QueryInvalid

Kind = Literal["text", "name", "date", "time", "uid", "set", "number"]
_TAG = re.compile(r"^[0-9A-Fa-f]{8}$")
_RANGE = re.compile(r"^(\d{8}|\d{4}-\d{2}-\d{2}|)(?:(-)(\d{8}|\d{4}-\d{2}-\d{2}|))?$")
_TIME = re.compile(r"^(\d{2,6}(?:\.\d{1,6})?|)(?:(-)(\d{2,6}(?:\.\d{1,6})?|))?$")
_RESERVED = frozenset({"limit", "offset", "includefield", "fuzzymatching", "accept", "charset", "emptyvaluematching"})


class Level(IntEnum):
    """The level of the answers; a level's own and higher levels' keys can be matched."""

    STUDY = 0
    SERIES = 1
    INSTANCE = 2


@dataclass(frozen=True, slots=True)
class Key:
    """One matchable attribute: its level, column and way of matching."""

    level: Level
    column: str
    kind: Kind


def _keys() -> dict[str, Key]:
    s, e, i = Level.STUDY, Level.SERIES, Level.INSTANCE
    listed: list[tuple[str, Key]] = [
        ("PatientName", Key(s, "patient_key", "name")),
        ("PatientID", Key(s, "patient_id", "text")),
        ("IssuerOfPatientID", Key(s, "issuer", "text")),
        ("PatientBirthDate", Key(s, "birth_date", "date")),
        ("PatientSex", Key(s, "sex", "text")),
        ("StudyDate", Key(s, "study_date", "date")),
        ("StudyTime", Key(s, "study_time", "time")),
        ("AccessionNumber", Key(s, "accession_number", "text")),
        ("StudyID", Key(s, "study_id", "text")),
        ("StudyDescription", Key(s, "description", "text")),
        ("ReferringPhysicianName", Key(s, "referring_key", "name")),
        ("ModalitiesInStudy", Key(s, "modalities", "set")),
        ("SOPClassesInStudy", Key(s, "sop_classes", "set")),
        ("StudyInstanceUID", Key(s, "study_uid", "uid")),
        ("SeriesInstanceUID", Key(e, "series_uid", "uid")),
        ("Modality", Key(e, "modality", "text")),
        ("SeriesNumber", Key(e, "number", "number")),
        ("SeriesDescription", Key(e, "description", "text")),
        ("BodyPartExamined", Key(e, "body_part", "text")),
        ("SeriesDate", Key(e, "series_date", "date")),
        ("SeriesTime", Key(e, "series_time", "time")),
        ("SOPInstanceUID", Key(i, "sop_instance_uid", "uid")),
        ("SOPClassUID", Key(i, "sop_class_uid", "uid")),
        ("InstanceNumber", Key(i, "number", "number")),
        ("Rows", Key(i, "rows", "number")),
        ("Columns", Key(i, "columns", "number")),
        ("NumberOfFrames", Key(i, "frames", "number")),
    ]
    table = dict(listed)
    for keyword, key in listed:
        tag = tag_for_keyword(keyword)
        if tag is not None:
            table[f"{tag:08X}"] = key
    return table


KEYS: dict[str, Key] = _keys()


@dataclass(frozen=True, slots=True)
class Match:
    """One condition. ``values``: alternatives; for a range exactly (from, to), either may be empty."""

    key: Key
    values: tuple[str, ...]
    ranged: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for: conditions, page, and attributes beyond the level's usual ones (tags; ``all``)."""

    level: Level
    matches: tuple[Match, ...] = ()
    limit: int = 50
    offset: int = 0
    include: frozenset[str] = field(default_factory=frozenset)
    fuzzy: bool = False
    asked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PageRule:
    """How many answers a page holds unless asked, and at most."""

    usual: int = 50
    most: int = 200


def parse_query(level: Level, parameters: Iterable[tuple[str, str]], page: PageRule) -> Query:
    """Return the query; raise QueryInvalid for what can't be matched."""
    limit, offset, fuzzy = page.usual, 0, False
    include: set[str] = set()
    values: dict[str, list[str]] = {}
    for name, value in parameters:
        lowered = name.lower()
        if lowered == "limit":
            limit = min(_count(name, value), page.most)
        elif lowered == "offset":
            offset = _count(name, value)
        elif lowered == "includefield":
            include |= {_field(word.strip()) for word in value.split(",") if word.strip()}
        elif lowered == "fuzzymatching":
            fuzzy = value.lower() == "true"
        elif lowered not in _RESERVED:
            values.setdefault(name, []).append(value)
    matches = tuple(match for name, given in values.items() for match in _match(level, name, given))
    return Query(level, matches, limit, offset, frozenset(include), fuzzy, tuple(sorted(values)))


def _count(name: str, value: str) -> int:
    if not value.isdecimal() or len(value) > 9:
        raise QueryInvalid(f"{name} is a number of answers, not {value[:20]!r}.", parameter=name)
    return int(value)


def _field(word: str) -> str:
    if word == "all":
        return word
    tag = f"{int(word, 16):08X}" if _TAG.match(word) else ""
    if not tag and (found := tag_for_keyword(word)) is not None:
        tag = f"{found:08X}"
    if not tag:
        raise QueryInvalid(f"includefield names an unknown attribute: {word[:64]}.", parameter="includefield")
    return tag


def _match(level: Level, name: str, given: list[str]) -> list[Match]:
    key = KEYS.get(name) or KEYS.get(name.upper())
    if key is None or key.level > level:
        raise QueryInvalid(
            f"{name[:64]} can't be matched at this level. Known keys: {', '.join(sorted(k for k in KEYS if not _TAG.match(k)))}.",
            parameter=name[:64],
        )
    present = [value.strip() for value in given if value.strip() not in ("", "*")]
    if not present:  # universal matching (PS3.4 C.2.2.2.3)
        return []
    if key.kind in ("date", "time"):
        return [_range(name, key, value) for value in present]
    if key.kind == "number":
        if not all(re.fullmatch(r"-?\d{1,9}", value) for value in present):
            raise QueryInvalid(f"{name} is a number.", parameter=name)
        return [Match(key, tuple(present))]
    if key.kind in ("uid", "set"):
        parts = tuple(part.strip() for value in present for part in re.split(r"[\\,]", value) if part.strip())
        if len(parts) > 1000:
            raise QueryInvalid(f"{name} lists more than 1000 values.", parameter=name)
        return [Match(key, parts)]
    return [Match(key, (value,)) for value in present]


def _range(name: str, key: Key, value: str) -> Match:
    found = (_RANGE if key.kind == "date" else _TIME).match(value.replace(":", "") if key.kind == "time" else value)
    if found is None or (not found[1] and not found[3]):
        raise QueryInvalid(f"{name} is a {key.kind} or a range FROM-TO, not {value[:40]!r}.", parameter=name)
    low, high = (found[1] or "").replace("-", ""), (found[3] or "").replace("-", "")
    if not found[2]:
        return Match(key, (low,))
    return Match(key, (low, high), ranged=True)
