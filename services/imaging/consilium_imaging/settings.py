"""Settings of imaging, from ``CONSILIUM_IMAGING_*``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from consilium_platform.settings import RoomSettings


class ImagingSettings(RoomSettings):
    """How large answers may be, and how many pictures are drawn at once."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="CONSILIUM_IMAGING_")

    public_url: str | None = Field(default=None, description="Scheme and host of Retrieve URLs; unset: the request's.")
    page_usual: int = Field(default=50, ge=1, le=200, description="Answers of a search that names no limit.")
    page_most: int = Field(default=200, ge=1, le=10_000, description="Most studies or series of one page.")
    page_most_instances: int = Field(default=5000, ge=1, le=100_000, description="Most instances of one page.")
    render_threads: int = Field(default=2, ge=1, le=64, description="Threads that decode and draw.")
    render_queue: int = Field(default=64, ge=1, le=10_000, description="Pictures that may wait; more answer 429.")
    picture_cache_bytes: int = Field(default=64 << 20, ge=0, description="Memory of drawn pictures, bytes.")
    decoded_cache_bytes: int = Field(default=128 << 20, ge=0, description="Memory of decoded frames, bytes.")
    retrieve_ahead: int = Field(default=4, ge=1, le=64, description="Objects read ahead of a retrieving client.")
    scratch_dir: Path | None = Field(
        default=None, description="Folder for videos being played and files being made; unset: the system's own."
    )
    video_cache_bytes: int = Field(default=4 << 30, ge=0, description="Room for videos being played, bytes.")
    derivatives: Literal["stored", "asked", "never"] = Field(
        default="asked",
        description="When HTJ2K derivatives are made: of all that is stored, of what is asked for as HTJ2K, or never.",
    )
    derivative_threads: int = Field(default=1, ge=1, le=64, description="Threads that make derivatives.")
    derivative_queue: int = Field(default=1024, ge=1, le=100_000, description="Derivatives that may wait to be made.")
    hot_dir: Path | None = Field(
        default=None,
        description="Folder of the hot tier: originals of a bucket kept on this disk; unset: none. Not used where originals lie in a folder.",
    )
    hot_bytes: int = Field(default=16 << 30, ge=1 << 20, description="Room of the hot tier, bytes.")
    hot_days: float = Field(default=30.0, gt=0, description="What nobody used for that long leaves the hot tier, days.")
    hot_queue: int = Field(default=256, ge=1, le=100_000, description="Originals that may wait to be kept hot.")
    prefetch_studies: int = Field(
        default=3, ge=0, le=50, description="Most priors that are made hot for one consultation; 0: none."
    )
    prefetch_bytes: int = Field(default=2 << 30, ge=0, description="Most bytes of them.")
    prefetch_at_once: int = Field(default=4, ge=1, le=64, description="Originals fetched at once for priors.")
    prefetch_again_s: float = Field(
        default=300.0,
        ge=1,
        description="How often events that were missed and priors that are not hot are looked for, seconds.",
    )
    prefetch_days: float = Field(
        default=7.0, gt=0, description="How long after the last event an open consultation's priors are kept hot, days."
    )
    lossy: bool = Field(default=True, description="Whether lossy JPEG is made for those who ask for it by name.")
    view_audit_window_s: float = Field(
        default=60.0,
        ge=0,
        description="Frame views of one study by one person within this time are one entry, seconds.",
    )
