"""Frames that the server sends in `consilium.room.v1`; each is serialised once for all its readers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from consilium_core.frame_ref import FrameRef
from consilium_live.domain.mailbox import Message
from consilium_live.wire.common import Stamp, Wire
from consilium_live.wire.rest import CaptureWire, RoomDetail, TrackStateText, TrackWire


class ParticipantWire(Wire):
    """RS-03."""

    id: str
    user_id: str
    name: str
    role: str
    color: str
    audio: bool
    video: bool
    joined_at: Stamp


class StrokeWire(Wire):
    """RS-20, as everybody sees it; an extension carries only the new points."""

    id: str
    tool: Literal["pen", "arrow", "ellipse", "text"]
    track_id: str
    points: list[tuple[float, float]]
    picture: tuple[int, int] | None = None
    text: str | None = None
    frame: FrameRef
    pinned: bool
    participant_id: str
    color: str
    at: Stamp
    expires_at: Stamp | None = None


class ChatWire(Wire):
    """RS-23."""

    id: str
    participant_id: str
    name: str
    text: str
    at: Stamp


class FrameMapWire(Wire):
    """RS-16."""

    track_id: str
    rtp_timestamp: int
    media_epoch: int
    frame_no: int
    captured_at_us: int


class IceServer(Wire):
    """RTCIceServer."""

    urls: list[str]
    username: str | None = None
    credential: str | None = None


class UnanswerableWire(Wire):
    """RS-12: ``codec`` is what the client would have to decode; empty when the track is gone."""

    track_id: str
    codec: str


class Welcome(Wire):
    """RS-03."""

    type: Literal["welcome"] = "welcome"
    self: ParticipantWire
    room: RoomDetail
    participants: list[ParticipantWire]
    tracks: list[TrackWire]
    strokes: list[StrokeWire]
    chat: list[ChatWire]
    frame_maps: list[FrameMapWire]
    ice_servers: list[IceServer]
    server_time: Stamp
    session_id: str


class ParticipantJoined(Wire):
    """RS-04."""

    type: Literal["participant_joined"] = "participant_joined"
    participant: ParticipantWire


class ParticipantLeft(Wire):
    """RS-04."""

    type: Literal["participant_left"] = "participant_left"
    participant_id: str


class ParticipantChanged(Wire):
    """RS-13: what can be heard and seen of somebody changed."""

    type: Literal["participant_changed"] = "participant_changed"
    participant: ParticipantWire


class Muted(Wire):
    """RS-13."""

    type: Literal["mute"] = "mute"
    participant_id: str
    audio: bool
    video: bool


class Tracks(Wire):
    """RS-11."""

    type: Literal["tracks"] = "tracks"
    tracks: list[TrackWire]


class TrackStateChanged(Wire):
    """RS-11."""

    type: Literal["track_state"] = "track_state"
    track_id: str
    state: TrackStateText
    since: Stamp


class Subscribed(Wire):
    """RS-12."""

    type: Literal["subscribed"] = "subscribed"
    id: str
    sdp: str
    unanswerable: list[UnanswerableWire]


class Published(Wire):
    """RS-13."""

    type: Literal["published"] = "published"
    id: str
    sdp: str
    track_ids: dict[str, str]


class FrameMapped(FrameMapWire):
    """RS-16."""

    type: Literal["frame_map"] = "frame_map"


class StrokeDrawn(Wire):
    """RS-20."""

    type: Literal["stroke"] = "stroke"
    stroke: StrokeWire


class StrokesRemoved(Wire):
    """RS-22."""

    type: Literal["strokes_removed"] = "strokes_removed"
    ids: list[str]


class LaserShown(Wire):
    """RS-21."""

    type: Literal["laser"] = "laser"
    participant_id: str
    track_id: str
    x: float | None = None
    y: float | None = None
    picture: tuple[int, int] | None = None
    off: Literal[True] | None = None


class ChatSaid(Wire):
    """RS-23."""

    type: Literal["chat"] = "chat"
    chat: ChatWire


class CaptureChanged(Wire):
    """RS-24."""

    type: Literal["capture"] = "capture"
    capture: CaptureWire


class RoomChanged(Wire):
    """RS-25."""

    type: Literal["room"] = "room"
    room: RoomDetail


class Ended(Wire):
    """RS-25."""

    type: Literal["ended"] = "ended"


class Pong(Wire):
    """RS-30."""

    type: Literal["pong"] = "pong"
    t: float
    server_time_us: int


class Error(Wire):
    """RS-32: ``id`` is that of the refused request, where it had one."""

    type: Literal["error"] = "error"
    id: str | None = None
    code: str
    detail: str


AnyServerMessage = (
    Welcome | ParticipantJoined | ParticipantLeft | ParticipantChanged | Muted | Tracks | TrackStateChanged
    | Subscribed | Published | FrameMapped | StrokeDrawn | StrokesRemoved | LaserShown | ChatSaid | CaptureChanged
    | RoomChanged | Ended | Pong | Error
)  # fmt: skip
SERVER_MESSAGE: TypeAdapter[Any] = TypeAdapter(Annotated[AnyServerMessage, Field(discriminator="type")])


def frame(message: AnyServerMessage) -> Message:
    """Serialise a message once; absent values are left out."""
    return Message(message.type, message.model_dump_json(exclude_none=True))
