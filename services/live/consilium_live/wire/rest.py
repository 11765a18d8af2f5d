"""REST bodies of the room (docs/architecture.md section 5)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from consilium_core.frame_ref import FrameRef
from consilium_core.site_protocol import CaptureContext, PatientContext
from consilium_live.wire.common import Ask, Stamp, Wire

# its tracks' ids, <room>-<codec>, have 64 characters at most
RoomIdText = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,57}$")]
UidText = Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]
TrackStateText = Literal["waiting", "live", "stalled", "ended"]


class TrackWire(Wire):
    """RS-10."""

    id: str
    kind: Literal["video", "audio"]
    source: Literal["modality", "camera", "microphone"]
    codec: Literal["H264", "VP8", "opus"]
    group: str | None = None
    participant_id: str | None = None
    site_id: str | None = None
    label: str
    state: TrackStateText
    width: int | None = None
    height: int | None = None


class CaptureWire(Wire):
    """A still or clip that was asked for; whoever may not read studies gets no UIDs."""

    id: str
    room_id: str
    kind: Literal["still", "clip"]
    state: Literal["requested", "stored", "failed"]
    requested_at: Stamp
    requested_by: str
    study_uid: str | None = None
    sop_instance_uid: str | None = None
    reason: str | None = None


class RoomSummary(Wire):
    """A room in a list: no patient."""

    id: str
    title: str
    site_id: str
    site_name: str
    modality: str
    state: Literal["planned", "lobby", "live", "paused", "ended"]
    live: bool
    started_at: Stamp | None = None
    waiting_since: Stamp | None = None
    participants: int
    consultation_id: str | None = None
    tracks: list[TrackWire]


class RoomDetail(RoomSummary):
    """One room; patient, study and accession number only for roles that may read patients (RS-03)."""

    patient_id: str | None = None
    patient: PatientContext | None = None
    study_uid: str | None = None
    accession_number: str | None = None
    captures: list[CaptureWire] = Field(default_factory=list)


class RoomPage(Wire):
    """Rooms of the tenant, newest first."""

    items: list[RoomSummary]
    next_cursor: str | None = None


class CapturePage(Wire):
    """Captures of a room, oldest first."""

    items: list[CaptureWire]
    next_cursor: str | None = None


class RoomCreation(Ask):
    """``POST /api/v1/rooms``: ``title`` must not name the patient, lists show it to everybody."""

    title: str = Field(min_length=1, max_length=200)
    site_id: str = Field(default="", max_length=64)
    site_name: str = Field(default="", max_length=200)
    patient: PatientContext | None = None
    study_uid: UidText | None = None
    accession_number: str = Field(default="", max_length=64)
    modality: str = Field(default="US", pattern=r"^[A-Z0-9_ ]{1,16}$")
    study_description: str = Field(default="", max_length=64)


class InternalRoomCreation(RoomCreation):
    """``POST /internal/v1/rooms``: may fix the id; idempotent on ``id`` and on ``consultation_id``.

    ``context``, where given, stands for patient, study, accession number, modality and description at once.
    """

    id: RoomIdText | None = None
    consultation_id: str | None = Field(default=None, min_length=1, max_length=64)
    context: CaptureContext | None = None
    opened_by: str = Field(default="", max_length=128)

    @model_validator(mode="after")
    def _context_fits_dicom(self) -> InternalRoomCreation:
        limits = {"study_uid": 64, "accession_number": 64, "modality": 16, "study_description": 64}  # PS3.5 6.2
        limits["referring_physician"] = 324
        for name, limit in limits.items():
            if self.context is not None and len(getattr(self.context, name)) > limit:
                raise ValueError(f"context.{name} has at most {limit} characters")
        return self


class StreamOrder(Ask):
    """``POST /api/v1/rooms/{id}/stream``."""

    action: Literal["start", "stop"]


class CaptureOrder(Ask):
    """``POST /api/v1/rooms/{id}/captures``: a clip is the last ``seconds`` at the site."""

    kind: Literal["still", "clip"]
    seconds: float = Field(default=10.0, gt=0, le=60)
    frame: FrameRef | None = None
