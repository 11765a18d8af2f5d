"""Which earlier studies are made hot before an expert opens a consultation, and why: a pure rule.

First what shows the same part of the body with the same kind of machine, then the same kind of machine, then the same part, then anything
else; within each the newest first. What does not fit into the bound is passed over for the next that does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

NO_PICTURES = frozenset(
    {"SR", "PR", "KO", "DOC", "AU", "ECG", "HD", "PLAN", "REG", "SEG", "RTPLAN", "RTSTRUCT", "RTDOSE"}
)
"""Modalities (PS3.3 C.7.3.1.1.1) that are no kind of picture: to have them in common says nothing."""


class Reason(StrEnum):
    """Why a prior was chosen, the strongest first."""

    SAME_MODALITY_AND_BODY_PART = "same-modality-and-body-part"
    SAME_MODALITY = "same-modality"
    SAME_BODY_PART = "same-body-part"
    NEWEST = "newest"


WORDS: dict[Reason, tuple[str, str]] = {
    Reason.SAME_MODALITY_AND_BODY_PART: ("Same modality and body part", "设备类型和检查部位都相同"),
    Reason.SAME_MODALITY: ("Same modality", "设备类型相同"),
    Reason.SAME_BODY_PART: ("Same body part", "检查部位相同"),
    Reason.NEWEST: ("Among the newest", "时间较近"),
}
"""English and Chinese."""


@dataclass(frozen=True, slots=True)
class Prior:
    """An earlier study of the patient; date and time as DICOM writes them (DA, TM), modalities and body parts as the index has them."""

    study_uid: str
    study_date: str
    study_time: str
    modalities: frozenset[str]
    body_parts: frozenset[str]
    instances: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Likeness:
    """What the consultation is about, as far as anybody has said: empty where nobody has."""

    modalities: frozenset[str] = frozenset()
    body_parts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Bounds:
    """At most so many studies and bytes for one consultation."""

    studies: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """One prior and why it was chosen."""

    prior: Prior
    reason: Reason


def choose(about: Likeness, priors: Iterable[Prior], bounds: Bounds) -> list[Chosen]:
    """Return what is to be made hot, in the order in which it is."""
    newest = sorted(priors, key=lambda prior: (prior.study_date, prior.study_time, prior.study_uid), reverse=True)
    ranked = sorted(((prior, reason_of(about, prior)) for prior in newest), key=lambda one: _ORDER[one[1]])
    chosen: list[Chosen] = []
    left = bounds.size_bytes
    for prior, reason in ranked:
        if len(chosen) < bounds.studies and prior.instances and prior.size_bytes <= left:
            chosen.append(Chosen(prior, reason))
            left -= prior.size_bytes
    return chosen


def reason_of(about: Likeness, prior: Prior) -> Reason:
    """Return the strongest reason for a prior."""
    modality = bool((about.modalities & prior.modalities) - NO_PICTURES)
    part = bool((about.body_parts & prior.body_parts) - {""})
    if modality and part:
        return Reason.SAME_MODALITY_AND_BODY_PART
    if modality:
        return Reason.SAME_MODALITY
    return Reason.SAME_BODY_PART if part else Reason.NEWEST


_ORDER = {reason: number for number, reason in enumerate(Reason)}
