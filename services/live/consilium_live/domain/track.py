"""A track as the room shows it (RS-10), and the second encode that the site makes on demand (RS-15). Monotonic seconds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from consilium_live.ports import CodecName, MediaKind, TrackState

Source = Literal["modality", "camera", "microphone"]
_ORDER = {"modality": 0, "microphone": 1, "camera": 2}


_PREFIX_CHARS = 58  # a track id has 64 at most (RS-10), the codec's name follows the prefix


def personal_prefix(room_id: str, subject: str) -> str:
    """Return what the ids of a person's own picture begin with: room and whole subject, or a digest where that is too long."""
    whole = f"{room_id}-{subject}"
    return whole if len(whole) <= _PREFIX_CHARS else hashlib.sha256(whole.encode()).hexdigest()[:32]


@dataclass(slots=True)
class RoomTrack:
    """One forwarded track; tracks of one ``group`` are encodes of one picture."""

    id: str
    kind: MediaKind
    source: Source
    codec: CodecName
    label: str
    session_id: str
    state: TrackState
    since: datetime
    group: str | None = None
    participant_id: str | None = None
    site_id: str | None = None
    size: tuple[int, int] | None = None  # width and height in pixels, once a keyframe has told

    @property
    def rank(self) -> tuple[int, bool, bool, str]:
        """Sort: the examination first, the site's own before others', H.264 before VP8, then by id."""
        return (_ORDER[self.source], self.site_id is None, self.codec == "VP8", self.id)


def bitrate_ceiling(max_height: int) -> int:
    """Return what an encode of so many rows may take, bit/s: 0.2 bit per pixel of 16:9 at 30 fps (SP-40), 1 to 8 Mbit/s."""
    return max(1_000_000, min(8_000_000, max_height * max_height * 16 * 30 // (9 * 5)))


class SecondEncode:
    """Who needs VP8 in a room, and when to ask the site for it or to let it go."""

    def __init__(self, linger_s: float = 30.0, retry_s: float = 10.0) -> None:
        self._linger_s = linger_s
        self._retry_s = retry_s
        self._viewers: set[str] = set()
        self._asked_at: float | None = None
        self._idle_since: float | None = None

    @property
    def viewers(self) -> frozenset[str]:
        """Return who needs it."""
        return frozenset(self._viewers)

    def need(self, viewer: str) -> None:
        """Somebody can't decode the first encode."""
        self._viewers.add(viewer)
        self._idle_since = None

    def drop(self, viewer: str, now: float) -> None:
        """Somebody left; with the last one the clock of ``linger_s`` starts."""
        if viewer in self._viewers:
            self._viewers.discard(viewer)
            if not self._viewers:
                self._idle_since = now

    def must_ask(self, now: float, *, running: bool) -> bool:
        """Say, once per ``retry_s``, that the site is to be asked; ``running``: the encode is there."""
        if running and not self._viewers and self._idle_since is None:
            self._idle_since = now  # it runs from before our start and nobody wants it
        if not self._viewers or running:
            return False
        if self._asked_at is not None and now - self._asked_at < self._retry_s:
            return False
        self._asked_at = now
        return True

    def must_stop(self, now: float) -> bool:
        """Say, once, that nobody has needed it for ``linger_s``."""
        if self._viewers or self._idle_since is None or now - self._idle_since < self._linger_s:
            return False
        self._idle_since = self._asked_at = None
        return True
