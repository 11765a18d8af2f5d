"""Life of one publication as a table: state x signal -> state; anything else is a Conflict. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

from consilium_core.errors import Conflict


class PublicationState(StrEnum):
    """Where a publication stands."""

    IDLE = "idle"
    CONNECTING = "connecting"
    LIVE = "live"
    WAITING = "waiting"  # lost; the next attempt is due
    STOPPED = "stopped"


class Signal(StrEnum):
    """What may happen to it."""

    ATTEMPT = "attempt"
    CONNECTED = "connected"
    LOST = "lost"
    GONE = "gone"
    STOP = "stop"


_S, _G = PublicationState, Signal
TRANSITIONS: dict[tuple[PublicationState, Signal], PublicationState] = {
    (_S.IDLE, _G.ATTEMPT): _S.CONNECTING,
    (_S.WAITING, _G.ATTEMPT): _S.CONNECTING,
    (_S.CONNECTING, _G.CONNECTED): _S.LIVE,
    (_S.CONNECTING, _G.LOST): _S.WAITING,
    (_S.LIVE, _G.LOST): _S.WAITING,
    (_S.CONNECTING, _G.GONE): _S.STOPPED,
    (_S.WAITING, _G.GONE): _S.STOPPED,
    (_S.IDLE, _G.STOP): _S.STOPPED,
    (_S.CONNECTING, _G.STOP): _S.STOPPED,
    (_S.LIVE, _G.STOP): _S.STOPPED,
    (_S.WAITING, _G.STOP): _S.STOPPED,
    (_S.STOPPED, _G.STOP): _S.STOPPED,
}


def after(state: PublicationState, signal: Signal) -> PublicationState:
    """Return the next state; raises Conflict for a transition that is not in the table."""
    try:
        return TRANSITIONS[(state, signal)]
    except KeyError:
        raise Conflict(f"A publication that is {state} cannot take {signal}.", state=state, signal=signal) from None


@dataclass(frozen=True, slots=True)
class DesiredStream:
    """What the cloud asked to be published: one per room and codec (SP-40)."""

    room_id: str
    codec: str
    max_height: int
    max_bitrate_bps: int

    @property
    def whip_path(self) -> str:
        """Return the fixed address of the room's WHIP endpoint on our server (SP-41)."""
        return f"/whip/{quote(self.room_id, safe='')}"

    @property
    def key(self) -> tuple[str, str]:
        """Return the identity of the stream."""
        return self.room_id, self.codec


@dataclass(frozen=True, slots=True)
class StreamFormat:
    """What is being encoded."""

    codec: str
    width: int
    height: int
    fps: float
    bitrate_bps: int


def fit(width: int, height: int, max_height: int) -> tuple[int, int]:
    """Return (width, height) scaled down to ``max_height`` rows with the same aspect, both even; never scaled up."""
    if height > max_height:
        width, height = round(width * max_height / height), max_height
    return width + (width & 1), height + (height & 1)
