"""What the rooms may know of the media plane: its port, the facts of its tracks and its settings.

Nothing here imports aiortc or a socket; rooms are tested with a plane of their own that keeps these promises.
Times are seconds of a monotonic clock, sizes are bytes, RTP timestamps are the publisher's own ticks, never rewritten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

from consilium_core.frame_ref import FrameStamp

MediaKind = Literal["video", "audio"]
CodecName = Literal["H264", "VP8", "opus"]


class TrackState(StrEnum):
    """Life of a forwarded track: waiting -> live <-> stalled -> ended; a new publisher makes an ended track live again."""

    WAITING = "waiting"  # negotiated, no packet yet
    LIVE = "live"
    STALLED = "stalled"  # video: no packet for `stall_after_s`
    ENDED = "ended"  # its publisher has gone


@dataclass(frozen=True, slots=True)
class MediaSettings:
    """How the media plane listens and where its limits are."""

    host: str = "127.0.0.1"  # address the UDP socket binds to; name one address, replies leave from it
    port: int = 0  # UDP port, 0 takes a free one
    advertised: tuple[str, ...] = ()  # IP addresses in the answers' host candidates; empty: `host`
    socket_buffer_bytes: int = 4 * 1024 * 1024
    peer_timeout_s: float = 5.0  # a peer that sent media or RTCP and is silent for so long is dropped
    idle_peer_timeout_s: float = 20.0  # the same for a peer that only keeps ICE alive (consent every 4-6 s, RFC 7675)
    connect_timeout_s: float = 15.0  # from answer to finished DTLS handshake
    stall_after_s: float = 1.0
    keyframe_interval_s: float = 0.5  # at most one PLI per track in this time
    replay_max_s: float = 3.0  # older than this a group of pictures is not replayed, a keyframe is asked for
    replay_max_packets: int = 512  # nor more than so many packets: a slow link drowns in the burst
    history_packets: int = 2048  # per video track, a power of two; NACK answers and replay come from it
    max_publish_bps: int = 10_000_000  # told to publishers as REMB: above what a modality's picture may take
    max_sessions: int = 1024
    reserved_sessions: int = 64  # of these, only for publishers that ask with `reserved`; an eighth of them at most
    max_tracks_per_session: int = 32
    gso: bool = True  # UDP segmentation offload where the kernel has it


@dataclass(frozen=True, slots=True)
class Codec:
    """One codec as SDP names it; `profile` is H.264's profile-level-id in lower-case hex, else empty."""

    name: CodecName
    clock_rate: int
    channels: int = 1
    profile: str = ""

    @property
    def label(self) -> str:
        """Return `H264/42e01f`, `VP8` or `opus`."""
        return f"{self.name}/{self.profile}" if self.profile else self.name


@dataclass(frozen=True, slots=True)
class TrackFacts:
    """A snapshot of one track."""

    track_id: str
    kind: MediaKind
    codec: Codec
    room_id: str
    session_id: str  # of the publisher
    mid: str  # in the publisher's offer
    state: TrackState
    packets: int
    bytes: int
    keyframes: int
    lost: int
    viewers: int
    last_packet_at: float | None  # monotonic seconds
    last_keyframe_at: float | None
    size: tuple[int, int] | None = None  # width and height in pixels of the newest keyframe's picture


@dataclass(frozen=True, slots=True)
class Published:
    """The answer to a publisher and what it will send, in the offer's order."""

    answer_sdp: str
    tracks: tuple[TrackFacts, ...]


