"""Make a DICOM Part 10 file of what the site captured: a still, or a clip of JPEG frames.

Flows in: pixels or JPEGs, the consultation's ``CaptureContext``, the ``Equipment``; flows out: the bytes of one file
(PS3.10 7), ready to be spooled and uploaded. The SOP class follows the context's modality (``sop_class_for``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pydicom import uid as uids
from pydicom.dataset import Dataset

from consilium_core.frame_ref import FrameRef
from consilium_core.site_protocol import CaptureContext
from consilium_dicom import build_modules as modules
from consilium_dicom.build_calibration import Calibration, calibrate
from consilium_dicom.build_modules import Equipment, Identity, Region, read_frame_reference
from consilium_dicom.encapsulation import Compression, encode_losslessly, extended_table, fragments
from consilium_dicom.errors import DicomInvalid, UnsuitableJpeg
from consilium_dicom.jpeg_stream import JpegShape, check_baseline
from consilium_dicom.part10 import IMPLEMENTATION_CLASS_UID, part10_file

__all__ = [
    "IMPLEMENTATION_CLASS_UID",
    "Calibration",
    "Compression",
    "Equipment",
    "Region",
    "StillImage",
    "build_clip",
    "build_still",
    "read_frame_reference",
    "sop_class_for",
]

_BOT_LIMIT = 0xFFFFFFFE
_VL = {
    "ES": uids.VLEndoscopicImageStorage,
    "XC": uids.VLPhotographicImageStorage,
    "GM": uids.VLMicroscopicImageStorage,
}


@dataclass(frozen=True, slots=True)
class StillImage:
    """One picture: (rows, columns, 3) RGB or (rows, columns) grey, uint8, full range.

    ``source_lossy_method`` (``ISO_10918_1`` for motion JPEG, ``ISO_14496_10`` for H.264) and ``source_lossy_ratio``
    are stated when the picture had been lossily compressed before it came here (PS3.3 C.7.6.1.1.5).
    """

    pixels: NDArray[np.uint8]
    source_lossy_method: str | None = None
    source_lossy_ratio: float | None = None
    burned_in_annotation: bool = True

    def __post_init__(self) -> None:
        """Refuse what is not a picture."""
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8 or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)):
            raise DicomInvalid(f"a still is HxWx3 or HxW of uint8, not {shape} of {self.pixels.dtype}")
        if not (1 <= shape[0] <= 65535 and 1 <= shape[1] <= 65535):
            raise DicomInvalid(f"a still of {shape[1]}x{shape[0]} does not fit rows and columns of 16 bits")


def sop_class_for(modality: str, *, clip: bool, colour: bool = True) -> str:
    """Return the SOP class UID for a captured object of this modality (PS3.4 B.5); unknown ones are Secondary Capture."""
    if modality == "US":
        return str(uids.UltrasoundMultiFrameImageStorage if clip else uids.UltrasoundImageStorage)
    if clip:
        return str(
            uids.MultiFrameTrueColorSecondaryCaptureImageStorage
            if colour
            else uids.MultiFrameGrayscaleByteSecondaryCaptureImageStorage
        )
    return str(_VL.get(modality, uids.SecondaryCaptureImageStorage))


def _is(sop_class: str, word: str) -> bool:
    """Tell whether the SOP class's keyword in PS3.6 holds ``word``."""
    return word in uids.UID(sop_class).keyword


def _aware(captured_at: datetime) -> datetime:
    if captured_at.utcoffset() is None:
        raise DicomInvalid("captured_at must know its time zone")
    return captured_at


def _common(
    context: CaptureContext, identity: Identity, made_by: Equipment, *, sop_class: str, burned_in: bool
) -> Dataset:
    """Return a data set with every module that all captured objects share."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = modules.valid_uid("SOP instance UID", identity.sop_instance_uid)
    modules.patient(ds, context)
    modules.study(ds, context, identity)
    modules.series(ds, context, identity, context.modality or "OT")
    modules.equipment(ds, made_by)
    modules.image(ds, identity, burned_in=burned_in)
    if sop_class in _VL.values():
        ds.AcquisitionContextSequence = []
    if _is(sop_class, "SecondaryCapture"):
        ds.ConversionType = made_by.conversion_type
        ds.DateOfSecondaryCapture, ds.TimeOfSecondaryCapture = ds.ContentDate, ds.ContentTime
    return ds


def _pixel_module(ds: Dataset, rows: int, columns: int, *, photometric: str) -> None:
    """Add the Image Pixel module's description (PS3.3 C.7.6.3), 8 bit unsigned."""
    colour = photometric not in {"MONOCHROME1", "MONOCHROME2"}
    ds.SamplesPerPixel = 3 if colour else 1
    ds.PhotometricInterpretation = photometric
    if colour:
        ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = rows, columns
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0


def _kind_module(
    ds: Dataset,
    context: CaptureContext,
    region: Region | Sequence[Region] | None,
    calibration: Calibration | None,
) -> None:
    """Add what only this kind of image has: US Image (C.8.5.6), VL Image (C.8.12.1) or SC Image (C.8.6.2)."""
    if context.modality == "US":
        ds.ImageType = ["ORIGINAL", "PRIMARY", "", "0001"]
        ds.UltrasoundColorDataPresent = 1 if ds.SamplesPerPixel == 3 else 0
        regions = (region,) if isinstance(region, Region) else tuple(region or ())
        if regions:
            modules.us_regions(ds, regions)
    elif _is(ds.SOPClassUID, "SecondaryCapture"):
        ds.ImageType = ["DERIVED", "SECONDARY"]
        if calibration is not None:
            calibrate(ds, calibration)
    else:
        ds.ImageType = ["ORIGINAL", "PRIMARY"]
    if ds.SamplesPerPixel == 1 and _is(ds.SOPClassUID, "MultiFrame") and context.modality != "US":
        ds.PresentationLUTShape = "IDENTITY"
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"


