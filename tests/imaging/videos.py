"""Small videos for tests: encoded here, put into an object as a scanner would."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import av
import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from consilium_core.ids import new_uid

Container = Literal["h264", "hevc", "mpegts", "mp4"]
H264, HEVC, MPEG2 = "1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.107", "1.2.840.10008.1.2.4.100"
FRAMES, WIDTH, HEIGHT = 60, 320, 240


def encode(path: Path, container: Container, codec: str, *, b_frames: int = 0) -> bytes:
    """Return a clip of 60 pictures at 30 per second: a bright bar that moves to the right."""
    with av.open(str(path), "w", format=container) as made:
        stream = made.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"bf": str(b_frames), "g": "15", "preset": "ultrafast" if not b_frames else "veryfast"}
        if codec == "libx265":
            stream.options["x265-params"] = "log-level=none"
        for number in range(FRAMES):
            pixels = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
            pixels[:, number * 5 : number * 5 + 10] = 255
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number
            made.mux(stream.encode(frame))
        made.mux(stream.encode())
    return path.read_bytes()


def bars(data: bytes, path: Path) -> list[tuple[float, int]]:
    """Return (time in s, place of the bar) of each decoded picture, in the order they are shown."""
    path.write_bytes(data)
    with av.open(str(path)) as made:
        track = made.streams.video[0]
        shown = [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in made.decode(track)]
    return [(at, int(pixels[100].astype(int).sum(axis=1).argmax())) for at, pixels in shown]


def video_instance(stream: bytes, syntax: str, *, fragments: int = 1, **attributes: object) -> bytes:
    """Return a Video Endoscopic object around the stream."""
    dataset = Dataset()
    plain: dict[str, object] = {
        "SpecificCharacterSet": "ISO_IR 192", "ImageType": ["ORIGINAL", "PRIMARY"],
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.1.1", "SOPInstanceUID": new_uid(), "StudyDate": "20240102",
        "ContentDate": "20240102", "StudyTime": "101112", "ContentTime": "101113", "AccessionNumber": "A1",
        "Modality": "ES", "Manufacturer": "consilium", "ReferringPhysicianName": "", "PatientName": "Wang^Xiaodong",
        "PatientID": "P1", "PatientBirthDate": "19600203", "PatientSex": "M", "StudyInstanceUID": new_uid(),
        "SeriesInstanceUID": new_uid(), "StudyID": "S1", "SeriesNumber": 1, "InstanceNumber": 1, "PatientOrientation": "",
        "CineRate": "30", "FrameTime": "33.333", "FrameIncrementPointer": 0x00181063, "SamplesPerPixel": 3,
        "PhotometricInterpretation": "YBR_PARTIAL_420", "PlanarConfiguration": 0, "NumberOfFrames": FRAMES, "Rows": HEIGHT,
        "Columns": WIDTH, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0,
        "AcquisitionContextSequence": [], "LossyImageCompression": "01", "LossyImageCompressionRatio": "20",
        "LossyImageCompressionMethod": "ISO_14496_10",
    }  # fmt: skip
    for keyword, value in {**plain, **attributes}.items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.PixelData = encapsulate([stream], fragments_per_frame=fragments, has_bot=False)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta = meta
    out = io.BytesIO()
    dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()
