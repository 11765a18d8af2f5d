"""V3 of video: the bit stream is what the transfer syntax and the header say (PS3.5 8.2.5 to 8.2.11, A.4.5 to A.4.14).

The stream's own words decide: another codec, a higher profile or level, or other rows and columns make the object invalid; a frame
count, a frame time or an entry point that differs is a warning, for the pictures are all there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from consilium_dicom.findings import Finding, finding
from consilium_dicom.header import Header
from consilium_dicom.scan import Scan
from consilium_dicom.video.bits import VideoUnreadable
from consilium_dicom.video.read import read_video
from consilium_dicom.video.source import VideoBytes
from consilium_dicom.video.stream import Picture, VideoStream

_PIXELS = "(7FE0,0010)"
_H264_PROFILES = {
    66: "Baseline", 77: "Main", 88: "Extended", 100: "High", 110: "High 10", 118: "Multiview High", 122: "High 4:2:2",
    128: "Stereo High", 244: "High 4:4:4",
}  # fmt: skip
_HEVC_PROFILES = {1: "Main", 2: "Main 10", 3: "Main Still Picture", 4: "range extensions"}
_MPEG2_PROFILES = {5: "Simple", 4: "Main", 3: "SNR", 2: "Spatial", 1: "High"}
_MPEG2_LEVELS = {10: ("Low", 0), 8: ("Main", 1), 6: ("High 1440", 2), 4: ("High", 3)}
_TOLERANCE = 0.01
_BD_FORMATS = {
    (1080, 1920): (23.976, 24.0, 25.0, 29.97, 30.0),
    (720, 1280): (23.976, 24.0, 50.0, 59.94, 60.0),
}


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a transfer syntax demands; ``level`` is ten times the level, of MPEG-2 its rank."""

    codec: str
    profiles: frozenset[int]
    level: int
    words: str


_HIGH_41 = _Rule("H.264", frozenset({100}), 41, "High profile, level 4.1")
_HIGH_42 = _Rule("H.264", frozenset({100}), 42, "High profile, level 4.2")
_STEREO_42 = _Rule("H.264", frozenset({100, 128}), 42, "Stereo High profile, level 4.2")
_RULES = {
    "100": _Rule("MPEG-2", frozenset({4}), 1, "Main profile, Main level"),
    "101": _Rule("MPEG-2", frozenset({4}), 3, "Main profile, High level"),
    "102": _HIGH_41,
    "103": _HIGH_41,
    "104": _HIGH_42,
    "105": _HIGH_42,
    "106": _STEREO_42,
    "107": _Rule("HEVC", frozenset({1}), 51, "Main profile, level 5.1"),
    "108": _Rule("HEVC", frozenset({1, 2}), 51, "Main 10 profile, level 5.1"),
}


def video_findings(source: Scan, header: Header, segments: Sequence[tuple[int, int]]) -> Iterator[Finding]:
    """Yield what contradicts the transfer syntax or the header; ``segments`` are the fragments of the pixel data."""
    suffix = header.transfer_syntax_uid.removeprefix("1.2.840.10008.1.2.4.").split(".")[0]
    try:
        stream = read_video(VideoBytes(source.buffer, segments))
    except VideoUnreadable as error:
        yield finding("video-unreadable", _PIXELS, why=error.detail)
        return
    picture = stream.picture
    rule = _RULES[suffix]
    if picture.codec != rule.codec:
        yield finding("video-codec-mismatch", "(0002,0010)", actual=picture.codec, stated=rule.codec)
        return
    yield from _profile(picture, rule)
    if (picture.height, picture.width) != (header.rows, header.columns):
        stated = f"{header.columns}x{header.rows}"
        yield finding("video-size-mismatch", "(0028,0010)", actual=f"{picture.width}x{picture.height}", stated=stated)
    if not stream.alone:
        yield finding("video-no-keyframe", _PIXELS)
    yield from _timing(source, header, stream)
    yield from _shape(header, stream)
    if suffix == "103":
        yield from _disc(picture, stream.fps)


def _profile(picture: Picture, rule: _Rule) -> Iterator[Finding]:
    level = _MPEG2_LEVELS.get(picture.level, ("?", 99))[1] if picture.codec == "MPEG-2" else picture.level
    known = picture.profile in rule.profiles
    lower = not known and _decodable(picture)
    if lower and level <= rule.level:
        yield finding("video-profile-lower", "(0002,0010)", actual=profile_words(picture), stated=rule.words)
    elif not known or level > rule.level or picture.tier:
        yield finding("video-profile-mismatch", "(0002,0010)", actual=profile_words(picture), stated=rule.words)


def _decodable(picture: Picture) -> bool:
    """Tell whether a decoder of the demanded profile reads a lower one: H.264 A.2.4, 13818-2 8.4."""
    if picture.codec == "H.264":
        return picture.profile == 77 or (picture.profile in {66, 88} and bool(picture.constraints & 0x40))
    return picture.codec == "MPEG-2" and picture.profile == 5


def profile_words(picture: Picture) -> str:
    """Return profile and level as people say them."""
    if picture.codec == "MPEG-2":
        level = _MPEG2_LEVELS.get(picture.level, (f"unknown ({picture.level})", 0))[0]
        return f"{_MPEG2_PROFILES.get(picture.profile, f'unknown ({picture.profile})')} profile, {level} level"
    names = _H264_PROFILES if picture.codec == "H.264" else _HEVC_PROFILES
    tier = ", high tier" if picture.tier else ""
    return f"{names.get(picture.profile, f'unknown ({picture.profile})')} profile, level {picture.level / 10:.1f}{tier}"


def _timing(source: Scan, header: Header, stream: VideoStream) -> Iterator[Finding]:
    if stream.frames is not None and stream.frames != header.frames:
        yield finding("video-frames-mismatch", "(0028,0008)", actual=stream.frames, stated=header.frames)
    if stream.open_groups:
        yield finding("video-gop-open", _PIXELS, count=stream.open_groups)
    stated, path = 1000 / header.frame_time_ms if header.frame_time_ms else None, "(0018,1063)"
    if stated is None:
        stated, path = _number(source.value(0x00180040)), "(0018,0040)"
    if stated and stream.fps and abs(stated / stream.fps - 1) > _TOLERANCE:
        yield finding("video-rate-mismatch", path, actual=f"{stream.fps:.2f}", stated=f"{stated:.2f}")


def _number(raw: bytes) -> float | None:
    try:
        return float(raw.strip(b" \0") or 0) or None
    except ValueError:
        return None


def _shape(header: Header, stream: VideoStream) -> Iterator[Finding]:
    """Yield what the standard fixes beside profile and size: container, square samples, 4:2:0."""
    if stream.container == "no container":
        yield finding("video-container", _PIXELS, actual=stream.container)
    if not stream.picture.square:
        yield finding("video-aspect-ratio", _PIXELS)
    if header.photometric != "YBR_PARTIAL_420":
        yield finding("video-photometric", "(0028,0004)", stated=header.photometric)


def _disc(picture: Picture, fps: float | None) -> Iterator[Finding]:
    rates = _BD_FORMATS.get((picture.height, picture.width), ())
    if fps is not None and not any(abs(fps / rate - 1) <= _TOLERANCE / 10 for rate in rates):
        actual = f"{picture.width}x{picture.height} at {fps:.2f} frames/s"
        yield finding("video-format-unusual", "(0002,0010)", actual=actual)
