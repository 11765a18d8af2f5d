"""What the flows need of the world: server, capture, encoder, publisher, spool, memory on disk. Adapters fulfil these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from consilium_core.frame_ref import FrameRef
from consilium_core.site_protocol import (
    Ack,
    AgentDescription,
    AgentEvent,
    AgentEventType,
    CaptureContext,
    CommandType,
    Device,
    EnrollReply,
    LeaseReply,
    Result,
    SessionReply,
    SessionRequest,
    UploadStatus,
)
from consilium_site.domain.frames import CapturedFrame, KeptFrame
from consilium_site.domain.identity import Identity
from consilium_site.domain.publication import DesiredStream, StreamFormat
from consilium_site.domain.spool import Manifest


@dataclass(frozen=True, slots=True)
class RawPoll:
    """A poll's answer with commands still as JSON (each is parsed alone); ``commands`` is empty after 204."""

    commands: list[dict[str, Any]]
    cursor: int
    server_time: datetime | None


class Server(Protocol):
    """The gateway's side of ``/site/v1`` (SP-10 to SP-30). Raises errors of ``consilium_site.errors``."""

    async def enroll(self, code: str, nonce: str, agent: AgentDescription) -> EnrollReply:
        """Trade a one-time code for an identity."""
        ...

    async def session(self, request: SessionRequest) -> SessionReply:
        """Say hello after a start."""
        ...

    async def poll(self, wait_s: float, cursor: int) -> RawPoll:
        """Wait for commands."""
        ...

    async def ack(self, command_id: str, ack: Ack) -> None:
        """Accept or refuse one command."""
        ...

    async def result(self, command_id: str, result: Result) -> None:
        """Say how a command ended."""
        ...

    async def renew(self, leases: Sequence[str]) -> LeaseReply:
        """Renew the leases of running commands."""
        ...

    async def events(self, events: Sequence[AgentEvent]) -> int:
        """Deliver events; return ``acked_through``."""
        ...


class Home(Protocol):
    """Where the identity lives. Blocking but small: call it in a thread."""

    def identity(self) -> Identity | None:
        """Return the identity, None before enrolment."""
        ...

    def save_identity(self, identity: Identity) -> None:
        """Keep the identity (SP-11)."""
        ...

    def enrolment_nonce(self, code_sha256: str) -> str:
        """Return the nonce for this code (SP-10)."""
        ...


class Uploads(Protocol):
    """Ingest's tus resource (SP-33 to SP-35)."""

    async def create(self, manifest: Manifest, filename: str) -> str:
        """Create the upload; return its URL."""
        ...

    async def offset(self, url: str) -> int:
        """Return how many bytes the server holds."""
        ...

    async def send(self, url: str, offset: int, chunk: bytes) -> int:
        """Send one chunk; return the new offset."""
        ...

    async def status(self, url: str) -> UploadStatus:
        """Return what became of the upload."""
        ...


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """One encoded picture; ``pts`` in 90 kHz ticks."""

    data: bytes
    pts: int
    keyframe: bool


class Encoder(Protocol):
    """Turns frames of one size into pictures of one codec; used by one thread."""

    def encode(self, frame: CapturedFrame, *, keyframe: bool) -> list[EncodedPicture]:
        """Encode ``frame``; ``keyframe`` forces an IDR (or VP8 key) picture."""
        ...

    def close(self) -> None:
        """Free the codec."""
        ...


EncoderFactory = Callable[[StreamFormat], Encoder]


class MediaSession(Protocol):
    """One WHIP session while its peer lives."""

    @property
    def rtp_origin(self) -> int | None:
        """Return what the sender adds to ``pts`` for the RTP timestamp; None before the first packet."""
        ...

    def offer(self, picture: EncodedPicture) -> None:
        """Queue a picture; when the queue is full everything is dropped up to the next keyframe. Event loop only."""
        ...

    async def renew(self) -> float:
        """Show the server our present token; return the seconds until that should be done again.

        Raises StreamGone when the server does not hold the session any more, ServerRefused when it does not understand.
        """
        ...

    async def wait_lost(self) -> str:
        """Return when the peer is gone, with the reason."""
        ...

    async def close(self) -> None:
        """Hang up: DELETE the resource, close the peer. Idempotent."""
        ...


class Publisher(Protocol):
    """Opens WHIP sessions."""

    async def connect(self, stream: DesiredStream, on_keyframe: Callable[[], None]) -> MediaSession:
        """Return a session whose peer is connected; raises StreamGone or ServerUnavailable."""
        ...


