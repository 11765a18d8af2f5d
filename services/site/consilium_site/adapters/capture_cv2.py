"""One worker thread around ``cv2.VideoCapture``: device, file or URL in, stamped BGR frames out.

Files are paced at their own frame rate and played again when they end; anything that fails is opened again with back-off.
The thread owns the capture object; ``close`` stops it and returns when it has ended.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import cv2
import numpy as np
import structlog

from consilium_core.frame_ref import FrameStamp
from consilium_core.site_protocol import Device
from consilium_site.domain.backoff import Backoff
from consilium_site.domain.frames import DEVICE_ID, CapturedFrame, Pixels, pts_from
from consilium_site.errors import NoSignal, SourceFailed

log = structlog.get_logger(__name__)
_FALLBACK_FPS = 30.0
_STALL_S = 0.1


class SourceKind(StrEnum):
    """How a source behaves when it ends and who sets its pace."""

    DEVICE = "device"
    FILE = "file"
    URL = "url"


@dataclass(frozen=True, slots=True)
class Source:
    """What to open; ``loop`` and ``realtime`` matter for files only; width, height and fps of 0 mean the source's own."""

    kind: SourceKind
    address: str
    name: str
    loop: bool = True
    realtime: bool = True
    fps: float = 0.0
    width: int = 0
    height: int = 0
    open_timeout_s: float = 10.0


def source_kind(address: str) -> SourceKind:
    """Tell a device index or path from a URL and a file."""
    if address.isdigit() or address.startswith("/dev/"):
        return SourceKind.DEVICE
    if "://" in address and not address.startswith("file://"):
        return SourceKind.URL
    return SourceKind.FILE


class CaptureWorker:
    """Captures for ever until closed; every frame goes to ``on_frame`` in the worker's thread."""

    def __init__(
        self,
        source: Source,
        media_epoch: int,
        on_frame: Callable[[CapturedFrame], None],
        on_change: Callable[[Device], None],
    ) -> None:
        self._source = source
        self._media_epoch = media_epoch
        self._on_frame = on_frame
        self._on_change = on_change
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._device = Device(id=DEVICE_ID, name=source.name, state="idle", detail="starting")
        self._frame_no = 0
        self._began_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and wait for it; a driver that hangs is left behind after 5 s."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def device(self) -> Device:
        """Return the device's state in words."""
        with self._lock:
            return self._device

    def _run(self) -> None:
        backoff = Backoff(first_s=0.5, max_s=5.0)
        while not self._stop.is_set():
            try:
                self._capture(backoff)
                return
            except NoSignal as error:
                self._tell("no_signal", error.detail)
            except (SourceFailed, cv2.error) as error:
                self._tell("error", error.detail if isinstance(error, SourceFailed) else "The driver failed.")
            except Exception:
                log.exception("capture_failed")
                self._tell("error", "Capturing failed; the agent's log says why.")
            self._stop.wait(0.2 + backoff.next_delay_s())

    def _capture(self, backoff: Backoff) -> None:
        capture = self._open()
        try:
            fps = self._source.fps or float(capture.get(cv2.CAP_PROP_FPS))
            fps = fps if np.isfinite(fps) and 1.0 <= fps <= 240.0 else _FALLBACK_FPS
            paced = self._source.kind is SourceKind.FILE and self._source.realtime
            due_s = time.monotonic()
            first = True
            while not self._stop.is_set():
                ok, pixels = capture.read()
                if not ok or pixels is None:
                    if not self._again(capture, first):
                        return
                    first = True
                    continue
                if paced:
                    due_s = self._wait_until(due_s + 1.0 / fps)
                if pixels.ndim == 2:
                    pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
                self._emit(np.asarray(pixels, dtype=np.uint8))
                if first:
                    first = False
                    backoff.reset()
                    self._tell("live", "", int(pixels.shape[1]), int(pixels.shape[0]), fps)
        finally:
            capture.release()

    def _open(self) -> cv2.VideoCapture:
        source, timeout_ms = self._source, int(self._source.open_timeout_s * 1000)
        if source.kind is SourceKind.DEVICE:
            capture = cv2.VideoCapture(
                int(source.address) if source.address.isdigit() else source.address, cv2.CAP_V4L2
            )
            if capture.isOpened() and source.width and source.height:
                capture.set(cv2.CAP_PROP_FRAME_WIDTH, source.width)
                capture.set(cv2.CAP_PROP_FRAME_HEIGHT, source.height)
        else:
            path = source.address.removeprefix("file://")
            if source.kind is SourceKind.FILE and not Path(path).is_file():
                raise SourceFailed("The capture file does not exist.")
            options = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms]
            capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, options)
        if not capture.isOpened():
            capture.release()
            words = {
                SourceKind.DEVICE: "The capture device cannot be opened: is it plugged in, and not used by another program?",
                SourceKind.FILE: "The capture file cannot be read as video.",
                SourceKind.URL: "The network source does not answer.",
            }
            raise SourceFailed(words[source.kind])
        return capture

    def _again(self, capture: cv2.VideoCapture, first: bool) -> bool:
        """Say whether reading goes on after an empty read; False ends the worker."""
        if self._source.kind is not SourceKind.FILE:
            raise NoSignal("No picture arrives: check the cable and that the machine is on.")
        if first:
            raise SourceFailed("The capture file holds no picture.")
        if not self._source.loop:
            self._tell("no_signal", "The capture file has ended.")
            return False
        if not capture.set(cv2.CAP_PROP_POS_FRAMES, 0):
            raise SourceFailed("The capture file cannot be played again.")
        return True

    def _wait_until(self, due_s: float) -> float:
        """Wait for ``due_s``; after a stall of more than ``_STALL_S`` the schedule begins anew, as a card's would."""
        ahead_s = due_s - time.monotonic()
        if ahead_s > 0:
            self._stop.wait(ahead_s)
        return due_s if ahead_s > -_STALL_S else time.monotonic()

    def _emit(self, pixels: Pixels) -> None:
        self._frame_no += 1
        stamp = FrameStamp(self._media_epoch, self._frame_no, time.time_ns() // 1000)
        self._on_frame(CapturedFrame(stamp, pts_from(time.monotonic() - self._began_s), pixels))

    def _tell(self, state: str, detail: str, width: int = 0, height: int = 0, fps: float = 0.0) -> None:
        device = Device.model_validate(
            {
                "id": DEVICE_ID,
                "name": self._source.name,
                "state": state,
                "detail": detail,
                "width": width,
                "height": height,
                "fps": round(fps, 3),
            }
        )
        with self._lock:
            changed, self._device = device != self._device, device
        if changed:
            self._on_change(device)


def compress_jpeg(quality: int) -> Callable[[Pixels], bytes]:
    """Return a function from BGR pixels to a baseline JPEG with 4:2:2 chroma at ``quality`` (ITU-T T.81)."""
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
        cv2.IMWRITE_JPEG_OPTIMIZE,
        0,
    ]

    def compress(pixels: Pixels) -> bytes:
        ok, encoded = cv2.imencode(".jpg", pixels, options)
        if not ok:
            raise SourceFailed("A frame could not be compressed.")
        return encoded.tobytes()

    return compress
