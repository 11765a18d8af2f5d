"""What searches can match: each key's level, column and way of matching (PS3.18 tables 10.6.1-5, PS3.4 C.2.2.2).

A key is a DICOM keyword or an 8 digit tag; below a sequence the keys from the outermost one on, joined by dots.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from pydicom.datadict import dictionary_VR, tag_for_keyword

from consilium_archive.sequences import OF_SERIES, OF_STUDY

Kind = Literal["text", "name", "date", "time", "uid", "set", "number"]
_TAG = re.compile(r"^[0-9A-Fa-f]{8}$")


class Level(IntEnum):
    """The level of the answers; a level's own and higher levels' keys can be matched."""

    STUDY = 0
    SERIES = 1
    INSTANCE = 2


@dataclass(frozen=True, slots=True)
class Key:
    """One matchable attribute: its level, column and way of matching; ``path``: of tags, for a value inside a sequence."""

    level: Level
    column: str
    kind: Kind
    path: str = ""


_S, _E, _I = Level.STUDY, Level.SERIES, Level.INSTANCE
_PLAIN: tuple[tuple[str, Key], ...] = (
    ("PatientName", Key(_S, "patient_key", "name")),
    ("PatientID", Key(_S, "patient_id", "text")),
    ("IssuerOfPatientID", Key(_S, "issuer", "text")),
    ("PatientBirthDate", Key(_S, "birth_date", "date")),
    ("PatientSex", Key(_S, "sex", "text")),
    ("StudyDate", Key(_S, "study_date", "date")),
    ("StudyTime", Key(_S, "study_time", "time")),
    ("AccessionNumber", Key(_S, "accession_number", "text")),
    ("StudyID", Key(_S, "study_id", "text")),
    ("StudyDescription", Key(_S, "description", "text")),
    ("ReferringPhysicianName", Key(_S, "referring_key", "name")),
    ("ModalitiesInStudy", Key(_S, "modalities", "set")),
    ("SOPClassesInStudy", Key(_S, "sop_classes", "set")),
    ("StudyInstanceUID", Key(_S, "study_uid", "uid")),
    ("NumberOfStudyRelatedSeries", Key(_S, "series_count", "number")),
    ("NumberOfStudyRelatedInstances", Key(_S, "instance_count", "number")),
    ("SeriesInstanceUID", Key(_E, "series_uid", "uid")),
    ("Modality", Key(_E, "modality", "text")),
    ("SeriesNumber", Key(_E, "number", "number")),
    ("SeriesDescription", Key(_E, "description", "text")),
    ("BodyPartExamined", Key(_E, "body_part", "text")),
    ("SeriesDate", Key(_E, "series_date", "date")),
    ("SeriesTime", Key(_E, "series_time", "time")),
    ("PerformedProcedureStepStartDate", Key(_E, "step_date", "date")),
    ("PerformedProcedureStepStartTime", Key(_E, "step_time", "time")),
    ("NumberOfSeriesRelatedInstances", Key(_E, "instance_count", "number")),
    ("SOPInstanceUID", Key(_I, "sop_instance_uid", "uid")),
    ("SOPClassUID", Key(_I, "sop_class_uid", "uid")),
    ("InstanceNumber", Key(_I, "number", "number")),
    ("Rows", Key(_I, "rows", "number")),
    ("Columns", Key(_I, "columns", "number")),
    ("NumberOfFrames", Key(_I, "frames", "number")),
)


def known(level: Level) -> list[str]:
    """Return the keywords that a search at ``level`` can match, sorted."""
    return sorted(name for name, key in _PLAIN if key.level <= level)


def tag_of(word: str) -> str:
    """Return the 8 digits of a keyword or tag, "" for neither."""
    if _TAG.match(word):
        return word.upper()
    found = tag_for_keyword(word)
    return f"{found:08X}" if found is not None else ""


def path_of(words: str) -> str:
    """Return the dotted tags of dotted keywords or tags, "" if one of them is unknown."""
    tags = [tag_of(word) for word in words.split(".")]
    return ".".join(tags) if all(tags) else ""


_KEYS: dict[str, Key] = {tag_of(keyword): key for keyword, key in _PLAIN}
_KINDS: dict[str, Kind] = {"PN": "name", "DA": "date", "TM": "time", "UI": "uid"}


def key_of(name: str) -> Key | None:
    """Return the key of that name, None for one that can't be matched."""
    path = path_of(name)
    if "." not in path:
        return _KEYS.get(path)
    outermost, last = int(path.split(".", 1)[0], 16), int(path.rsplit(".", 1)[1], 16)
    if outermost not in OF_STUDY + OF_SERIES or len(path.split(".")) > 3:
        return None
    try:
        vr = dictionary_VR(last)
    except KeyError:
        return None
    level = Level.STUDY if outermost in OF_STUDY else Level.SERIES
    return Key(level, "value", _KINDS.get(vr, "text"), path) if vr != "SQ" else None
