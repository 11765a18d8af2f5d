"""From the local ring to the spool: a still or a clip becomes a DICOM file on disk before anything is said of it (SP-36).

UIDs come from the capture id, so that the same capture made twice is the same object. CPU work runs in a thread.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Protocol

import structlog

from consilium_core.clock import Clock, iso
from consilium_core.frame_ref import FrameRef
from consilium_core.ids import uid_from
from consilium_core.site_protocol import CaptureClip, CaptureContext, CaptureMark
from consilium_site.domain.frames import CapturedFrame, KeptFrame, rtp_timestamp
from consilium_site.domain.ring import FrameRing, Shown
from consilium_site.domain.spool import Manifest
from consilium_site.errors import NotPublishing
from consilium_site.ports import BuiltObject, Camera, Memory, ObjectBuilder, ObjectUids, Spool

log = structlog.get_logger(__name__)
_CATCH_UP_S = 0.25
_AT_ONCE = 2


class Published(Protocol):
    """What is known of a room's publications."""

    def origins(self, room_id: str) -> Sequence[int]:
        """Return the RTP origins that its frames were sent with, newest last."""
        ...

    def since(self, room_id: str) -> int | None:
        """Return the ``pts`` of the first frame of the room's present run; None when nothing is published into it."""
        ...


class CaptureMaker:
    """Makes captures; one per call, two worked on at once (each holds its frames and its object in memory)."""

    def __init__(
        self,
        ring: FrameRing,
        camera: Camera,
        spool: Spool,
        memory: Memory,
        builder: ObjectBuilder,
        clock: Clock,
        published: Published,
    ) -> None:
        self._ring = ring
        self._camera = camera
        self._spool = spool
        self._memory = memory
        self._builder = builder
        self._clock = clock
        self._published = published
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def mark(self, command_id: str, order: CaptureMark) -> Manifest:
        """Store one still; raises FrameNotKept, SpoolFull or an error of the builder."""
        frame_time_s = 1.0 / (self._camera.device().fps or 30.0)
        origins = self._published.origins(order.room_id)
        frame = self._ring.find(order.frame, origins, frame_time_s, self._shown(order.room_id))
        async with self._room:
            return await asyncio.to_thread(self._still, command_id, order, frame)

    async def clip(self, command_id: str, order: CaptureClip) -> Manifest:
        """Store the last seconds up to now; waits for the newest frame's compression (a quarter second at most)."""
        await asyncio.sleep(min(_CATCH_UP_S, 2.0 / (self._camera.device().fps or 30.0)))
        frames = self._ring.last(order.seconds, self._shown(order.room_id))
        async with self._room:
            return await asyncio.to_thread(self._clip, command_id, order, frames)

    def _shown(self, room_id: str) -> Shown:
        """Return which frames are the room's; raise NotPublishing when nothing is sent into it."""
        since_pts = self._published.since(room_id)
        if since_pts is None:
            raise NotPublishing("Nothing is published into this room: there is no picture of it to capture.")
        return Shown(since_pts, round(self._clock.now().timestamp() * 1_000_000))

    def _still(self, command_id: str, order: CaptureMark, frame: CapturedFrame | KeptFrame) -> Manifest:
        known = self._spool.find(order.capture_id)
        if known is not None:
            return known
        uids = self._uids(order.capture_id, order.room_id, order.context)
        built = self._builder.still(frame, order.context, uids, self._ref(order.room_id, frame, order.frame))
        return self._keep(command_id, order, built, [frame], lossless=isinstance(frame, CapturedFrame))

    def _clip(self, command_id: str, order: CaptureClip, frames: list[KeptFrame]) -> Manifest:
        known = self._spool.find(order.capture_id)
        if known is not None:
            return known
        uids = self._uids(order.capture_id, order.room_id, order.context)
        built = self._builder.clip(frames, order.context, uids, self._ref(order.room_id, frames[0], None))
        return self._keep(command_id, order, built, frames, lossless=False)

    def _uids(self, capture_id: str, room_id: str, context: CaptureContext) -> ObjectUids:
        series = context.series_uid or uid_from("consilium.site.series", f"{context.study_uid}/{room_id}")
        number = self._memory.next_number(series)
        return ObjectUids(series, uid_from("consilium.site.capture", capture_id), number)

    def _ref(self, room_id: str, frame: CapturedFrame | KeptFrame, asked: FrameRef | None) -> FrameRef:
        origins = self._published.origins(room_id)
        rtp = asked.rtp_timestamp if asked else rtp_timestamp(frame.pts, origins[-1] if origins else 0)
        return FrameRef(
            track_id=asked.track_id if asked else "",
            rtp_timestamp=rtp,
            media_epoch=frame.stamp.media_epoch,
            frame_no=frame.stamp.frame_no,
            captured_at_us=frame.stamp.captured_at_us,
        )

    def _keep(
        self,
        command_id: str,
        order: CaptureMark | CaptureClip,
        built: BuiltObject,
        frames: Sequence[CapturedFrame | KeptFrame],
        *,
        lossless: bool,
    ) -> Manifest:
        stamp = frames[0].stamp
        manifest = Manifest(
            capture_id=order.capture_id,
            command_id=command_id,
            room_id=order.room_id,
            kind="still" if isinstance(order, CaptureMark) else "clip",
            sha256=hashlib.sha256(built.body).hexdigest(),
            size_bytes=len(built.body),
            study_uid=order.context.study_uid,
            series_uid=built.series_uid,
            sop_instance_uid=built.sop_instance_uid,
            sop_class_uid=built.sop_class_uid,
            frames=len(frames),
            lossless=lossless,
            media_epoch=stamp.media_epoch,
            frame_no=stamp.frame_no,
            captured_at_us=stamp.captured_at_us,
            spooled_at=iso(self._clock.now()),
        )
        self._spool.put(manifest, built.body)
        log.info("capture_spooled", capture_id=manifest.capture_id, kind=manifest.kind, frames=manifest.frames)
        return manifest
