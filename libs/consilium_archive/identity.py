"""V4 as far as only the index can tell: is an object of the person, and of the series, that its UIDs say it belongs to?

Pure comparisons, and two questions that are asked only when a study or a series is new. What is empty on either side contradicts nothing.
A birth date or a sex that contradicts is another person; a name alone is a marriage or a typo, unless the object names no Patient ID and
no birth date agrees. Spelling is no contradiction: case, accents, spacing, order of words, delimiters, initials, a middle name that one lacks.
Groups are compared only where both have them, the ideographic one first: one set of characters has many romanisations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from consilium_archive.errors import IdentityDiffers
from consilium_archive.names import fold
from consilium_archive.stages import Validated, Warned
from consilium_archive.tables import series, study
from consilium_dicom.findings import Finding, finding
from consilium_dicom.header import Header
from consilium_dicom.person_name import PersonName
from consilium_platform.hot import Hot

_DAY = re.compile(r"\d{8}")
_JOINTS = str.maketrans("", "", "-'.’")
_OTHERS = 8  # studies of one Patient ID that a new study is compared with


@dataclass(frozen=True, slots=True)
class Person:
    """Who a study or an object says the patient is, as the index holds it."""

    patient_id: str
    issuer: str
    patient_name: str
    birth_date: str
    sex: str

    @classmethod
    def of(cls, header: Header) -> Person:
        """Return the patient of an object."""
        return cls(
            header.patient_id[:128], header.issuer_of_patient_id[:128], str(header.patient_name), header.birth_date[:16],
            header.sex[:16],
        )  # fmt: skip

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> Person:
        """Return the patient of a study's row, or of what the quarantine desk compares."""
        return cls(row["patient_id"], row["issuer"], row["patient_name"], row["birth_date"], row["sex"])


def differences(theirs: Person, mine: Person) -> tuple[Finding, ...]:
    """Return where an object contradicts the person of its study: ``identity-differs`` for another one, else ``name-differs``."""
    if mine == theirs:
        return ()
    born, day = day_of(mine.birth_date), day_of(theirs.birth_date)
    found = []
    if born and day and born != day:
        found.append(("Patient's Birth Date", "(0010,0030)"))
    if {mine.sex.upper(), theirs.sex.upper()} == {"M", "F"}:  # O is what many devices write for unknown
        found.append(("Patient's Sex", "(0010,0040)"))
    named = contradict(theirs.patient_name, mine.patient_name)
    unvouched = bool(theirs.patient_id) and not mine.patient_id and not (born and born == day)
    if found or (named and unvouched):
        found += [("Patient's Name", "(0010,0010)")] if named else []
        return tuple(finding("identity-differs", path, name=name) for name, path in found)
    return (finding("name-differs", "(0010,0010)"),) if named else ()


def contradict(one: str, other: str) -> bool:
    """Tell whether two PN values name different people."""
    if not one or not other or one == other:
        return False
    mine, theirs = PersonName.parse(one), PersonName.parse(other)
    for group in ("ideographic", "alphabetic", "phonetic"):
        left, right = _parts(getattr(mine, group)), _parts(getattr(theirs, group))
        if any(left) and any(right) and "".join(left).isascii() == "".join(right).isascii():
            return not _alike(left, right)
    return False


def _parts(group: str) -> list[str]:
    """Return family, given and middle name folded, words apart by carets; prefix and suffix are no names."""
    return [fold(part.translate(_JOINTS)) for part in group.split("^")[:3]]


def _alike(one: list[str], other: list[str]) -> bool:
    left, right = "^".join(filter(None, one)), "^".join(filter(None, other))
    if left.replace("^", "") == right.replace("^", "") or sorted(left.split("^")) == sorted(right.split("^")):
        return True
    return all(_fits(a, b) for a, b in zip(one, other, strict=False))


def _fits(one: str, other: str) -> bool:
    """Tell whether one part is the other, begins it by whole words, is its initial, or is not said."""
    short, long = sorted((one, other), key=len)
    return not short or short == long or long.startswith(short if len(short) == 1 and short.isascii() else f"{short}^")


def day_of(date: str) -> str:
    """Return a birth date as eight digits, empty unless it names a day (DA; dots as ACR-NEMA wrote them)."""
    plain = date.replace(".", "")
    return plain if _DAY.fullmatch(plain) else ""


# -- what the index asks -------------------------------------------------------------------------------------------


def judged(known: Mapping[str, Any], valid: Validated) -> IdentityDiffers | list[Warned]:
    """Return the refusal of an object that its policy holds for the person of its study (``known``), else what it is warned of."""
    found = differences(Person.read(known), Person.of(valid.header))
    held = [one for one in found if one.code in valid.policy.hold]
    if not held:
        return [Warned(one.code, one.text_en) for one in found]
    words = "; ".join(f"{one.text_en} {one.tag_path}" for one in held)
    return IdentityDiffers(
        f"The study is stored for another person: {words}. Correct the patient or Study Instance UID (0020,000D) at the sender.",
        found,
        study_uid=valid.header.study_uid,
    )


_OF_ONE_ID = Hot(
    select(study.c.patient_id, study.c.issuer, study.c.patient_name, study.c.birth_date, study.c.sex)
    .where(
        study.c.tenant_id == bindparam("tenant"),
        study.c.patient_id == bindparam("patient"),
        study.c.study_uid != bindparam("uid"),
    )
    .limit(_OTHERS)
)
_ELSEWHERE = Hot(
    select(series.c.study_uid)
    .where(
        series.c.tenant_id == bindparam("tenant"),
        series.c.series_uid == bindparam("series"),
        series.c.study_uid != bindparam("uid"),
    )
    .limit(1)
)


def shared_id(session: Session, tenant: str, header: Header) -> list[Warned]:
    """Return the warning of a new study whose Patient ID other studies have for another person (eight of them are looked at)."""
    mine = Person.of(header)
    if not mine.patient_id:
        return []
    asked = {"tenant": tenant, "patient": mine.patient_id, "uid": header.study_uid}
    for row in _OF_ONE_ID.run(session, asked):
        theirs = Person.read(row._asdict())
        same_issuer = not mine.issuer or not theirs.issuer or mine.issuer == theirs.issuer
        if same_issuer and differences(theirs, mine):
            return [_warned("patient-id-shared")]
    return []


def of_two_studies(session: Session, tenant: str, header: Header) -> list[Warned]:
    """Return the warning of a new series whose UID another study has."""
    asked = {"tenant": tenant, "series": header.series_uid, "uid": header.study_uid}
    there = _ELSEWHERE.first(session, asked)
    return [_warned("series-differs", name="Study Instance UID")] if there is not None else []


def of_two_modalities(modality: str, header: Header) -> list[Warned]:
    """Return the warning of an object whose modality is not its series'."""
    mine = header.modality[:16]
    return [_warned("series-differs", name="Modality")] if mine and modality and mine != modality else []


def _warned(code: str, **facts: str) -> Warned:
    one = finding(code, **facts)
    return Warned(one.code, one.text_en)
