"""The last minute in full quality: newest frames kept, oldest dropped by age and by bytes; the last seconds also raw. Pure.

One thread writes (the ring worker), others read; a lock makes each call atomic. Frames are immutable once kept.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from consilium_core.frame_ref import FrameRef
from consilium_site.domain.frames import RTP_CLOCK_HZ, CapturedFrame, KeptFrame, rtp_distance, rtp_timestamp
from consilium_site.errors import FrameNotKept

FRESH_S = 2.0  # a frame older than this is not what the machine shows now


@dataclass(frozen=True, slots=True)
class RingLimits:
    """How much is kept: JPEG frames by age and bytes, raw frames by age and bytes."""

    seconds: float = 60.0
    max_bytes: int = 768 * 2**20
    raw_seconds: float = 2.0
    raw_max_bytes: int = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Shown:
    """What of the ring a room may have: frames from ``since_pts`` on, the first that was published into it. ``now_us``: UTC microseconds.

    What the machine showed before is another examination's, perhaps another patient's.
    """

    since_pts: int
    now_us: int


@dataclass(frozen=True, slots=True)
class RingUse:
    """What the ring holds now."""

    frames: int
    size_bytes: int
    raw_frames: int
    raw_bytes: int
    seconds: float


class FrameRing:
    """Bounded memory of frames, oldest dropped first."""

    def __init__(self, limits: RingLimits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._kept: deque[KeptFrame] = deque()
        self._kept_bytes = 0
        self._raw: deque[CapturedFrame] = deque()
        self._raw_bytes = 0

    def keep_raw(self, frame: CapturedFrame) -> None:
        """Add a raw frame; raw frames of another size or beyond the limits leave."""
        with self._lock:
            self._raw.append(frame)
            self._raw_bytes += frame.pixels.nbytes
            oldest_pts = frame.pts - self._limits.raw_seconds * RTP_CLOCK_HZ
            while len(self._raw) > 1 and (
                self._raw[0].pts < oldest_pts or self._raw_bytes > self._limits.raw_max_bytes
            ):
                self._raw_bytes -= self._raw.popleft().pixels.nbytes

    def keep(self, frame: KeptFrame) -> None:
        """Add a compressed frame; frames beyond the limits leave."""
        with self._lock:
            self._kept.append(frame)
            self._kept_bytes += len(frame.jpeg)
            oldest_pts = frame.pts - self._limits.seconds * RTP_CLOCK_HZ
            while len(self._kept) > 1 and (self._kept[0].pts < oldest_pts or self._kept_bytes > self._limits.max_bytes):
                self._kept_bytes -= len(self._kept.popleft().jpeg)

    def use(self) -> RingUse:
        """Return what is held."""
        with self._lock:
            span = (self._kept[-1].pts - self._kept[0].pts) / RTP_CLOCK_HZ if self._kept else 0.0
            return RingUse(len(self._kept), self._kept_bytes, len(self._raw), self._raw_bytes, span)

    def last(self, seconds: float, shown: Shown) -> list[KeptFrame]:
        """Return the room's frames of the last ``seconds``, oldest first, all of the newest frame's size.

        Raises FrameNotKept when there are none: nothing was captured yet, or the picture has been standing for longer than that.
        """
        with self._lock:
            kept = [frame for frame in self._kept if frame.pts >= shown.since_pts]
        if not kept:
            raise FrameNotKept("Nothing of this room has been captured yet: check the capture device.")
        newest = kept[-1]
        stood_s = max(0.0, (shown.now_us - newest.stamp.captured_at_us) / 1e6)
        oldest_pts = newest.pts - (seconds - (stood_s if stood_s > FRESH_S else 0.0)) * RTP_CLOCK_HZ
        run: list[KeptFrame] = []
        for frame in reversed(kept):
            if frame.pts <= oldest_pts or (frame.width, frame.height) != (newest.width, newest.height):
                break
            run.append(frame)
        run.reverse()
        if not run:
            raise FrameNotKept(f"The picture has been standing for {stood_s:.0f} s: check the capture device.")
        return run

    def find(
        self, ref: FrameRef | None, origins: Iterable[int], frame_time_s: float, shown: Shown
    ) -> CapturedFrame | KeptFrame:
        """Return the room's frame that ``ref`` names (SP-43), raw when still at hand; None names the newest, if it is of now.

        ``origins`` are the RTP timestamp origins of the room's publications, newest last; ``frame_time_s`` bounds how far a match may lie.
        """
        with self._lock:
            raw = [frame for frame in self._raw if frame.pts >= shown.since_pts]
            kept = [frame for frame in self._kept if frame.pts >= shown.since_pts]
        if ref is None:
            frames: list[CapturedFrame | KeptFrame] = [*raw[-1:], *kept[-1:]]
            if not frames:
                raise FrameNotKept("Nothing of this room has been captured yet: check the capture device.")
            newest = max(frames, key=lambda f: (f.pts, isinstance(f, CapturedFrame)))
            stood_s = (shown.now_us - newest.stamp.captured_at_us) / 1e6
            if stood_s > FRESH_S:
                raise FrameNotKept(f"The picture has been standing for {stood_s:.0f} s: check the capture device.")
            return newest
        by_number: dict[tuple[int, int], CapturedFrame | KeptFrame] = {}
        every: list[CapturedFrame | KeptFrame] = [*kept, *raw]
        for frame in every:  # a raw frame takes the place of its compressed twin
            by_number[frame.stamp.media_epoch, frame.stamp.frame_no] = frame
        same_epoch = [f for f in by_number.values() if ref.media_epoch in (0, f.stamp.media_epoch)]
        found = _match(ref, same_epoch, list(origins), frame_time_s)
        if found is None:
            raise FrameNotKept("The named frame is not among the frames of the last minute.", rtp=ref.rtp_timestamp)
        return found


def _match(
    ref: FrameRef,
    frames: Sequence[CapturedFrame | KeptFrame],
    origins: list[int],
    frame_time_s: float,
) -> CapturedFrame | KeptFrame | None:
    tolerance = frame_time_s * 0.75
    if ref.frame_no is not None and ref.media_epoch:
        for frame in frames:
            if (frame.stamp.media_epoch, frame.stamp.frame_no) == (ref.media_epoch, ref.frame_no):
                return frame
    if not frames:
        return None
    for origin in reversed(origins):
        distance, nearest = min(
            ((rtp_distance(ref.rtp_timestamp, rtp_timestamp(f.pts, origin)), f) for f in frames),
            key=lambda pair: pair[0],
        )
        if distance <= tolerance * RTP_CLOCK_HZ:
            return nearest
    if ref.captured_at_us is not None:
        at_us = ref.captured_at_us
        closest = min(frames, key=lambda f: abs(f.stamp.captured_at_us - at_us))
        if abs(closest.stamp.captured_at_us - at_us) <= tolerance * 1e6:
            return closest
    return None
