"""Settings of storage commitment, from ``CONSILIUM_INGEST_COMMITMENT_*``."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from consilium_platform.settings import RoomSettings


class CommitmentSettings(RoomSettings):
    """How long a request is answered for at once, and how long reports are tried."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="CONSILIUM_INGEST_COMMITMENT_")

    answer_s: float = Field(
        default=10.0, ge=0, le=120, description="A request that takes longer to decide is answered later (202), s."
    )
    give_up_h: float = Field(
        default=72.0,
        gt=0,
        description="A report that nobody takes, or a question that can't be decided, fails after that, h.",
    )
    retention_d: float = Field(
        default=400.0,
        gt=0,
        description="Transactions are forgotten that long after they were decided and reported, or given up, days.",
    )
    poll_s: float = Field(default=2.0, gt=0, description="How often reports that are due are looked for, s.")
