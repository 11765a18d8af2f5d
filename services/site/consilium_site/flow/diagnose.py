"""The agent's health in numbers: no addresses, names or patient data (SP-31 ``diagnostics``)."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from consilium_core.clock import Clock
from consilium_site import __version__
from consilium_site.flow.hub import FrameHub
from consilium_site.flow.publish import Publishing
from consilium_site.ports import Camera, Memory, Spool


class Health:
    """Collects one report."""

    def __init__(
        self,
        clock: Clock,
        camera: Camera,
        hub: FrameHub,
        spool: Spool,
        memory: Memory,
        publishing: Publishing,
        media_epoch: int,
        state_dir: Path,
    ) -> None:
        self._clock = clock
        self._camera = camera
        self._hub = hub
        self._spool = spool
        self._memory = memory
        self._publishing = publishing
        self._media_epoch = media_epoch
        self._state_dir = state_dir
        self._began_s = clock.monotonic()
        self.clock_offset_s: Callable[[], float] = lambda: 0.0

    async def report(self) -> dict[str, Any]:
        """Return the report."""
        device, ring = self._camera.device(), self._hub.ring.use()
        count, size = await asyncio.to_thread(self._spool.unacknowledged)
        disk = await asyncio.to_thread(shutil.disk_usage, self._state_dir)
        return {
            "version": __version__,
            "uptime_s": round(self._clock.monotonic() - self._began_s, 1),
            "media_epoch": self._media_epoch,
            "clock_offset_ms": round(self.clock_offset_s() * 1000),
            "device": {
                "state": device.state,
                "detail": device.detail,
                "width": device.width,
                "height": device.height,
                "fps": device.fps,
            },
            "ring": {
                "frames": ring.frames,
                "bytes": ring.size_bytes,
                "seconds": round(ring.seconds, 1),
                "not_kept": self._hub.not_kept,
            },
            "spool": {"unacknowledged": count, "bytes": size},
            "disk_free_bytes": disk.free,
            "publications": self._publishing.describe(),
        }
