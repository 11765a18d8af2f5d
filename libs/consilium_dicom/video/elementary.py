"""A bare stream of start codes: which codec it is, its first parameters, its pictures and entry points."""

from __future__ import annotations

from collections.abc import Iterator

from consilium_dicom.video import h264, hevc, mpeg2
from consilium_dicom.video.bits import VideoUnreadable
from consilium_dicom.video.source import VideoBytes
from consilium_dicom.video.stream import Container, Picture, VideoStream

_MOST_BYTES, _MOST_UNITS, _TAIL = 256 << 20, 200_000, 96
_PROBE = 4096
Units = Iterator[tuple[bytes, bool]]


def read_elementary(source: VideoBytes, container: Container, codec: str = "") -> VideoStream:
    """Return the stream; ``codec`` is what its container says. Raises VideoUnreadable."""
    units = source.start_codes(_MOST_BYTES, _MOST_UNITS, _TAIL)
    codec = codec or _codec(source)
    if codec == "MPEG-2":
        return _mpeg2(units, container)
    if codec == "HEVC":
        return _hevc(units, container)
    if codec == "H.264":
        return _h264(units, container)
    raise VideoUnreadable("no start code of H.264, HEVC or MPEG-2 is found")


def _codec(source: VideoBytes) -> str:
    """Return the codec by the first units: a sequence header, a sequence parameter set of H.264 or of HEVC."""
    for unit, _ in source.start_codes(1 << 20, _PROBE, 4):
        if not unit:
            continue
        if unit[0] == mpeg2.SEQUENCE:
            return "MPEG-2"
        if len(unit) > 1 and unit[0] & 0x81 == 0 and hevc.kind(unit) in {32, 33} and unit[1] & 7:
            return "HEVC"
        if unit[0] & 0x9F == h264.SPS:
            return "H.264"
    return ""


def _h264(units: Units, container: Container) -> VideoStream:
    picture: Picture | None = None
    first, frames, recovery, open_groups, bounded = 0, 0.0, False, 0, False
    for unit, full in units:
        bounded = bounded or full
        if not unit:
            continue
        kind = unit[0] & 31
        if kind == h264.SPS and picture is None:
            picture = h264.sequence(unit)
        elif picture is None:
            continue
        elif kind in {h264.IDR, h264.NON_IDR}:
            first = first or kind
            frames += h264.begins_picture(unit, picture)
            open_groups += recovery and kind == h264.NON_IDR
            recovery = False
        elif kind == h264.SEI:
            recovery = recovery or h264.is_recovery_point(unit)
    if picture is None or not first:
        raise VideoUnreadable("the H.264 stream holds no parameter set or no picture")
    count = None if bounded else round(frames)
    return VideoStream(container, picture, count, picture.fps, first == h264.IDR, open_groups)


def _hevc(units: Units, container: Container) -> VideoStream:
    picture: Picture | None = None
    first, frames, open_groups, bounded = 0, 0, 0, False
    for unit, full in units:
        bounded = bounded or full
        if not unit:
            continue
        if hevc.kind(unit) == hevc.SPS and picture is None:
            picture = hevc.sequence(unit)
        elif picture is not None and hevc.begins_picture(unit):
            kind = hevc.first_picture([unit])
            first = first or kind or -1
            open_groups += kind == 1 and frames > 0
            frames += 1
    if picture is None or not frames:
        raise VideoUnreadable("the HEVC stream holds no parameter set or no picture")
    return VideoStream(container, picture, None if bounded else frames, None, first > 0, open_groups)


def _mpeg2(units: Units, container: Container) -> VideoStream:
    picture: Picture | None = None
    alone: bool | None = None
    frames, bounded = 0, False
    for unit, full in units:
        bounded = bounded or full
        if not unit:
            continue
        if unit[0] == mpeg2.SEQUENCE and picture is None:
            picture = mpeg2.sequence(unit)
        elif picture is not None and unit[0] == mpeg2.EXTENSION and not frames:
            picture = mpeg2.extended(picture, unit)
        elif picture is not None and unit[0] == mpeg2.PICTURE:
            alone = mpeg2.is_intra(unit) if alone is None else alone
            frames += 1
    if picture is None or alone is None:
        raise VideoUnreadable("the MPEG stream holds no sequence header or no picture")
    # In a program stream packets cut through headers, and a frame may be two field pictures: then there is no count.
    counted = None if bounded or container == "an MPEG program stream" or picture.interlaced else frames
    return VideoStream(container, picture, counted, picture.fps, alone, 0)
