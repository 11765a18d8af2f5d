"""Where a device burns identities into its pictures: small, versioned, human-made profiles (A5).

A profile is JSON that sites with the same scanner share. The first mask whose device and size match is used, profiles in the order
in which they are given; names are compared without case and may hold ``*``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pydantic import BaseModel, ConfigDict, Field

from consilium_dicom.header import Header


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rectangle(_Frozen):
    """A part of the picture in pixels, from its upper left corner."""

    left: int = Field(ge=0, le=65535)
    top: int = Field(ge=0, le=65535)
    width: int = Field(ge=1, le=65535)
    height: int = Field(ge=1, le=65535)

    @property
    def right(self) -> int:
        """Return the first column that is not in it."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """Return the first row that is not in it."""
        return self.top + self.height


class Mask(_Frozen):
    """What to black out on pictures of one size; ``keep_regions`` blacks out all but the object's ultrasound regions as well."""

    rows: int | None = Field(default=None, ge=1, le=65535)
    columns: int | None = Field(default=None, ge=1, le=65535)
    model: str = "*"
    software: str = "*"
    rectangles: tuple[Rectangle, ...] = Field(default=(), max_length=256)
    keep_regions: bool = False


class DeviceProfile(_Frozen):
    """One manufacturer's masks. ``version`` grows with each change; ``approved_by`` says who looked at them."""

    format: int = Field(default=1, ge=1, le=1)
    name: str = Field(min_length=1, max_length=100)
    version: int = Field(ge=1)
    manufacturer: str = Field(min_length=1, max_length=64)
    approved_by: str = ""
    masks: tuple[Mask, ...] = Field(min_length=1, max_length=256)


@dataclass(frozen=True, slots=True)
class Match:
    """The mask that fits an object, and whose it is."""

    profile: str
    version: int
    mask: Mask


def read_profile(text: str | bytes) -> DeviceProfile:
    """Return a profile from JSON; raises pydantic's ``ValidationError`` naming what is wrong."""
    return DeviceProfile.model_validate_json(text)


def find_mask(profiles: Sequence[DeviceProfile], header: Header, software: str) -> Match | None:
    """Return the first mask for the object's manufacturer, model, software and size."""
    for profile in profiles:
        if not _like(header.manufacturer, profile.manufacturer):
            continue
        for mask in profile.masks:
            fits = (mask.rows or header.rows, mask.columns or header.columns) == (header.rows, header.columns)
            if fits and _like(header.model_name, mask.model) and _like(software, mask.software):
                return Match(profile.name, profile.version, mask)
    return None


def _like(value: str, pattern: str) -> bool:
    return fnmatchcase(value.strip().casefold(), pattern.strip().casefold())
