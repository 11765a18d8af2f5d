"""RTP headers and the few payload bytes that tell where a picture can be entered (RFC 3550 5.1, RFC 6184, RFC 7741)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

HEADER = struct.Struct("!BBHII")
HEADER_BYTES = 12

_NAL_IDR, _NAL_SEI, _NAL_SPS, _STAP_A, _FU_A = 5, 6, 7, 24, 28


class RtpHeader(NamedTuple):
    """What the forwarder needs of a received packet; `begin:end` is the payload without extensions and padding."""

    marker: bool
    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    begin: int
    end: int


def parse_header(packet: bytes) -> RtpHeader | None:
    """Return the header of a plain RTP packet, or None if it is malformed."""
    if len(packet) < HEADER_BYTES:
        return None
    first, second, sequence, timestamp, ssrc = HEADER.unpack_from(packet)
    if first >> 6 != 2:
        return None
    begin, end = HEADER_BYTES + 4 * (first & 15), len(packet)
    if first & 0x10:
        if begin + 4 > end:
            return None
        begin += 4 + 4 * int.from_bytes(packet[begin + 2 : begin + 4], "big")
    if first & 0x20:
        end -= packet[-1]
    if begin > end:
        return None
    return RtpHeader(second > 127, second & 127, sequence, timestamp, ssrc, begin, end)


def is_rtcp(datagram: bytes) -> bool:
    """Tell RTCP from RTP on one port (RFC 5761 4): payload types 64-95 with the marker bit."""
    return 192 <= datagram[1] <= 223


def h264_nals(payload: bytes) -> Iterator[bytes]:
    """Yield the whole NAL units of a single-NAL or STAP-A packet (RFC 6184 5.6, 5.7.1); nothing for fragments."""
    kind = payload[0] & 31 if payload else 0
    if 1 <= kind <= 23:
        yield payload
    elif kind == _STAP_A:
        at = 1
        while at + 2 <= len(payload):
            size = int.from_bytes(payload[at : at + 2], "big")
            if size == 0 or at + 2 + size > len(payload):
                return
            yield payload[at + 2 : at + 2 + size]
            at += 2 + size


def h264_is_key(payload: bytes) -> bool:
    """Tell whether a packet holds (the first fragment of) an IDR slice or a sequence parameter set."""
    if len(payload) < 2:
        return False
    kind = payload[0] & 31
    if kind == _FU_A:
        return payload[1] & 0x9F == 0x80 | _NAL_IDR
    if kind == _STAP_A:
        return any(nal[0] & 31 in (_NAL_IDR, _NAL_SPS) for nal in h264_nals(payload))
    return kind in (_NAL_IDR, _NAL_SPS)


def h264_may_hold_headers(payload: bytes) -> bool:
    """Say cheaply whether it is worth looking for SEI messages and sequence parameter sets."""
    return bool(payload) and payload[0] & 31 in (_NAL_SEI, _NAL_SPS, _STAP_A)


def vp8_is_key(payload: bytes) -> bool:
    """Tell whether a packet begins a key frame (RFC 7741 4.2, 4.3: start of partition 0 and an inverse P bit of 0)."""
    at = vp8_frame_at(payload)
    return at is not None and not payload[at] & 1


def vp8_frame_at(payload: bytes) -> int | None:
    """Return where the frame header begins in the first packet of a frame (RFC 7741 4.2), None in other packets."""
    if len(payload) < 2 or payload[0] & 0x17 != 0x10:
        return None
    at = 1
    if payload[0] & 0x80:
        flags = payload[1]
        at = 2
        if flags & 0x80:
            if at >= len(payload):
                return None
            at += 2 if payload[at] & 0x80 else 1
        at += bool(flags & 0x40) + bool(flags & 0x30)
    return at if at < len(payload) else None


def extend(sequence: int, highest: int) -> int:
    """Return the extended sequence number nearest to `highest` (RFC 3550 A.1 without its probation)."""
    return highest + ((sequence - highest + 0x8000) & 0xFFFF) - 0x8000


def one_byte_extension(packet: bytes, wanted: int) -> bytes | None:
    """Return one header extension element by its id, in the one-byte form (RFC 8285 4.2); None if it is not there."""
    if len(packet) < 16 or not packet[0] & 0x10:
        return None
    at = HEADER_BYTES + 4 * (packet[0] & 15)
    if packet[at : at + 2] != b"\xbe\xde":
        return None
    end = min(at + 4 + 4 * int.from_bytes(packet[at + 2 : at + 4], "big"), len(packet))
    at += 4
    while at < end:
        number, size = packet[at] >> 4, (packet[at] & 15) + 1
        if packet[at] == 0:
            at += 1
            continue
        if number == wanted:
            return packet[at + 1 : at + 1 + size] if at + 1 + size <= end else None
        at += 1 + size
    return None
