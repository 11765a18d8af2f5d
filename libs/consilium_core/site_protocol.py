"""Every message between a hospital's agent and the cloud, as versioned types (rules: docs/protocols/site-polling.md).

Only the site opens connections. Commands are data with an id, a deadline and an outcome; the catalogue is closed.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from consilium_core.frame_ref import FrameRef

SCHEMA_VERSION = 1


class Message(BaseModel):
    """Base of every message: frozen; unknown fields are ignored so that N-1 and N+1 peers understand each other."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class CommandType(StrEnum):
    """The closed catalogue: no shell, no proxy, no file path from the cloud."""

    STREAM_PUBLISH = "stream.publish"
    STREAM_STOP = "stream.stop"
    STREAM_KEYFRAME = "stream.keyframe"
    CAPTURE_MARK = "capture.mark"
    CAPTURE_CLIP = "capture.clip"
    AGENT_DIAGNOSE = "agent.diagnose"


class CommandState(StrEnum):
    """Life of a command (product's section 4.6)."""

    QUEUED = "queued"
    OFFERED = "offered"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class PatientContext(Message):
    """The patient whom a capture belongs to; ``name`` is a DICOM PN (PS3.5 6.2), dates are YYYYMMDD."""

    patient_id: str = ""
    issuer: str = ""
    name: str = ""
    birth_date: str = ""
    sex: Literal["M", "F", "O", ""] = ""


class CaptureContext(Message):
    """What a captured object must say of itself beyond its pixels."""

    patient: PatientContext = PatientContext()
    study_uid: str
    series_uid: str | None = None
    accession_number: str = ""
    modality: str = "US"
    study_description: str = ""
    referring_physician: str = ""
    operator_name: str = ""


class StreamPublish(Message):
    """Publish the capture device into a room by WHIP."""

    type: Literal[CommandType.STREAM_PUBLISH] = CommandType.STREAM_PUBLISH
    room_id: str
    device: str | None = None
    codec: Literal["h264", "vp8"] = "h264"
    max_height: int = Field(default=1080, ge=120, le=2160)
    max_bitrate_bps: int = Field(default=8_000_000, ge=100_000, le=20_000_000)


class StreamStop(Message):
    """Stop publishing; ``codec`` None stops every encode of the room."""

    type: Literal[CommandType.STREAM_STOP] = CommandType.STREAM_STOP
    room_id: str
    codec: Literal["h264", "vp8"] | None = None


class StreamKeyframe(Message):
    """Make the next encoded frame a keyframe."""

    type: Literal[CommandType.STREAM_KEYFRAME] = CommandType.STREAM_KEYFRAME
    room_id: str


class CaptureMark(Message):
    """Store one still from the local full-quality frames; ``frame`` None takes the newest."""

    type: Literal[CommandType.CAPTURE_MARK] = CommandType.CAPTURE_MARK
    room_id: str
    capture_id: str
    frame: FrameRef | None = None
    context: CaptureContext


class CaptureClip(Message):
    """Store the last ``seconds`` of the local full-quality frames as one multi-frame object."""

    type: Literal[CommandType.CAPTURE_CLIP] = CommandType.CAPTURE_CLIP
    room_id: str
    capture_id: str
    seconds: float = Field(default=10.0, gt=0, le=60)
    context: CaptureContext


class AgentDiagnose(Message):
    """Report the agent's health as an event; private addresses are removed by the agent."""

    type: Literal[CommandType.AGENT_DIAGNOSE] = CommandType.AGENT_DIAGNOSE


CommandArgs = Annotated[
    StreamPublish | StreamStop | StreamKeyframe | CaptureMark | CaptureClip | AgentDiagnose,
    Field(discriminator="type"),
]


class Command(Message):
    """One order to one site."""

    id: str
    seq: int
    schema_version: int = SCHEMA_VERSION
    args: CommandArgs
    issued_at: datetime
    deadline: datetime
    actor: str = ""

    @property
    def type(self) -> CommandType:
        """Return the type that ``args`` carries."""
        return self.args.type


