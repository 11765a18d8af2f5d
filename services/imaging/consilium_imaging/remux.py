"""Put a stored video into an MP4 that browsers play, without encoding it again (ISO/IEC 14496-14); take single pictures out of one.

Flows in: a file as it was cut out of the object (an elementary stream, MPEG-TS or MP4: PS3.5 8.2.7 and on); flows out: a file
with its index in front, so that a player may begin before it has everything. Blocking work of a thread.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from consilium_imaging.errors import VideoUnplayable

_PLAYABLE = frozenset({"h264", "hevc"})
_TICKS = 90_000
_MAX_SIDE = 8192


def remux(source: Path, target: Path, rate: Fraction) -> None:
    """Write ``source``'s first video track to ``target`` as MP4; raise VideoUnplayable.

    ``rate`` (frames per second) times an elementary stream, which knows no times. Sound is left out.
    """
    try:
        with av.open(str(source)) as given, av.open(str(target), "w", "mp4", options={"movflags": "faststart"}) as made:
            track = _track(given)
            out = made.add_stream_from_template(track)
            if track.codec_context.name == "hevc":
                out.codec_context.codec_tag = "hvc1"
            places = None if _timed(source) else _display_order(source)
            ticks = int(_TICKS / rate)
            for number, packet in enumerate(packet for packet in given.demux(track) if packet.size):
                if places is not None:
                    packet.time_base = Fraction(1, _TICKS)
                    packet.duration = ticks
                    packet.dts, packet.pts = number * ticks, (places.get(number, number) + _delay(places)) * ticks
                packet.stream = out
                made.mux(packet)
    except (av.FFmpegError, ValueError) as problem:
        raise VideoUnplayable(f"The stored video can't be put into an MP4: {problem}.") from problem


def _track(given: Any) -> Any:
    track = next(iter(given.streams.video), None)
    if track is None or track.codec_context.name not in _PLAYABLE:
        found = track.codec_context.name if track is not None else "no video"
        raise VideoUnplayable(f"The stored video holds {found}: only H.264 and HEVC are played as MP4.")
    return track


def _timed(source: Path) -> bool:
    """Tell whether the container says when each picture is shown."""
    with av.open(str(source)) as given:
        first = next((packet for packet in given.demux(_track(given)) if packet.size), None)
        return first is None or first.pts is not None


def _display_order(source: Path) -> dict[int, int]:
    """Return at which place each coded picture is shown; where pictures refer to later ones, decoding tells."""
    with av.open(str(source)) as given:
        track = _track(given)
        if not track.codec_context.has_b_frames:
            return {}
        order: list[int] = []
        for number, packet in enumerate(packet for packet in given.demux(track) if packet.size):
            packet.pts = packet.dts = number
            order += [int(frame.pts) for frame in packet.decode() if frame.pts is not None]
        order += [int(frame.pts) for frame in track.codec_context.decode(None) if frame.pts is not None]
    return {number: place for place, number in enumerate(order)}


def _delay(places: dict[int, int]) -> int:
    """Return by how many pictures showing lags behind decoding, so that nothing is shown before it is decoded."""
    return max((number - place for number, place in places.items()), default=0)


def picture_at(source: Path, share: float) -> NDArray[np.uint8]:
    """Return (rows, columns, 3) RGB of the keyframe at or before ``share`` (0 to 1) of the video; raise VideoUnplayable."""
    try:
        with av.open(str(source)) as given:
            track = next(iter(given.streams.video), None)
            if track is None or max(track.codec_context.width, track.codec_context.height) > _MAX_SIDE:
                raise VideoUnplayable("The stored video has no picture that can be drawn.")
            track.codec_context.skip_frame = "NONKEY"
            if track.duration and share > 0:
                given.seek(int((track.start_time or 0) + track.duration * share), stream=track)
            for frame in given.decode(track):
                return np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
    except (av.FFmpegError, ValueError) as problem:
        raise VideoUnplayable(f"The stored video can't be decoded: {problem}.") from problem
    raise VideoUnplayable("The stored video has no picture that can be drawn.")
