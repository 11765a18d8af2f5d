"""The information modules of a captured object, one function each, cited by clause of PS3.3.

Each takes the data set under construction and adds its module's attributes; ``build`` chooses which ones an IOD needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydicom.dataset import Dataset

from consilium_core.frame_ref import FrameRef
from consilium_core.site_protocol import CaptureContext
from consilium_dicom.errors import DicomInvalid
from consilium_dicom.uids import is_valid_uid

PRIVATE_CREATOR = "CONSILIUM FRAME 1"
PRIVATE_GROUP = 0x0019


@dataclass(frozen=True, slots=True)
class Equipment:
    """Who made the picture (PS3.3 C.7.5.1) and how it reached us (C.8.6.1).

    ``conversion_type``: DV digitized video, DI digital interface, WSD workstation, SD scanned document.
    """

    manufacturer: str = "consilium"
    model_name: str = ""
    station_name: str = ""
    institution_name: str = ""
    device_serial_number: str = ""
    software_versions: str = ""
    conversion_type: Literal["DV", "DI", "WSD", "SD", "SI", "SYN"] = "DV"


@dataclass(frozen=True, slots=True)
class Region:
    """One calibrated region of an ultrasound screen (PS3.3 C.8.5.5); ``delta_*`` in ``units`` per pixel (3 = cm)."""

    min_x0: int
    min_y0: int
    max_x1: int
    max_y1: int
    delta_x: float
    delta_y: float
    units_x: int = 3
    units_y: int = 3
    spatial_format: int = 1
    data_type: int = 1
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Identity:
    """Which instance this is: UIDs, numbers and the moment of capture (time-zone aware)."""

    sop_instance_uid: str
    series_uid: str
    captured_at: datetime
    instance_number: int = 1
    series_number: int | None = None
    series_description: str = ""
    study_started_at: datetime | None = None


def _fits(what: str, value: str, limit: int) -> str:
    """Return ``value`` if it is a legal single value of at most ``limit`` characters, else refuse it: never cut an id."""
    if len(value) > limit or "\\" in value or any(ord(c) < 32 for c in value):
        raise DicomInvalid(f"{what} is longer than {limit} characters or holds a backslash or a control character")
    return value


def valid_uid(what: str, value: str) -> str:
    """Return a UID that is one (PS3.5 9.1)."""
    if not is_valid_uid(value):
        raise DicomInvalid(f"{what} is not a valid UID")
    return value


def _words(value: str, limit: int = 64) -> str:
    """Return free text as one legal value: descriptions may be cut, ids may not."""
    return "".join(" " if ord(c) < 32 or c == "\\" else c for c in value)[:limit].strip()


def patient(ds: Dataset, context: CaptureContext) -> None:
    """Add the Patient module (PS3.3 C.7.1.1)."""
    who = context.patient
    ds.PatientName = who.name
    ds.PatientID = _fits("patient id", who.patient_id, 64)
    if who.issuer:
        ds.IssuerOfPatientID = _fits("issuer of patient id", who.issuer, 64)
    birth = who.birth_date.replace("-", "")
    if birth and not (len(birth) == 8 and birth.isdecimal()):
        raise DicomInvalid("birth date is not YYYYMMDD")
    ds.PatientBirthDate = birth
    ds.PatientSex = who.sex


def study(ds: Dataset, context: CaptureContext, identity: Identity) -> None:
    """Add the General Study module (PS3.3 C.7.2.1); the study's time is stated only when the caller knows its start."""
    started = identity.study_started_at
    ds.StudyInstanceUID = valid_uid("study UID", context.study_uid)
    ds.StudyDate = (started or identity.captured_at).strftime("%Y%m%d")
    ds.StudyTime = started.strftime("%H%M%S") if started else ""
    ds.StudyID = ""
    ds.AccessionNumber = _fits("accession number", context.accession_number, 16)
    ds.ReferringPhysicianName = context.referring_physician
    if context.study_description:
        ds.StudyDescription = _words(context.study_description)


def series(ds: Dataset, context: CaptureContext, identity: Identity, modality: str) -> None:
    """Add the General Series module (PS3.3 C.7.3.1)."""
    ds.Modality = modality
    ds.SeriesInstanceUID = valid_uid("series UID", identity.series_uid)
    ds.SeriesNumber = identity.series_number
    ds.Laterality = None
    if identity.series_description:
        ds.SeriesDescription = _words(identity.series_description)
    if context.operator_name:
        ds.OperatorsName = context.operator_name


def equipment(ds: Dataset, made_by: Equipment) -> None:
    """Add the General Equipment module (PS3.3 C.7.5.1)."""
    ds.Manufacturer = _words(made_by.manufacturer)
    ds.SoftwareVersions = _words(made_by.software_versions) or None
    for keyword, value, limit in (
        ("ManufacturerModelName", made_by.model_name, 64),
        ("StationName", made_by.station_name, 16),
        ("InstitutionName", made_by.institution_name, 64),
        ("DeviceSerialNumber", made_by.device_serial_number, 64),
    ):
        if value:
            setattr(ds, keyword, _words(value, limit))
    if ds.SoftwareVersions is None:
        del ds.SoftwareVersions


