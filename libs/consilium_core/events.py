"""What rooms tell each other: one envelope, closed types, ids only (never patient data)."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class EventType(StrEnum):
    """The closed list of events; docs/architecture.md section 4 gives subject and data of each."""

    INSTANCE_STORED = "instance.stored"
    ROOM_CHANGED = "room.changed"
    ROOM_CAPTURED = "room.captured"
    CAPTURE_FAILED = "capture.failed"  # the site gave a capture up; subject: capture id
    CONSULTATION_CHANGED = "consultation.changed"
    REPORT_CHANGED = "report.changed"
    SITE_CHANGED = "site.changed"
    QUARANTINE_CHANGED = "quarantine.changed"  # an object is held, released or rejected; subject: entry id


class Event(BaseModel):
    """One fact that has happened and can be read; ``seq`` is given by the outbox and grows per database."""

    model_config = ConfigDict(frozen=True)

    id: str
    type: EventType
    tenant: str
    subject: str
    time: datetime
    data: dict[str, Any] = Field(default_factory=dict)
    seq: int = 0
