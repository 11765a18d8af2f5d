"""When a rule takes an instance: pure words of routing.

Flows in: ``Facts`` of an instance as the index holds them. Flows out: the first condition that is not met, or nothing. Conditions are
joined by AND, the words of one condition by OR; what an instance does not say meets no condition. Texts are compared with the wildcards
``*`` and ``?`` of PS3.4 C.2.2.2.4, descriptions and station names without case, AE titles with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from enum import IntEnum
from typing import Any

FROM_THERE = "came-from-there"


class Priority(IntEnum):
    """What goes first."""

    STAT = 0
    ROUTINE = 1
    BACKGROUND = 2

    @property
    def word(self) -> str:
        """Return the word that people use."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Facts:
    """What rules may ask of one instance. ``sender`` is a calling AE title if ``origin`` is ``dimse``."""

    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    modality: str
    study_description: str
    series_description: str
    station_name: str
    origin: str
    sender: str
    slice_thickness_mm: float | None
    study_date: date | None
    received_at: datetime
    size_bytes: int

    @property
    def calling_ae_title(self) -> str:
        """Return the AE title that sent it, empty if it did not come by DIMSE."""
        return self.sender if self.origin == "dimse" else ""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What an instance must be; empty or None: anything."""

    modalities: tuple[str, ...] = ()
    sop_class_uids: tuple[str, ...] = ()
    study_descriptions: tuple[str, ...] = ()
    series_descriptions: tuple[str, ...] = ()
    station_names: tuple[str, ...] = ()
    calling_ae_titles: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    slice_thickness_at_least_mm: float | None = None
    slice_thickness_at_most_mm: float | None = None
    study_age_at_most_days: int | None = None

    @classmethod
    def read(cls, given: dict[str, Any]) -> Conditions:
        """Return the conditions that ``written`` has written."""
        values: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in given.items()}
        return cls(**values)

    def written(self) -> dict[str, Any]:
        """Return them as JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @property
    def asks_metadata(self) -> bool:
        """Tell whether more is asked than the index has in columns: the instance's metadata must be opened."""
        thickness = self.slice_thickness_at_least_mm is not None or self.slice_thickness_at_most_mm is not None
        return bool(self.station_names) or thickness


def missed(conditions: Conditions, facts: Facts) -> str:
    """Return the name of the first condition that the instance does not meet; empty: it meets all of them."""
    for name, words, value in (
        ("modalities", conditions.modalities, facts.modality),
        ("sop_class_uids", conditions.sop_class_uids, facts.sop_class_uid),
        ("origins", conditions.origins, facts.origin),
    ):
        if words and value not in words:
            return name
    for name, patterns, text in (
        ("study_descriptions", conditions.study_descriptions, facts.study_description),
        ("series_descriptions", conditions.series_descriptions, facts.series_description),
        ("station_names", conditions.station_names, facts.station_name),
    ):
        if patterns and not any_like([one.casefold() for one in patterns], text.casefold()):
            return name
    if conditions.calling_ae_titles and not any_like(conditions.calling_ae_titles, facts.calling_ae_title):
        return "calling_ae_titles"
    return _missed_number(conditions, facts)


def _missed_number(conditions: Conditions, facts: Facts) -> str:
    least, most = conditions.slice_thickness_at_least_mm, conditions.slice_thickness_at_most_mm
    thickness = facts.slice_thickness_mm
    if least is not None and (thickness is None or thickness < least):
        return "slice_thickness_at_least_mm"
    if most is not None and (thickness is None or thickness > most):
        return "slice_thickness_at_most_mm"
    oldest = conditions.study_age_at_most_days
    if oldest is not None:
        made = facts.study_date
        if made is None or (facts.received_at.date() - made).days > oldest:
            return "study_age_at_most_days"
    return ""


def any_like(patterns: Sequence[str], text: str) -> bool:
    """Tell whether the text fits one of the patterns; an empty text fits none."""
    return bool(text) and any(like(pattern, text) for pattern in patterns)


def like(pattern: str, text: str) -> bool:
    """Match ``*`` (any characters) and ``?`` (one) over the whole text, in steps of pattern times text at most: no backtracking explodes."""
    at = here = 0
    star = resume = -1
    while at < len(text):
        if here < len(pattern) and pattern[here] == "*":
            star, resume = here, at
            here += 1
        elif here < len(pattern) and pattern[here] in ("?", text[at]):
            here, at = here + 1, at + 1
        elif star >= 0:
            resume += 1
            here, at = star + 1, resume
        else:
            return False
    return all(letter == "*" for letter in pattern[here:])
