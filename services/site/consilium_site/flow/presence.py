"""Tells the server what the site's devices and spool look like, at most once a second and only when it changed (SP-31)."""

from __future__ import annotations

import asyncio
from typing import Any

from consilium_core.site_protocol import AgentEventType, Device
from consilium_site.flow.report import Reporter
from consilium_site.ports import Camera, Spool

_SHORTEST_BETWEEN_S = 1.0


class Presence:
    """Watches camera and spool; ``changed`` may be called from any thread."""

    def __init__(self, spool: Spool, reporter: Reporter) -> None:
        self._camera: Camera | None = None
        self._spool = spool
        self._reporter = reporter
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._told: dict[str, Any] | None = None

    def watch(self, camera: Camera) -> None:
        """Report this camera's device."""
        self._camera = camera

    def changed(self, _device: Device | None = None) -> None:
        """Something may look different now."""
        self._loop.call_soon_threadsafe(self._changed.set)

    async def run(self) -> None:
        """Report for ever."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            count, size = await asyncio.to_thread(self._spool.unacknowledged)
            state = {
                "devices": [self._camera.device().model_dump(mode="json")] if self._camera else [],
                "spool": {"unacknowledged": count, "bytes": size},
            }
            if state != self._told:
                self._told = state
                await self._reporter.add(AgentEventType.DEVICES, state)
            await asyncio.sleep(_SHORTEST_BETWEEN_S)
