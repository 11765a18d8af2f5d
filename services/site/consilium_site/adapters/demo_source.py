"""The demo's "capture card": the real colour echo cine that pydicom-data ships, remuxed once into a file that cv2 opens.

The 120 encapsulated JPEG frames (DICOM PS3.5 A.4) go into an MJPEG AVI without being decoded or encoded, at the cine's
own frame rate (FrameTime, PS3.3 C.7.6.5). No network is used.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pydicom
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames

from consilium_site.errors import SourceFailed

_CINE = "color3d_jpeg_baseline.dcm"


def demo_video(folder: Path) -> Path:
    """Return the demo video's path, made in ``folder`` on first use; raises SourceFailed without pydicom-data."""
    target = folder / "demo-echo.avi"
    if target.is_file():
        return target
    cine = get_testdata_file(_CINE, download=False)
    if not cine:
        raise SourceFailed(
            "The demo needs the package pydicom-data; install consilium[demo] or choose a capture source."
        )
    dataset = pydicom.dcmread(str(cine))
    rate = Fraction(1000 / float(dataset.FrameTime)).limit_denominator(1001)
    part = target.with_suffix(".part.avi")
    with av.open(str(part), "w", format="avi") as container:
        stream = container.add_stream("mjpeg", rate=rate)
        stream.width, stream.height, stream.pix_fmt = int(dataset.Columns), int(dataset.Rows), "yuvj422p"
        stream.time_base = 1 / rate
        frames = generate_frames(dataset.PixelData, number_of_frames=int(dataset.NumberOfFrames))
        for number, jpeg in enumerate(frames):
            packet = av.Packet(jpeg)
            packet.stream, packet.time_base = stream, 1 / rate
            packet.pts = packet.dts = number
            packet.is_keyframe = True
            container.mux(packet)
    part.replace(target)
    return target