def build_still(
    pixels: NDArray[np.uint8] | StillImage,
    context: CaptureContext,
    *,
    sop_instance_uid: str,
    series_uid: str,
    captured_at: datetime,
    equipment: Equipment,
    instance_number: int,
    frame_ref: FrameRef | None = None,
    region: Region | Sequence[Region] | None = None,
    calibration: Calibration | None = None,
    compression: Compression = "none",
    series_number: int | None = 1,
    series_description: str = "",
    study_started_at: datetime | None = None,
) -> bytes:
    """Return one captured picture as a Part 10 file, without loss.

    ``captured_at`` must be time-zone aware and becomes content and acquisition time in its own zone. ``region`` is
    written only for ultrasound, ``calibration`` only for secondary capture, and both only when they are known. Raises ``DicomInvalid`` for ids that DICOM cannot hold.
    """
    still = pixels if isinstance(pixels, StillImage) else StillImage(pixels)
    identity = Identity(
        sop_instance_uid,
        series_uid,
        _aware(captured_at),
        instance_number,
        series_number,
        series_description,
        study_started_at,
    )
    sop_class = sop_class_for(context.modality, clip=False)
    ds = _common(context, identity, equipment, sop_class=sop_class, burned_in=still.burned_in_annotation)
    rows, columns = still.pixels.shape[:2]
    _pixel_module(ds, rows, columns, photometric="RGB" if still.pixels.ndim == 3 else "MONOCHROME2")
    _kind_module(ds, context, region, calibration)
    modules.lossy(ds, still.source_lossy_ratio, still.source_lossy_method)
    if frame_ref is not None:
        modules.frame_reference(ds, frame_ref)
    transfer_syntax, value = encode_losslessly(still.pixels, compression)
    ds.add_new("PixelData", "OB", value)
    if compression != "none":
        ds["PixelData"].is_undefined_length = True
    return part10_file(ds, transfer_syntax)


def _check_frames(jpeg_frames: Sequence[bytes], rows: int, columns: int) -> JpegShape:
    """Return the shape that all frames share; raise ``UnsuitableJpeg`` naming the first frame that differs."""
    if not jpeg_frames:
        raise UnsuitableJpeg("a clip needs at least one frame")
    first: JpegShape | None = None
    for number, frame in enumerate(jpeg_frames, start=1):
        try:
            shape = check_baseline(frame, rows, columns)
        except UnsuitableJpeg as error:
            raise UnsuitableJpeg(f"frame {number}: {error.detail}", frame=number) from error
        first = first or shape
        if shape.subsampling != first.subsampling:
            raise UnsuitableJpeg(
                f"frame {number}: 4:{shape.subsampling[1:]} among frames of 4:{first.subsampling[1:]}",
                frame=number,
            )
    if first is None:
        raise UnsuitableJpeg("a clip needs at least one frame")
    return first


def build_clip(
    jpeg_frames: Sequence[bytes],
    context: CaptureContext,
    *,
    rows: int,
    columns: int,
    sop_instance_uid: str,
    series_uid: str,
    captured_at: datetime,
    equipment: Equipment,
    instance_number: int,
    fps: float | None = None,
    frame_times_ms: Sequence[float] | None = None,
    frame_ref: FrameRef | None = None,
    region: Region | Sequence[Region] | None = None,
    calibration: Calibration | None = None,
    burned_in_annotation: bool = True,
    extended_offset_table: bool | None = None,
    series_number: int | None = 1,
    series_description: str = "",
    study_started_at: datetime | None = None,
) -> bytes:
    """Return JPEG baseline frames as one multi-frame Part 10 file; the frames' bytes are stored untouched.

    ``captured_at`` is the first frame's moment. Frame times are ms. Every frame must be baseline, of the stated size and of
    either 4:2:2 colour (YBR_FULL_422) or grey (MONOCHROME2), else ``UnsuitableJpeg`` says which is not.
    ``extended_offset_table`` None writes a Basic Offset Table where 32 bits are enough (PS3.5 A.4).
    """
    shape = _check_frames(jpeg_frames, rows, columns)
    colour = shape.components == 3
    identity = Identity(
        sop_instance_uid,
        series_uid,
        _aware(captured_at),
        instance_number,
        series_number,
        series_description,
        study_started_at,
    )
    sop_class = sop_class_for(context.modality, clip=True, colour=colour)
    ds = _common(context, identity, equipment, sop_class=sop_class, burned_in=burned_in_annotation)
    photometric = "YBR_FULL_422" if colour else "MONOCHROME2"
    _pixel_module(ds, rows, columns, photometric=photometric)
    _kind_module(ds, context, region, calibration)
    modules.cine(ds, len(jpeg_frames), fps, frame_times_ms)
    total = sum(len(frame) + (len(frame) & 1) + 8 for frame in jpeg_frames)
    modules.lossy(ds, rows * columns * shape.components * len(jpeg_frames) / total, "ISO_10918_1")
    if frame_ref is not None:
        modules.frame_reference(ds, frame_ref)
    extended = total > _BOT_LIMIT if extended_offset_table is None else extended_offset_table
    if extended:
        ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = extended_table(jpeg_frames)
    return part10_file(ds, str(uids.JPEGBaseline8Bit), fragments(jpeg_frames, with_table=not extended))
