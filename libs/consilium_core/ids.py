"""Identifiers: ULIDs for acts, DICOM UIDs under 2.25 (PS3.5 B.2), and NewTypes so that they are not mixed up."""

from __future__ import annotations

import secrets
import time
import uuid
from typing import NewType

TenantId = NewType("TenantId", str)
UserId = NewType("UserId", str)
SiteId = NewType("SiteId", str)
RoomId = NewType("RoomId", str)
TrackId = NewType("TrackId", str)
ParticipantId = NewType("ParticipantId", str)
CommandId = NewType("CommandId", str)
CaptureId = NewType("CaptureId", str)
ConsultationId = NewType("ConsultationId", str)
ReportId = NewType("ReportId", str)
PatientId = NewType("PatientId", str)
StudyUid = NewType("StudyUid", str)
SeriesUid = NewType("SeriesUid", str)
SopUid = NewType("SopUid", str)

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _CROCKFORD for second in _CROCKFORD]


def new_ulid(now_ms: int | None = None) -> str:
    """Return a 26-character ULID: 48 bits of Unix milliseconds, then 80 random bits; sorts by time."""
    value = ((time.time_ns() // 1_000_000 if now_ms is None else now_ms) << 80) | secrets.randbits(80)
    return "".join([_PAIRS[(value >> shift) & 1023] for shift in range(120, -1, -10)])


def new_uid() -> str:
    """Return a new DICOM UID derived from a random UUID (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def uid_from(namespace: str, name: str) -> str:
    """Return the same DICOM UID every time for one (namespace, name): makes retries idempotent (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_OID, namespace), name).int}"
