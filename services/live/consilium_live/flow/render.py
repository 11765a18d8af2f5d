"""From what we know to what crosses the wall: explicit converters, and the one place where patients are left out."""

from __future__ import annotations

from collections.abc import Sequence

from consilium_live.domain.capture import Capture
from consilium_live.domain.participant import Participant
from consilium_live.domain.room import Room
from consilium_live.domain.stroke import Point, Stroke
from consilium_live.domain.track import RoomTrack
from consilium_live.flow.hall import Audience, Hall
from consilium_live.wire.rest import CaptureWire, RoomDetail, RoomSummary, TrackWire
from consilium_live.wire.server import ParticipantWire, StrokeWire

CAPTURES_SHOWN = 200  # with a room; a room frame goes to everybody at each change


def participant_wire(person: Participant) -> ParticipantWire:
    """Return RS-03's Participant."""
    return ParticipantWire(
        id=person.id, user_id=person.user_id, name=person.name, role=person.role.value, color=person.color,
        audio=person.audio, video=person.video, joined_at=person.joined_at,
    )  # fmt: skip


def track_wire(track: RoomTrack) -> TrackWire:
    """Return RS-10's Track."""
    return TrackWire(
        id=track.id, kind=track.kind, source=track.source, codec=track.codec, group=track.group,
        participant_id=track.participant_id, site_id=track.site_id, label=track.label, state=track.state.value,
        width=track.size[0] if track.size else None, height=track.size[1] if track.size else None,
    )  # fmt: skip


def tracks_wire(hall: Hall | None) -> list[TrackWire]:
    """Return the whole list in the clients' order of choice."""
    return [track_wire(track) for track in hall.sorted_tracks()] if hall else []


def stroke_wire(stroke: Stroke, points: Sequence[Point]) -> StrokeWire:
    """Return RS-20's stroke with ``points``: all of them, or only the new ones of an extension."""
    draft = stroke.draft
    return StrokeWire(
        id=draft.id, tool=draft.tool, track_id=draft.track_id, points=list(points), picture=draft.picture,
        text=draft.text or None, frame=draft.frame, pinned=draft.pinned, participant_id=stroke.participant_id, color=stroke.color,
        at=stroke.at, expires_at=stroke.expires_at,
    )  # fmt: skip


def capture_wire(capture: Capture, audience: Audience) -> CaptureWire:
    """Return a Capture; UIDs only for whoever may read studies."""
    return CaptureWire(
        id=capture.id, room_id=capture.room_id, kind=capture.kind, state=capture.state.value,
        requested_at=capture.requested_at, requested_by=capture.requested_by,
        study_uid=(capture.study_uid or None) if audience.studies else None,
        sop_instance_uid=(capture.sop_instance_uid or None) if audience.studies else None,
        reason=capture.reason or None,
    )  # fmt: skip


def room_summary(room: Room, hall: Hall | None) -> RoomSummary:
    """Return a room as lists show it: no patient."""
    return RoomSummary(
        id=room.id, title=room.title, site_id=room.site_id, site_name=room.site_name, modality=room.modality,
        state=room.state.value, live=bool(hall and hall.live), started_at=room.started_at,
        waiting_since=room.waiting_since, participants=hall.participants if hall else 0,
        consultation_id=room.consultation_id, tracks=tracks_wire(hall),
    )  # fmt: skip


def newest(captures: Sequence[Capture]) -> Sequence[Capture]:
    """Return the captures that go with every room frame; the whole list is at the captures' own address."""
    return captures[-CAPTURES_SHOWN:]


def room_detail(room: Room, hall: Hall | None, captures: Sequence[Capture], audience: Audience) -> RoomDetail:
    """Return one room; the patient only for an audience that may know (RS-03)."""
    summary = room_summary(room, hall)
    known = (
        {
            "patient_id": room.patient.patient_id or None, "patient": room.patient if room.patient.patient_id else None,
            "study_uid": room.study_uid, "accession_number": room.accession_number or None,
        }
        if audience.patient
        else {}
    )  # fmt: skip
    fields = {name: getattr(summary, name) for name in RoomSummary.model_fields}
    return RoomDetail(**fields, **known, captures=[capture_wire(c, audience) for c in newest(captures)])
