"""What is known of one video stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Codec = Literal["H.264", "HEVC", "MPEG-2", "MPEG-1"]
Container = Literal["MP4", "MPEG-TS", "an MPEG program stream", "no container"]


@dataclass(frozen=True, slots=True)
class Picture:
    """What a sequence's parameters say. ``level`` is ten times the level (41), for MPEG-2 the level's code; fps is frames/s.

    ``constraints``: H.264's constraint flags as a byte; ``tier``: 1 for HEVC's high tier; ``square``: False for other than square samples.
    """

    codec: Codec
    profile: int
    level: int
    width: int
    height: int
    fps: float | None = None
    constraints: int = 0
    tier: int = 0
    chroma: int = 1
    bit_depth: int = 8
    interlaced: bool = False
    square: bool = True
    frame_number_bits: int = 0


@dataclass(frozen=True, slots=True)
class VideoStream:
    """A stream in its container. ``frames`` None: not counted to the end.

    ``alone``: its first picture needs no other; ``open_groups``: entry points whose pictures need earlier ones.
    """

    container: Container
    picture: Picture
    frames: int | None
    fps: float | None
    alone: bool
    open_groups: int
