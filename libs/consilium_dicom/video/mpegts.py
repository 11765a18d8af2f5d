"""MPEG transport streams: the video's elementary stream, put together from its packets (ISO/IEC 13818-1 2.4)."""

from __future__ import annotations

from consilium_dicom.video.bits import VideoUnreadable
from consilium_dicom.video.source import VideoBytes

_MOST_BYTES = 24 << 20
_CODECS = {0x01: "MPEG-2", 0x02: "MPEG-2", 0x1B: "H.264", 0x20: "H.264", 0x24: "HEVC"}


def packet_size(head: bytes) -> int:
    """Return 188 or 192 (a time stamp before each packet, as on discs) if ``head`` begins a transport stream, else 0."""
    for size, skip in ((188, 0), (192, 4)):
        marks = head[skip::size][:4]
        if len(marks) > 1 and set(marks) == {0x47}:
            return size
    return 0


def demultiplex(source: VideoBytes, size: int) -> tuple[bytes, str, bool]:
    """Return (the elementary stream's beginning, its codec, whether it is whole). Raises VideoUnreadable."""
    data = source.read(0, _MOST_BYTES // size * size)
    skip = size - 188
    map_pid = video_pid = -1
    codec, out = "", []
    for at in range(skip, len(data) - 187, size):
        if data[at] != 0x47:
            raise VideoUnreadable(f"the transport stream loses its step at byte {at}")
        pid = (data[at + 1] & 31) << 8 | data[at + 2]
        if pid != video_pid and (video_pid >= 0 or pid not in {0, map_pid}):
            continue
        control, start = data[at + 3] >> 4 & 3, at + 4
        if control & 2:
            start += 1 + data[at + 4]
        if not control & 1 or start >= at + 188:
            continue
        body, begins = data[start : at + 188], bool(data[at + 1] & 0x40)
        if pid == video_pid:
            out.append(body[9 + body[8] :] if begins and body[:3] == b"\0\0\1" and len(body) > 9 else body)
        elif begins and pid == 0:
            map_pid = _first_program(body)
        elif begins:
            video_pid, codec = _video(body)
    if not out:
        raise VideoUnreadable("the transport stream names no video")
    return b"".join(out), codec, len(data) >= source.size // size * size


def _section(body: bytes) -> bytes:
    section = body[1 + body[0] :]
    return section[: 3 + ((section[1] & 15) << 8 | section[2]) - 4] if len(section) > 8 else b""


def _first_program(body: bytes) -> int:
    section = _section(body)
    for at in range(8, len(section) - 3, 4):
        if section[at] or section[at + 1]:
            return (section[at + 2] & 31) << 8 | section[at + 3]
    return -1


def _video(body: bytes) -> tuple[int, str]:
    section = _section(body)
    if len(section) < 12:
        return -1, ""
    at = 12 + ((section[10] & 15) << 8 | section[11])
    while at + 5 <= len(section):
        codec = _CODECS.get(section[at])
        if codec:
            return (section[at + 1] & 31) << 8 | section[at + 2], codec
        at += 5 + ((section[at + 3] & 15) << 8 | section[at + 4])
    return -1, ""