def image(ds: Dataset, identity: Identity, *, burned_in: bool) -> None:
    """Add the General Image (C.7.6.1), Acquisition (C.7.10.1) and SOP Common (C.12.1) attributes."""
    at = identity.captured_at
    offset = at.strftime("%z")[:5]
    ds.InstanceNumber = identity.instance_number
    ds.PatientOrientation = None
    ds.ContentDate, ds.ContentTime = at.strftime("%Y%m%d"), at.strftime("%H%M%S.%f")
    ds.AcquisitionDate, ds.AcquisitionTime = ds.ContentDate, ds.ContentTime
    ds.AcquisitionDateTime = at.strftime("%Y%m%d%H%M%S.%f") + offset
    ds.TimezoneOffsetFromUTC = offset
    ds.InstanceCreationDate, ds.InstanceCreationTime = ds.ContentDate, ds.ContentTime
    ds.BurnedInAnnotation = "YES" if burned_in else "NO"


def lossy(ds: Dataset, ratio: float | None, method: str | None) -> None:
    """State lossy compression, now or ever before (PS3.3 C.7.6.1.1.5)."""
    ds.LossyImageCompression = "01" if method else "00"
    if method:
        ds.LossyImageCompressionMethod = method
        ds.LossyImageCompressionRatio = f"{ratio:.4g}" if ratio else "1"


def cine(ds: Dataset, count: int, fps: float | None, frame_times_ms: Sequence[float] | None) -> None:
    """Add the Cine (PS3.3 C.7.6.5) and Multi-frame (C.7.6.6) modules.

    ``frame_times_ms`` are ``count`` intervals, the first 0, or ``count - 1`` intervals between frames.
    """
    ds.NumberOfFrames = count
    if frame_times_ms is not None:
        steps = [float(step) for step in frame_times_ms]
        steps = [0.0, *steps] if len(steps) == count - 1 else steps
        if len(steps) != count or any(step < 0 for step in steps):
            raise DicomInvalid(f"{len(frame_times_ms)} frame times for {count} frames")
        mean_ms = sum(steps[1:]) / max(count - 1, 1) or 1000.0 / (fps or 25.0)
    elif fps and fps > 0:
        steps, mean_ms = [], 1000.0 / fps
    else:
        raise DicomInvalid("a clip needs fps or frame times")
    uniform = not steps or max(abs(step - mean_ms) for step in steps[1:] or [mean_ms]) < 0.5
    if uniform:
        ds.FrameTime = f"{mean_ms:.6g}"
        ds.FrameIncrementPointer = 0x00181063
    else:
        ds.FrameTimeVector = [f"{step:.6g}" for step in steps]
        ds.FrameIncrementPointer = 0x00181065
    rate = max(1, round(1000.0 / mean_ms))
    ds.CineRate = ds.RecommendedDisplayFrameRate = rate
    ds.FrameDelay = "0"
    ds.EffectiveDuration = f"{mean_ms * count / 1000.0:.6g}"


def us_regions(ds: Dataset, regions: tuple[Region, ...]) -> None:
    """Add the US Region Calibration module (PS3.3 C.8.5.5); never called for an uncalibrated picture."""
    items = []
    for region in regions:
        item = Dataset()
        item.RegionSpatialFormat, item.RegionDataType = region.spatial_format, region.data_type
        item.RegionFlags = region.flags
        item.RegionLocationMinX0, item.RegionLocationMinY0 = region.min_x0, region.min_y0
        item.RegionLocationMaxX1, item.RegionLocationMaxY1 = region.max_x1, region.max_y1
        item.PhysicalUnitsXDirection, item.PhysicalUnitsYDirection = region.units_x, region.units_y
        item.PhysicalDeltaX, item.PhysicalDeltaY = region.delta_x, region.delta_y
        items.append(item)
    ds.SequenceOfUltrasoundRegions = items


def frame_reference(ds: Dataset, ref: FrameRef) -> None:
    """Keep which live frame this picture is, in a private block (PS3.5 7.8) that readers may ignore."""
    block = ds.private_block(PRIVATE_GROUP, PRIVATE_CREATOR, create=True)
    block.add_new(1, "LO", _words(ref.track_id))
    block.add_new(2, "UL", ref.rtp_timestamp & 0xFFFFFFFF)
    block.add_new(3, "UL", ref.media_epoch & 0xFFFFFFFF)
    if ref.frame_no is not None:
        block.add_new(4, "UL", ref.frame_no & 0xFFFFFFFF)
    if ref.captured_at_us is not None:
        block.add_new(5, "LO", str(ref.captured_at_us))


def read_frame_reference(ds: Dataset) -> FrameRef | None:
    """Return the live frame that ``frame_reference`` kept in a data set, or None if it holds none."""
    try:
        block = ds.private_block(PRIVATE_GROUP, PRIVATE_CREATOR)
    except KeyError:
        return None
    return FrameRef(
        track_id=str(block[1].value),
        rtp_timestamp=int(block[2].value),
        media_epoch=int(block[3].value),
        frame_no=int(block[4].value) if 4 in block else None,
        captured_at_us=int(block[5].value) if 5 in block else None,
    )
