"""The one identifier of a live frame, and how it travels inside H.264 (ITU-T H.264 D.1.7, user data unregistered SEI).

The site puts one such SEI message before each keyframe. The forwarder reads it without decoding pictures and publishes
(RTP timestamp -> frame) so that strokes, stills and report lines name the same frame on every screen.
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

SEI_UUID = uuid.UUID("6f1b5f0e-7c0b-4f6a-9c38-3c0f2f7d9a11").bytes
_SEI_BODY = struct.Struct("!IIQ")  # media epoch, frame number, capture time in UTC microseconds
_NAL_SEI = 6
U32 = Annotated[int, Field(ge=0, le=2**32 - 1)]
U64 = Annotated[int, Field(ge=0, le=2**64 - 1)]
_PAYLOAD_USER_DATA_UNREGISTERED = 5


class FrameRef(BaseModel):
    """Names one frame of one live track; ``rtp_timestamp`` in 90 kHz ticks as the publisher sent it."""

    model_config = ConfigDict(frozen=True)

    track_id: Annotated[str, Field(max_length=64)]
    rtp_timestamp: U32
    media_epoch: U32 = 0
    frame_no: U32 | None = None
    captured_at_us: U64 | None = None


@dataclass(frozen=True, slots=True)
class FrameStamp:
    """What the site knows of a frame at the moment of capture."""

    media_epoch: int
    frame_no: int
    captured_at_us: int


def _escape(rbsp: bytes) -> bytes:
    """Insert emulation prevention bytes (ITU-T H.264 7.4.1)."""
    out = bytearray()
    zeros = 0
    for byte in rbsp:
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


def unescape(ebsp: bytes) -> bytes:
    """Take emulation prevention bytes out of a NAL unit (ITU-T H.264 7.4.1)."""
    out = bytearray()
    zeros = 0
    for byte in ebsp:
        if zeros >= 2 and byte == 3:
            zeros = 0
            continue
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


def sei_nal(stamp: FrameStamp) -> bytes:
    """Return the SEI NAL unit for ``stamp``, without a start code."""
    body = SEI_UUID + _SEI_BODY.pack(stamp.media_epoch, stamp.frame_no & 0xFFFFFFFF, stamp.captured_at_us)
    return bytes([_NAL_SEI]) + _escape(bytes([_PAYLOAD_USER_DATA_UNREGISTERED, len(body)]) + body + b"\x80")


def parse_sei_nal(nal: bytes) -> FrameStamp | None:
    """Return the stamp in a SEI NAL unit (no start code), or None if it holds none of ours."""
    if len(nal) < 3 or nal[0] & 0x1F != _NAL_SEI:
        return None
    data = unescape(nal[1:])
    at = 0
    while at + 2 <= len(data) and data[at] != 0x80:
        payload_type = size = 0
        while at < len(data) and data[at] == 0xFF:
            payload_type, at = payload_type + 255, at + 1
        if at >= len(data):
            return None
        payload_type, at = payload_type + data[at], at + 1
        while at < len(data) and data[at] == 0xFF:
            size, at = size + 255, at + 1
        if at >= len(data):
            return None
        size, at = size + data[at], at + 1
        body = data[at : at + size]
        at += size
        if payload_type == _PAYLOAD_USER_DATA_UNREGISTERED and body[:16] == SEI_UUID and len(body) >= 32:
            return FrameStamp(*_SEI_BODY.unpack_from(body, 16))
    return None
