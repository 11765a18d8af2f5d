"""What every wire model of the room shares."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainSerializer

from consilium_core.clock import iso

Stamp = Annotated[datetime, PlainSerializer(iso, return_type=str, when_used="json")]


class Wire(BaseModel):
    """Base of what we send: frozen."""

    model_config = ConfigDict(frozen=True)


class Ask(BaseModel):
    """Base of what others send: frozen; unknown fields are ignored so that newer clients are understood."""

    model_config = ConfigDict(frozen=True, extra="ignore", str_strip_whitespace=False)
