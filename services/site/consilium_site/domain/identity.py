"""Who the agent is: what enrolment gave it, and which code that was (its hash only). Pure."""

from __future__ import annotations

import hashlib

from pydantic import BaseModel, ConfigDict, Field

from consilium_core.site_protocol import Intervals


class Identity(BaseModel):
    """The content of ``identity.json`` (mode 0600; SP-11)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    site_id: str
    tenant: str
    name: str = ""
    server_url: str
    refresh_secret: str = Field(repr=False)
    code_sha256: str
    intervals: Intervals = Intervals()


def code_digest(code: str) -> str:
    """Return the hash by which a used code is recognised."""
    return hashlib.sha256(code.strip().upper().encode()).hexdigest()
