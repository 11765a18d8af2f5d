"""What each command does; returns the ``data`` of its result (SP-26)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from consilium_core.site_protocol import (
    AgentDiagnose,
    AgentEventType,
    CaptureClip,
    CaptureMark,
    Command,
    StreamKeyframe,
    StreamPublish,
    StreamStop,
)
from consilium_site.domain.frames import DEVICE_ID
from consilium_site.domain.publication import DesiredStream
from consilium_site.domain.spool import Manifest
from consilium_site.errors import SourceFailed, StreamGone
from consilium_site.flow.make_capture import CaptureMaker
from consilium_site.flow.presence import Presence
from consilium_site.flow.publish import Publishing
from consilium_site.flow.report import Reporter
from consilium_site.flow.upload import Uploader


class Orders:
    """The catalogue's verbs."""

    def __init__(
        self,
        publishing: Publishing,
        captures: CaptureMaker,
        uploader: Uploader,
        reporter: Reporter,
        presence: Presence,
        health: Callable[[], Awaitable[dict[str, Any]]],
    ) -> None:
        self._publishing = publishing
        self._captures = captures
        self._uploader = uploader
        self._reporter = reporter
        self._presence = presence
        self._health = health

    async def obey(self, command: Command) -> dict[str, Any]:
        """Do what ``command`` says; raises errors of the tree."""
        order = command.args
        match order:
            case StreamPublish():
                return await self._publish(order)
            case StreamStop():
                await self._publishing.stop(order.room_id, order.codec, "command")
                return {"room_id": order.room_id}
            case StreamKeyframe():
                if not self._publishing.keyframe(order.room_id):
                    raise StreamGone("Nothing is published into this room.")
                return {"room_id": order.room_id}
            case CaptureMark():
                return await self._spooled(await self._captures.mark(command.id, order))
            case CaptureClip():
                return await self._spooled(await self._captures.clip(command.id, order))
            case AgentDiagnose():
                await self._reporter.add(AgentEventType.DIAGNOSTICS, await self._health())
                return {}

    async def _publish(self, order: StreamPublish) -> dict[str, Any]:
        if order.device not in (None, DEVICE_ID):
            raise SourceFailed("This agent has no such capture device.")
        stream = DesiredStream(order.room_id, order.codec, order.max_height, order.max_bitrate_bps)
        publication = await self._publishing.start(stream)
        try:
            return dict(await asyncio.shield(publication.started))
        except asyncio.CancelledError:
            await self._publishing.stop(order.room_id, order.codec, "command")
            raise

    async def _spooled(self, manifest: Manifest) -> dict[str, Any]:
        outcome = manifest.outcome()
        facts = {**outcome, "room_id": manifest.room_id, "command_id": manifest.command_id}
        await self._reporter.add(AgentEventType.CAPTURE_SPOOLED, facts)
        self._uploader.more()
        self._presence.changed()
        return outcome
