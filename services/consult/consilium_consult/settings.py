"""Settings of consult (``CONSILIUM_CONSULT_*``)."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
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
    stat_due_min: int = Field(default=10, ge=1, description="Minutes until a stat request is due.")
    urgent_due_min: int = Field(default=120, ge=1, description="Minutes until an urgent request is due.")
    routine_due_min: int = Field(default=1440, ge=1, description="Minutes until a routine request is due.")
