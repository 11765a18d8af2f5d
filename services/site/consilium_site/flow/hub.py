"""Where captured frames go: the newest to each encoder, all of them into the ring.

The capture thread calls ``publish``; it never waits. Encoders hold a slot of one frame (a newer frame replaces it). The ring's
own thread compresses from a queue of ``_RING_QUEUE`` frames, the oldest dropped and counted when compression is too slow.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import structlog

from consilium_site.domain.frames import CapturedFrame, KeptFrame, Pixels
from consilium_site.domain.ring import FrameRing

log = structlog.get_logger(__name__)
_RING_QUEUE = 30


class NewestFrame:
    """A slot for one frame: ``put`` replaces what nobody took."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._frame: CapturedFrame | None = None
        self._closed = False
        self.replaced = 0

    def put(self, frame: CapturedFrame) -> None:
        """Offer a frame."""
        with self._ready:
            self.replaced += self._frame is not None
            self._frame = frame
            self._ready.notify()

    def take(self, timeout_s: float) -> CapturedFrame | None:
        """Return the newest frame, or None after ``timeout_s`` seconds or when closed."""
        with self._ready:
            if self._frame is None and not self._closed:
                self._ready.wait(timeout_s)
            frame, self._frame = self._frame, None
            return frame

    def close(self) -> None:
        """Wake whoever waits."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()


class FrameHub:
    """Fans captured frames out; owns the ring's thread."""

    def __init__(self, ring: FrameRing, compress: Callable[[Pixels], bytes]) -> None:
        self.ring = ring
        self._compress = compress
        self._lock = threading.Lock()
        self._slots: list[NewestFrame] = []
        self._ready = threading.Condition()
        self._queue: deque[CapturedFrame] = deque()
        self._closed = False
        self.not_kept = 0
        self._thread = threading.Thread(target=self._keep_frames, name="ring", daemon=True)

    def start(self) -> None:
        """Start the ring's thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the ring's thread and wake every encoder."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)
        with self._lock:
            for slot in self._slots:
                slot.close()

    def publish(self, frame: CapturedFrame) -> None:
        """Take one captured frame; never blocks."""
        with self._lock:
            slots = list(self._slots)
        for slot in slots:
            slot.put(frame)
        self.ring.keep_raw(frame)
        with self._ready:
            if len(self._queue) >= _RING_QUEUE:
                self._queue.popleft()
                self.not_kept += 1
            self._queue.append(frame)
            self._ready.notify()

    def subscribe(self) -> NewestFrame:
        """Return a slot that receives every new frame until ``unsubscribe``."""
        slot = NewestFrame()
        with self._lock:
            self._slots.append(slot)
        return slot

    def unsubscribe(self, slot: NewestFrame) -> None:
        """Stop feeding ``slot`` and wake its reader."""
        with self._lock:
            if slot in self._slots:
                self._slots.remove(slot)
        slot.close()

    def _keep_frames(self) -> None:
        while True:
            with self._ready:
                while not self._queue and not self._closed:
                    self._ready.wait()
                if self._closed:
                    return
                frame = self._queue.popleft()
            try:
                jpeg = self._compress(frame.pixels)
            except Exception:
                self.not_kept += 1
                log.exception("frame_not_kept")
                continue
            self.ring.keep(KeptFrame(frame.stamp, frame.pts, frame.width, frame.height, jpeg))
