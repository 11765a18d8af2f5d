"""One thread per desired stream while its peer is connected: newest frame in, encoded pictures out.

A change of the picture's size builds a new encoder, which begins with a keyframe. Keyframes come every ``interval_s`` and upon
``request_keyframe``, at most two a second (SP-42).
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from consilium_site.domain.frames import RTP_CLOCK_HZ, CapturedFrame
from consilium_site.domain.h264 import bitrate_for
from consilium_site.domain.publication import DesiredStream, StreamFormat, fit
from consilium_site.flow.hub import FrameHub
from consilium_site.ports import EncodedPicture, Encoder, EncoderFactory

log = structlog.get_logger(__name__)
_SHORTEST_BETWEEN_KEYS_S = 0.5


class EncodeWorker:
    """Encodes one stream until closed; ``sink`` is called in the worker's thread."""

    def __init__(
        self,
        hub: FrameHub,
        stream: DesiredStream,
        fps: float,
        make_encoder: EncoderFactory,
        sink: Callable[[EncodedPicture], None],
        keyframe_interval_s: float,
        on_failed: Callable[[], None],
    ) -> None:
        self._on_failed = on_failed
        self._hub = hub
        self._stream = stream
        self._fps = fps
        self._make_encoder = make_encoder
        self._sink = sink
        self._interval = keyframe_interval_s * RTP_CLOCK_HZ
        self._slot = hub.subscribe()
        self._stop = threading.Event()
        self._key_wanted = threading.Event()
        self._encoder: Encoder | None = None
        self._format: StreamFormat | None = None
        self._source_size = (0, 0)
        self._last_key: int | None = None
        self.pictures = 0
        self._thread = threading.Thread(target=self._run, name=f"encode-{stream.codec}", daemon=True)

    @property
    def format(self) -> StreamFormat | None:
        """Return what is being encoded; None before the first frame."""
        return self._format

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def request_keyframe(self) -> None:
        """Make the next picture a keyframe."""
        self._key_wanted.set()

    def close(self) -> None:
        """Stop the thread and free the encoder. Blocking, at most 5 s."""
        self._stop.set()
        self._hub.unsubscribe(self._slot)
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                frame = self._slot.take(timeout_s=0.5)
                if frame is not None:
                    self._encode(frame)
        except Exception:
            log.exception("encoder_failed", room_id=self._stream.room_id, codec=self._stream.codec)
            self._on_failed()
        finally:
            if self._encoder is not None:
                self._encoder.close()

    def _encode(self, frame: CapturedFrame) -> None:
        if self._encoder is None or (frame.width, frame.height) != self._source_size:
            self._renew_encoder(frame)
        if self._encoder is None:
            return
        key = self._key_due(frame.pts)
        for picture in self._encoder.encode(frame, keyframe=key):
            if picture.keyframe:
                self._last_key = picture.pts
            self.pictures += 1
            self._sink(picture)

    def _key_due(self, pts: int) -> bool:
        if self._last_key is None or pts - self._last_key >= self._interval:
            self._key_wanted.clear()
            return True
        if self._key_wanted.is_set() and pts - self._last_key >= _SHORTEST_BETWEEN_KEYS_S * RTP_CLOCK_HZ:
            self._key_wanted.clear()
            return True
        return False

    def _renew_encoder(self, frame: CapturedFrame) -> None:
        if self._encoder is not None:
            self._encoder.close()
        self._source_size, self._last_key = (frame.width, frame.height), None
        width, height = fit(frame.width, frame.height, self._stream.max_height)
        bitrate = bitrate_for(width, height, self._fps, self._stream.max_bitrate_bps)
        self._format = StreamFormat(self._stream.codec, width, height, self._fps, bitrate)
        self._encoder = self._make_encoder(self._format)
        log.info("encoder_started", room_id=self._stream.room_id, codec=self._stream.codec, width=width, height=height)
