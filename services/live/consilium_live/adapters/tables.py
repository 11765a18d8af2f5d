"""The tables of the live service (migration 0005_live), and rows to and from domain objects."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Boolean, Column, DateTime, Float, MetaData, String, Table, Text

from consilium_core.frame_ref import FrameRef
from consilium_core.site_protocol import PatientContext
from consilium_live.domain.capture import Capture, CaptureState
from consilium_live.domain.room import Room, RoomState

metadata = MetaData()
_AT = DateTime(timezone=True)
live_room = Table(
    "live_room",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("title", String(200), nullable=False),
    Column("site_id", String(64), nullable=False),
    Column("site_name", String(200), nullable=False),
    Column("modality", String(16), nullable=False),
    Column("study_uid", String(64), nullable=False),
    Column("accession_number", String(64), nullable=False),
    Column("study_description", String(200), nullable=False),
    Column("referring_physician", String(324), nullable=False),
    Column("patient", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("wanted", Boolean, nullable=False),
    Column("created_at", _AT, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("consultation_id", String(64), nullable=True),
    Column("waiting_since", _AT, nullable=True),
    Column("started_at", _AT, nullable=True),
    Column("ended_at", _AT, nullable=True),
)
live_capture = Table(
    "live_capture",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("room_id", String(64), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("state", String(16), nullable=False),
    Column("seconds", Float, nullable=False),
    Column("frame", Text, nullable=False),
    Column("requested_at", _AT, nullable=False),
    Column("requested_by", String(128), nullable=False),
    Column("deadline", _AT, nullable=False),
    Column("command_id", String(64), nullable=False),
    Column("settled", Boolean, nullable=False),
    Column("study_uid", String(64), nullable=False),
    Column("sop_instance_uid", String(64), nullable=False),
    Column("reason", String(400), nullable=False),
)


def as_utc(at: datetime | None) -> datetime | None:
    """SQLite forgets the zone; everything is UTC."""
    return at if at is None or at.tzinfo else at.replace(tzinfo=UTC)


def room_of(row: Mapping[Any, Any]) -> Room:
    """Return the domain object of a ``live_room`` row."""
    values = dict(row)
    values["patient"] = PatientContext.model_validate_json(row["patient"])
    values["state"] = RoomState(row["state"])
    for name in ("created_at", "waiting_since", "started_at", "ended_at"):
        values[name] = as_utc(row[name])
    return Room(**values)


def room_row(room: Room) -> dict[str, Any]:
    """Return the values of a ``live_room`` row."""
    values = {column.name: getattr(room, column.name) for column in live_room.columns}
    values["patient"] = room.patient.model_dump_json()
    values["state"] = room.state.value
    return values


def capture_of(row: Mapping[Any, Any]) -> Capture:
    """Return the domain object of a ``live_capture`` row."""
    values = dict(row)
    values["state"] = CaptureState(row["state"])
    values["frame"] = FrameRef.model_validate_json(row["frame"]) if row["frame"] else None
    for name in ("requested_at", "deadline"):
        values[name] = as_utc(row[name])
    return Capture(**values)


def capture_row(capture: Capture) -> dict[str, Any]:
    """Return the values of a ``live_capture`` row."""
    values = {column.name: getattr(capture, column.name) for column in live_capture.columns}
    values["state"] = capture.state.value
    values["frame"] = capture.frame.model_dump_json() if capture.frame else ""
    return values
