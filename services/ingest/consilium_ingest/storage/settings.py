"""Settings of the store's care, from ``CONSILIUM_INGEST_STORAGE_*``; the command line's storage commands read them too."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from consilium_archive.retention import DEFAULT_RULES, RetentionRule
from consilium_platform.settings import RoomSettings


class StorageSettings(RoomSettings):
    """How long what is kept, and how the second copies are made."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="CONSILIUM_INGEST_STORAGE_")

    retention: tuple[RetentionRule, ...] = Field(
        default=DEFAULT_RULES,
        description="Rules as JSON, the first that fits an instance decides; default: everything 15 y from its last arrival.",
    )
    resend: Literal["refuse", "accept"] = Field(
        default="refuse", description="What happens to an instance that retention removed and that is sent again."
    )
    copies_in_flight: int = Field(default=2, ge=1, le=64, description="Originals that are copied at once.")
    poll_s: float = Field(default=2.0, gt=0, description="How often new originals and due removals are looked for, s.")
