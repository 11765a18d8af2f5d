"""Settings of consult (``CONSILIUM_CONSULT_*``)."""

from __future__ import annotations

from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from consilium_platform.settings import RoomSettings


class ConsultSettings(RoomSettings):
    """What can be chosen about consult."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="CONSILIUM_CONSULT_")

    default_site_id: str = Field(
        default="", description="Site of a live consultation that names none; empty: must be named."
    )
    font_file: Path | None = Field(
        default=None, description="TrueType font with Latin and Chinese for printed reports; unset: looked for."
    )
    time_zone: str = Field(
        default="UTC", description="Time zone of printed reports (IANA name, for example Asia/Shanghai)."
    )
    stat_due_min: int = Field(default=10, ge=1, description="Minutes until a stat request is due.")
    urgent_due_min: int = Field(default=120, ge=1, description="Minutes until an urgent request is due.")
    routine_due_min: int = Field(default=1440, ge=1, description="Minutes until a routine request is due.")

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            zone_of(name)
        except (ZoneInfoNotFoundError, ValueError) as problem:
            raise ValueError(f"{name} is no time zone that this machine knows") from problem
        return name


def zone_of(name: str) -> tzinfo:
    """Return the time zone; UTC needs no database of zones."""
    return UTC if name == "UTC" else ZoneInfo(name)
