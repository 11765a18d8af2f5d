"""Read a video stream whatever holds it: MP4, MPEG-TS, a program stream, or nothing."""

from __future__ import annotations

import struct
from dataclasses import replace

from consilium_dicom.video.bits import VideoUnreadable
from consilium_dicom.video.elementary import read_elementary
from consilium_dicom.video.mp4 import read_mp4
from consilium_dicom.video.mpegts import demultiplex, packet_size
from consilium_dicom.video.source import VideoBytes
from consilium_dicom.video.stream import VideoStream

_PACK = b"\0\0\1\xba"


def read_video(source: VideoBytes) -> VideoStream:
    """Return what the stream says of itself; raise VideoUnreadable."""
    head = source.read(0, 4 * 192)
    try:
        if head[4:8] in {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"}:
            return read_mp4(source)
        size = packet_size(head)
        if size:
            stream, codec, whole = demultiplex(source, size)
            found = read_elementary(VideoBytes(stream, [(0, len(stream))]), "MPEG-TS", codec)
            return found if whole else replace(found, frames=None)
        if head.startswith(_PACK):
            return read_elementary(source, "an MPEG program stream", "MPEG-2")
        return read_elementary(source, "no container")
    except (struct.error, IndexError) as error:
        raise VideoUnreadable("the stream ends inside a table") from error
