"""Settings of ingest, from ``CONSILIUM_INGEST_*``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from consilium_dicom.policy import HELD_BY_DEFAULT, parse_policy
from consilium_platform.settings import RoomSettings


def _processors() -> int:
    """Return how many processors this process may use; where nobody knows (not Linux), how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2


class IngestSettings(RoomSettings):
    """How much ingest takes at once, and where large bodies wait."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="CONSILIUM_INGEST_")

    spool_dir: Path | None = Field(default=None, description="Folder of bodies in flight; unset: data_dir/spool.")
    spool_above_bytes: int = Field(default=8 << 20, ge=1 << 16, description="A larger object waits on disk, bytes.")
    memory_bytes: int = Field(default=256 << 20, ge=1 << 20, description="Memory of all objects in flight, bytes.")
    max_object_bytes: int = Field(default=4 << 30, ge=1 << 20, description="A larger object is refused, bytes.")
    objects_in_flight: int = Field(default=4, ge=1, le=64, description="Objects of one request worked on at once.")
    worker_threads: int = Field(
        default_factory=lambda: min(4, max(2, _processors())), ge=1, le=64,
        description="Threads that validate, hash and write; unset: one per processor, from 2 to 4.",
    )  # fmt: skip
    decode_frames: Literal["none", "sample", "all"] = Field(
        default="sample", description="Which compressed frames are decoded before an object is accepted."
    )
    upload_chunk_bytes: int = Field(default=16 << 20, ge=1 << 16, description="Largest body of one tus PATCH, bytes.")
    upload_keep_hours: float = Field(default=168, gt=0, description="Unfinished uploads are kept that long, hours.")
    quarantine_findings: str = Field(
        default=",".join(sorted(HELD_BY_DEFAULT)),
        description="Codes of findings that send an object to quarantine, by commas; empty: nothing is held.",
    )
    public_url: str | None = Field(default=None, description="Scheme and host of Retrieve URLs; unset: the request's.")

    @field_validator("quarantine_findings")
    @classmethod
    def _known_codes(cls, value: str) -> str:
        parse_policy(value)
        return value

    @classmethod
    def nested_prefixes(cls) -> tuple[str, ...]:
        """Leave alone the settings of the DIMSE door, the store's care, storage commitment and routing (``<room>.settings``)."""
        return tuple(f"CONSILIUM_INGEST_{room}_" for room in ("DICOM", "STORAGE", "COMMITMENT", "ROUTING"))