@dataclass(frozen=True, slots=True)
class Unanswerable:
    """An m-line that had to be answered `inactive`; `codec` is what the viewer would have to know."""

    mid: str
    track_id: str
    codec: str  # codec label, e.g. "H264/42e01f"
    reason: Literal["codec", "kind", "no-such-track"] = "codec"


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The answer to a viewer, which m-line carries which track, and what could not be carried."""

    answer_sdp: str
    carried: Mapping[str, str]  # mid -> track id
    unanswerable: tuple[Unanswerable, ...] = ()


@dataclass(frozen=True, slots=True)
class Negotiated:
    """Everything one offer settled: a peer connection may publish and view at once."""

    answer_sdp: str
    tracks: tuple[TrackFacts, ...]
    carried: Mapping[str, str]
    unanswerable: tuple[Unanswerable, ...] = ()


@dataclass(slots=True)
class PlaneStats:
    """Counters since the plane opened (monotone) and two gauges."""

    sessions: int = 0  # gauge
    tracks: int = 0  # gauge
    received_packets: int = 0
    received_bytes: int = 0
    forwarded_packets: int = 0
    forwarded_bytes: int = 0
    dropped_packets: int = 0  # not sent: the socket's buffer was full
    refused_datagrams: int = 0  # unknown source, bad integrity, failed authentication, malformed
    nacks: int = 0  # sequence numbers that viewers asked for
    rtx: int = 0  # sequence numbers answered
    nacks_sent: int = 0  # sequence numbers asked of publishers
    plis: int = 0  # picture loss from viewers
    plis_sent: int = 0  # keyframes asked of publishers
    replayed_packets: int = 0
    sink_failures: int = 0  # exceptions contained at one viewer
    gso: bool = False


class MediaListener(Protocol):
    """Called on the plane's event loop, never from another thread; must return at once and not raise."""

    def track_started(self, track: TrackFacts) -> None:
        """A publisher's first packet has come; again when a new publisher takes the track over."""
        ...

    def track_stalled(self, track: TrackFacts) -> None:
        """No packet for `stall_after_s`: what is on the screens is not live."""
        ...

    def track_resumed(self, track: TrackFacts) -> None:
        """Packets come again after a stall."""
        ...

    def track_ended(self, track: TrackFacts) -> None:
        """Its publisher is gone; viewers of the track are kept, for a publisher who comes back with the same id."""
        ...

    def track_sized(self, track: TrackFacts) -> None:
        """A picture's size is known now, or it changed with a keyframe."""
        ...

    def session_connected(self, session_id: str) -> None:
        """ICE and DTLS are done; media can flow."""
        ...

    def session_disconnected(self, session_id: str, reason: str) -> None:
        """The plane dropped the session: `timeout`, `never-connected`, `dtls`, `left`. Not called after `close_session`."""
        ...

    def frame_mapped(self, track_id: str, rtp_timestamp: int, stamp: FrameStamp) -> None:
        """The publisher said which frame this RTP timestamp is (SEI in a keyframe's access unit); once per timestamp."""
        ...


class MediaPlanePort(Protocol):
    """Forwards encoded media between peers; it is always the answerer, never decodes, never encodes.

    Errors: `Invalid` (an offer that cannot be read), `NotFound` (unknown session), `Conflict` (an offer that
    contradicts its session, a track id in use), `Exhausted` (limits), `Unavailable` (the plane is closed).
    """

    async def negotiate(
        self,
        session_id: str,
        offer_sdp: str,
        *,
        room_id: str,
        publish: bool = False,
        track_ids: Mapping[str, str] | Sequence[str] = (),
        wanted: Mapping[str, str] | Sequence[str] | None = None,
        listener: MediaListener | None = None,
        reserved: bool = False,
    ) -> Negotiated:
        """Answer an offer that may send and receive; the first one opens the session, later ones renegotiate it."""
        ...

    async def publish(
        self,
        session_id: str,
        offer_sdp: str,
        *,
        room_id: str,
        track_ids: Mapping[str, str] | Sequence[str] = (),
        listener: MediaListener | None = None,
        reserved: bool = False,
    ) -> Published:
        """Accept what the offer sends; `track_ids` names tracks by mid, or in order of the sending m-lines.

        `reserved` lets a new session take a place that is kept for sites.
        """
        ...

    async def subscribe(
        self,
        session_id: str,
        offer_sdp: str,
        wanted: Mapping[str, str] | Sequence[str],
        *,
        room_id: str,
        listener: MediaListener | None = None,
    ) -> Subscribed:
        """Send `wanted` (mid -> track id, or track ids that go to the first receiving m-line of their kind)."""
        ...

    async def add_ice_candidates(self, session_id: str, sdp_fragment: str) -> None:
        """Accept a trickle fragment (RFC 8840); candidates need no work, ICE-lite learns addresses from checks."""
        ...

    async def close_session(self, session_id: str) -> None:
        """Forget the session and end what it published; idempotent."""
        ...

    def request_keyframe(self, track_id: str) -> bool:
        """Ask the publisher for a keyframe, rate-limited; say whether the track is there to be asked."""
        ...

    def forget_room(self, room_id: str) -> None:
        """Drop the ended tracks of a room that will not come back."""
        ...

    def forget_tracks(self, track_ids: Sequence[str]) -> None:
        """Drop these ended tracks: their publisher has left and will not come back under these ids."""
        ...

    def tracks(self, room_id: str | None = None) -> tuple[TrackFacts, ...]:
        """Return the tracks of a room, or all."""
        ...

    def stats(self) -> PlaneStats:
        """Return a copy of the counters."""
        ...

    async def close(self) -> None:
        """Close the socket and every session; idempotent."""
        ...