class Device(Message):
    """One capture device of a site, in words a person understands."""

    id: str
    name: str
    kind: str = "capture"
    state: Literal["live", "idle", "no_signal", "error"] = "idle"
    detail: str = ""
    width: int = 0
    height: int = 0
    fps: float = 0.0


class AgentDescription(Message):
    """Which agent is speaking; ``public_key`` is reserved for proof-of-possession (JWK as JSON text)."""

    name: str
    version: str
    boot_id: str
    public_key: str = ""


class EnrollRequest(Message):
    """A one-time code for an identity; ``nonce`` makes a retry idempotent."""

    code: str = Field(min_length=4, max_length=32)
    nonce: str = Field(min_length=8, max_length=64)
    agent: AgentDescription


class Intervals(Message):
    """What the server asks of the agent's timing, seconds."""

    poll_wait_s: float = 50.0
    lease_renew_s: float = 20.0
    backoff_max_s: float = 60.0


class EnrollReply(Message):
    """The identity: ``refresh_secret`` is shown once and kept by the agent in a file only it can read."""

    site_id: str
    tenant: str
    name: str = ""
    access_token: str
    refresh_secret: str
    expires_in_s: float
    intervals: Intervals = Intervals()


class TokenRequest(Message):
    """Trade the long-lived secret for a short-lived token."""

    site_id: str
    refresh_secret: str


class TokenReply(Message):
    """A fresh access token."""

    access_token: str
    expires_in_s: float


class SessionRequest(Message):
    """Say hello after a start: version, devices, what is still unacknowledged."""

    agent: AgentDescription
    devices: list[Device] = []
    spool_unacknowledged: int = 0
    spool_bytes: int = 0
    sent_at: datetime


class SessionReply(Message):
    """Intervals, the server's time (for the clock offset) and the first cursor."""

    intervals: Intervals = Intervals()
    server_time: datetime
    cursor: int = 0


class PollReply(Message):
    """Commands with ``seq`` above the given cursor, oldest first, at most 16."""

    commands: list[Command]
    cursor: int
    server_time: datetime


class Ack(Message):
    """Accept or refuse a command, within 5 s of receiving it."""

    verdict: Literal["accepted", "refused"]
    reason: str = ""


class Result(Message):
    """How a command ended."""

    outcome: Literal["succeeded", "failed", "cancelled"]
    detail: str = ""
    data: dict[str, Any] = Field(default_factory=dict)


class LeaseRenewal(Message):
    """Running commands whose lease the agent renews."""

    leases: list[str]


class LeaseReply(Message):
    """What is renewed, and what the agent must stop."""

    renewed: list[str]
    cancel_requested: list[str]


class AgentEventType(StrEnum):
    """What an agent reports by itself."""

    DEVICES = "devices"
    STREAM_STARTED = "stream.started"
    STREAM_STOPPED = "stream.stopped"
    CAPTURE_SPOOLED = "capture.spooled"
    CAPTURE_UPLOADED = "capture.uploaded"
    CAPTURE_FAILED = "capture.failed"
    DIAGNOSTICS = "diagnostics"


class AgentEvent(Message):
    """One report; ``seq`` grows by one per agent for ever and is deduplicated by the server."""

    seq: int = Field(ge=1)
    type: AgentEventType
    time: datetime
    data: dict[str, Any] = Field(default_factory=dict)


class AgentEvents(Message):
    """A batch of reports in order of ``seq``."""

    events: list[AgentEvent] = Field(max_length=256)


class EventsReply(Message):
    """Everything up to this ``seq`` is durable and may be forgotten by the agent."""

    acked_through: int


class Receipt(Message):
    """Proof that an upload is stored, indexed and readable: only now may the spool forget it."""

    upload_id: str
    sha256: str
    size_bytes: int
    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    verdict: Literal["accept", "accept_with_warnings"]
    stored_at: datetime


class UploadStatus(Message):
    """What became of a finished upload (``GET /site/v1/uploads/{id}/status``).

    ``held``: durable in quarantine, ``problem`` says why; a person's decision turns it into ``ingested`` or ``rejected``.
    """

    upload_id: str
    state: Literal["receiving", "ingesting", "held", "ingested", "rejected"]
    offset: int
    length: int
    receipt: Receipt | None = None
    problem: dict[str, Any] | None = None