class Spool(Protocol):
    """Objects on disk until a receipt is held. Blocking: call it in a thread."""

    def put(self, manifest: Manifest, body: bytes) -> None:
        """Make object and manifest durable (SP-36); raises SpoolFull."""
        ...

    def entries(self) -> list[Manifest]:
        """Return what waits, stills first, oldest first."""
        ...

    def find(self, capture_id: str) -> Manifest | None:
        """Return the waiting entry of a capture."""
        ...

    def update(self, manifest: Manifest) -> None:
        """Replace the manifest durably."""
        ...

    def read(self, manifest: Manifest, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes of the object from ``offset``."""
        ...

    def remove(self, manifest: Manifest) -> None:
        """Forget an object whose receipt is held."""
        ...

    def quarantine(self, manifest: Manifest, reason: str) -> None:
        """Set an object aside for a person to look at."""
        ...

    def unacknowledged(self) -> tuple[int, int]:
        """Return (objects, bytes) without receipt."""
        ...


@dataclass(frozen=True, slots=True)
class OpenCommand:
    """A command without a delivered result."""

    command_id: str
    type: CommandType
    capture_id: str
    room_id: str


class Memory(Protocol):
    """What the agent must remember over a crash. Blocking but small: call it in a thread."""

    def next_media_epoch(self) -> int:
        """Count one more start and return it (SP-44)."""
        ...

    def add_event(self, kind: AgentEventType, at: datetime, data: dict[str, Any]) -> int:
        """Give the event the next ``seq`` and keep it (SP-30)."""
        ...

    def waiting_events(self, limit: int) -> list[AgentEvent]:
        """Return the oldest events without acknowledgement."""
        ...

    def forget_events(self, through_seq: int) -> None:
        """Drop what the server holds."""
        ...

    def note_received(self, command: OpenCommand) -> bool:
        """Remember a command before its ack; False when it was known already (SP-25)."""
        ...

    def note_accepted(self, command_id: str) -> None:
        """Remember that the server holds our acceptance."""
        ...

    def drop_command(self, command_id: str) -> None:
        """Forget a command that had no effect."""
        ...

    def note_result(self, command_id: str, result: Result) -> None:
        """Keep the result until it is delivered; the first one counts."""
        ...

    def waiting_results(self) -> list[tuple[str, Result]]:
        """Return results that the server does not hold yet."""
        ...

    def result_delivered(self, command_id: str) -> None:
        """The server holds the result."""
        ...

    def interrupted(self) -> list[OpenCommand]:
        """Return commands received before this start and without result (SP-28)."""
        ...

    def deliver_again(self, command_id: str) -> bool:
        """Let a delivered result be delivered once more; False when there is none."""
        ...

    def next_number(self, series_uid: str) -> int:
        """Count one more instance of a series and return it."""
        ...

    def put_stream(self, stream: DesiredStream) -> None:
        """Remember a desired stream (SP-40)."""
        ...

    def drop_stream(self, room_id: str, codec: str) -> None:
        """Forget a desired stream."""
        ...

    def streams(self) -> list[DesiredStream]:
        """Return the desired streams."""
        ...


@dataclass(frozen=True, slots=True)
class ObjectUids:
    """The identifiers of one object, derived from its capture id."""

    series: str
    sop_instance: str
    instance_number: int = 1


@dataclass(frozen=True, slots=True)
class BuiltObject:
    """A DICOM file's bytes and what it is."""

    body: bytes
    sop_class_uid: str
    series_uid: str
    sop_instance_uid: str


class ObjectBuilder(Protocol):
    """Makes DICOM files of captured frames. CPU-bound: call it in a thread."""

    def still(
        self, frame: CapturedFrame | KeptFrame, context: CaptureContext, uids: ObjectUids, ref: FrameRef
    ) -> BuiltObject:
        """Build one image of a raw or kept frame, without further loss."""
        ...

    def clip(
        self, frames: Sequence[KeptFrame], context: CaptureContext, uids: ObjectUids, ref: FrameRef
    ) -> BuiltObject:
        """Build one multi-frame image of JPEG frames, oldest first; ``ref`` names the first."""
        ...


class Camera(Protocol):
    """The capture worker, seen by the flows."""

    def device(self) -> Device:
        """Return the device as the cloud shall see it."""
        ...
