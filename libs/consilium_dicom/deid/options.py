"""Which options of PS3.15 E.3 are on, and how they are recorded in the object (CID 7050)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from consilium_dicom.errors import DicomInvalid


class Option(StrEnum):
    """The options of PS3.15 E.3 by the names that the command line uses."""

    CLEAN_PIXELS = "clean-pixels"
    CLEAN_FEATURES = "clean-features"
    CLEAN_GRAPHICS = "clean-graphics"
    CLEAN_STRUCTURED = "clean-structured"
    CLEAN_DESCRIPTORS = "clean-descriptors"
    FULL_DATES = "retain-dates"
    MODIFIED_DATES = "shift-dates"
    PATIENT = "retain-patient"
    DEVICE = "retain-device"
    UIDS = "retain-uids"
    SAFE_PRIVATE = "retain-safe-private"
    INSTITUTION = "retain-institution"


CODES: dict[Option | None, tuple[str, str]] = {
    None: ("113100", "Basic Application Confidentiality Profile"),
    Option.CLEAN_PIXELS: ("113101", "Clean Pixel Data Option"),
    Option.CLEAN_FEATURES: ("113102", "Clean Recognizable Visual Features Option"),
    Option.CLEAN_GRAPHICS: ("113103", "Clean Graphics Option"),
    Option.CLEAN_STRUCTURED: ("113104", "Clean Structured Content Option"),
    Option.CLEAN_DESCRIPTORS: ("113105", "Clean Descriptors Option"),
    Option.FULL_DATES: ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    Option.MODIFIED_DATES: ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    Option.PATIENT: ("113108", "Retain Patient Characteristics Option"),
    Option.DEVICE: ("113109", "Retain Device Identity Option"),
    Option.UIDS: ("113110", "Retain UIDs Option"),
    Option.SAFE_PRIVATE: ("113111", "Retain Safe Private Option"),
    Option.INSTITUTION: ("113112", "Retain Institution Identity Option"),
}
"""Code value and meaning, scheme DCM; None is the basic profile itself."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked for, and the secret that makes pseudonyms: the same key and patient give the same ones, another key others.

    ``shift_days`` is drawn from key and patient when it is None. ``safe_private``: (creator, group, element's low byte) of private
    elements that may stay, beyond the standard's list (PS3.15 table E.3.10-1).
    """

    key: bytes
    chosen: frozenset[Option] = frozenset()
    shift_days: int | None = None
    safe_private: frozenset[tuple[str, int, int]] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        """Refuse a guessable key and options that contradict each other."""
        if len(self.key) < 16:
            raise DicomInvalid("the de-identification key must have at least 16 bytes")
        if {Option.FULL_DATES, Option.MODIFIED_DATES} <= self.chosen:
            raise DicomInvalid("dates are either retained in full or modified, not both")
        if self.shift_days == 0:
            raise DicomInvalid("a shift of 0 days modifies no date")

    def has(self, option: Option) -> bool:
        """Tell whether an option is on."""
        return option in self.chosen


def parse_options(names: str) -> frozenset[Option]:
    """Return the options of a comma-separated list; raise ``DicomInvalid`` naming one that is unknown."""
    found = set()
    for name in (part.strip() for part in names.split(",")):
        if name:
            try:
                found.add(Option(name))
            except ValueError:
                known = ", ".join(Option)
                raise DicomInvalid(f"{name} is no option: choose from {known}") from None
    return frozenset(found)
