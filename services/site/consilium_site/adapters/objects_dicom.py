"""Captured frames as DICOM files, by ``consilium_dicom.build``: raw frames as they are, kept frames' JPEGs untouched in clips."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

import cv2
import numpy as np
from pydicom.uid import UID

from consilium_core.frame_ref import FrameRef, FrameStamp
from consilium_core.site_protocol import CaptureContext
from consilium_dicom.build import Equipment, StillImage, build_clip, build_still, sop_class_for
from consilium_site import __version__
from consilium_site.domain.frames import RTP_CLOCK_HZ, CapturedFrame, KeptFrame, Pixels
from consilium_site.ports import BuiltObject, ObjectUids

_JPEG = "ISO_10918_1"


def captured_at(stamp: FrameStamp) -> datetime:
    """Return the capture time in the hospital's own time zone."""
    return datetime.fromtimestamp(stamp.captured_at_us / 1e6, UTC).astimezone()


def rgb_of(frame: CapturedFrame | KeptFrame) -> Pixels:
    """Return (rows, columns, 3) uint8 RGB of a raw or a kept frame."""
    if isinstance(frame, CapturedFrame):
        bgr = frame.pixels
    else:
        bgr = np.asarray(cv2.imdecode(np.frombuffer(frame.jpeg, dtype=np.uint8), cv2.IMREAD_COLOR), dtype=np.uint8)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


class DicomObjects:
    """``ports.ObjectBuilder``."""

    def __init__(self, station_name: str, device_name: str) -> None:
        self._equipment = Equipment(
            model_name="consilium site agent",
            station_name=station_name[:16],
            device_serial_number=device_name[:64],
            software_versions=__version__,
        )

    def still(
        self, frame: CapturedFrame | KeptFrame, context: CaptureContext, uids: ObjectUids, ref: FrameRef
    ) -> BuiltObject:
        """Build a still; one taken from the ring says that it had been compressed (PS3.3 C.7.6.1.1.5)."""
        pixels = rgb_of(frame)
        picture = StillImage(pixels)
        if isinstance(frame, KeptFrame):
            picture = StillImage(pixels, source_lossy_method=_JPEG, source_lossy_ratio=pixels.nbytes / len(frame.jpeg))
        body = build_still(
            picture,
            context,
            sop_instance_uid=uids.sop_instance,
            series_uid=uids.series,
            captured_at=captured_at(frame.stamp),
            equipment=self._equipment,
            instance_number=uids.instance_number,
            frame_ref=ref,
        )
        sop_class = sop_class_for(context.modality, clip=False)
        return BuiltObject(body, str(UID(sop_class)), uids.series, uids.sop_instance)

    def clip(
        self, frames: Sequence[KeptFrame], context: CaptureContext, uids: ObjectUids, ref: FrameRef
    ) -> BuiltObject:
        """Build a clip; frame times are the real ones of capture."""
        first = frames[0]
        times_ms = [(b.pts - a.pts) * 1000.0 / RTP_CLOCK_HZ for a, b in pairwise(frames)]
        body = build_clip(
            [frame.jpeg for frame in frames],
            context,
            rows=first.height,
            columns=first.width,
            sop_instance_uid=uids.sop_instance,
            series_uid=uids.series,
            captured_at=captured_at(first.stamp),
            equipment=self._equipment,
            instance_number=uids.instance_number,
            frame_times_ms=times_ms,
            frame_ref=ref,
        )
        sop_class = sop_class_for(context.modality, clip=True, colour=True)
        return BuiltObject(body, str(UID(sop_class)), uids.series, uids.sop_instance)
