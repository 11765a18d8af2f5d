"""Captured objects are conformant by independent checkers, and say what was captured."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.pixels import pixel_array

from consilium_core.frame_ref import FrameRef
from consilium_core.ids import new_uid
from consilium_core.site_protocol import CaptureContext
from consilium_dicom.build import (
    Compression,
    Equipment,
    Region,
    StillImage,
    build_clip,
    build_still,
    read_frame_reference,
)
from consilium_dicom.errors import DicomInvalid, UnsuitableJpeg
from consilium_dicom.frames import frame_bytes, index_frames
from consilium_dicom.header import read_header
from consilium_dicom.jpeg_stream import encode_jpeg_422, jpeg_shape
from consilium_dicom.validate import validate
from consilium_testkit.servers import need

Picture = NDArray[np.uint8]
REF = FrameRef(
    track_id="track-1", rtp_timestamp=4_000_000_000, media_epoch=3, frame_no=77, captured_at_us=1_700_000_000_000_001
)
MODALITIES = ["US", "ES", "XC", "GM", "OT", "XA"]
SOP_CLASSES = {
    "US": ("Ultrasound Image Storage", "Ultrasound Multi-frame Image Storage"),
    "ES": ("VL Endoscopic Image Storage", "Multi-frame True Color Secondary Capture Image Storage"),
    "XC": ("VL Photographic Image Storage", "Multi-frame True Color Secondary Capture Image Storage"),
    "GM": ("VL Microscopic Image Storage", "Multi-frame True Color Secondary Capture Image Storage"),
    "OT": ("Secondary Capture Image Storage", "Multi-frame True Color Secondary Capture Image Storage"),
    "XA": ("Secondary Capture Image Storage", "Multi-frame True Color Secondary Capture Image Storage"),
}
Still = Callable[..., bytes]


@pytest.fixture
def still(context: CaptureContext, equipment: Equipment, captured_at: datetime) -> Still:
    """Return a function that builds a still, everything but the picture being given."""

    def build(pixels: Picture | StillImage, *, modality: str = "US", **more: object) -> bytes:
        given = {"sop_instance_uid": new_uid(), "series_uid": new_uid(), "instance_number": 1} | more
        return build_still(
            pixels,
            context.model_copy(update={"modality": modality}),
            captured_at=captured_at,
            equipment=equipment,
            **given,  # type: ignore[arg-type]
        )

    return build


@pytest.fixture
def clip(context: CaptureContext, equipment: Equipment, captured_at: datetime) -> Still:
    """Return a function that builds a clip, everything but the frames being given."""

    def build(
        jpegs: list[bytes], *, rows: int = 121, columns: int = 163, modality: str = "US", **more: object
    ) -> bytes:
        given = {"sop_instance_uid": new_uid(), "series_uid": new_uid(), "instance_number": 2} | more
        if "frame_times_ms" not in given:
            given = {"fps": 25.0} | given
        return build_clip(
            jpegs,
            context.model_copy(update={"modality": modality}),
            rows=rows,
            columns=columns,
            captured_at=captured_at,
            equipment=equipment,
            **given,  # type: ignore[arg-type]
        )

    return build


@pytest.fixture
def jpegs(picture: Picture) -> list[bytes]:
    """Return three different 4:2:2 frames."""
    return [encode_jpeg_422(np.ascontiguousarray(np.roll(picture, 20 * n, axis=1)), quality=92) for n in range(3)]


def _errors(path: Path, data: bytes) -> list[str]:
    """Return dciodvfy's errors (David Clunie's dicom3tools, an implementation of PS3.3)."""
    need("dciodvfy", "dicom3tools")
    path.write_bytes(data)
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert "Warning" in done.stderr or done.stderr.strip(), "dciodvfy said nothing at all"
    return [line for line in done.stderr.splitlines() if "Error" in line]


def _read(data: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(data))


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("grey", [False, True])
def test_stills_have_no_error_by_dciodvfy(
    modality: str, grey: bool, still: Still, picture: Picture, tmp_path: Path
) -> None:
    pixels = np.ascontiguousarray(picture[..., 0]) if grey else picture
    data = still(pixels, modality=modality, frame_ref=REF, region=Region(0, 0, 162, 120, 0.01, 0.01))
    assert _errors(tmp_path / "still.dcm", data) == []
    assert _read(data).SOPClassUID.name == SOP_CLASSES[modality][0]
    assert validate(data).verdict == "accept"


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("grey", [False, True])
def test_clips_have_no_error_by_dciodvfy(
    modality: str, grey: bool, clip: Still, jpegs: list[bytes], picture: Picture, tmp_path: Path
) -> None:
    frames = [encode_jpeg_422(np.ascontiguousarray(picture[..., 0]))] * 2 if grey else jpegs
    data = clip(frames, modality=modality, frame_ref=REF)
    assert _errors(tmp_path / "clip.dcm", data) == []
    if not grey:
        assert _read(data).SOPClassUID.name == SOP_CLASSES[modality][1]
    assert validate(data, decode="all").verdict == "accept"


@pytest.mark.parametrize("compression", ["none", "rle", "jpeg-ls"])
@pytest.mark.parametrize("grey", [False, True])
def test_a_still_keeps_every_pixel(compression: Compression, grey: bool, still: Still, picture: Picture) -> None:
    pixels = np.ascontiguousarray(picture[..., 0]) if grey else picture
    data = still(pixels, compression=compression)
    assert np.array_equal(pixel_array(_read(data)), pixels)
    assert _read(data).LossyImageCompression == "00"


def test_noise_that_grows_under_compression_is_kept(still: Still) -> None:
    noise = np.random.default_rng(7).integers(0, 256, (64, 65, 3), dtype=np.uint8)
    for compression in ("rle", "jpeg-ls"):
        assert np.array_equal(pixel_array(_read(still(noise, compression=compression))), noise)


def test_a_still_says_who_when_and_where(still: Still, picture: Picture, context: CaptureContext) -> None:
    dataset = _read(still(picture, frame_ref=REF, instance_number=9, series_description="Marked stills"))
    assert str(dataset.PatientName) == "Wang^XiaoDong=王^小东"
    assert (dataset.PatientID, dataset.IssuerOfPatientID, dataset.PatientBirthDate) == ("P0001", "H1", "19800131")
    assert (dataset.StudyInstanceUID, dataset.AccessionNumber) == (context.study_uid, "A20260001")
    assert dataset.StudyDescription == "心脏超声"
    assert (dataset.ContentDate, dataset.ContentTime) == ("20261122", "090807.654321")
    assert dataset.AcquisitionDateTime == "20261122090807.654321+0800"
    assert dataset.TimezoneOffsetFromUTC == "+0800"
    assert (dataset.InstanceNumber, dataset.Manufacturer, dataset.StationName) == (9, "consilium", "ROOM1")
    assert dataset.BurnedInAnnotation == "YES"
    assert read_frame_reference(dataset) == REF


def test_a_still_without_a_frame_has_no_reference(still: Still, picture: Picture) -> None:
    assert read_frame_reference(_read(still(picture))) is None


def test_regions_are_written_only_for_a_calibrated_ultrasound(still: Still, picture: Picture) -> None:
    region = Region(1, 2, 100, 90, 0.0123, 0.0123)
    found = _read(still(picture, region=region)).SequenceOfUltrasoundRegions[0]
    assert (found.RegionLocationMinX0, found.RegionLocationMaxY1, found.PhysicalDeltaX) == (1, 90, 0.0123)
    assert "SequenceOfUltrasoundRegions" not in _read(still(picture))
    assert "SequenceOfUltrasoundRegions" not in _read(still(picture, modality="ES", region=region))


def test_a_still_from_compressed_video_says_so(still: Still, picture: Picture) -> None:
    dataset = _read(still(StillImage(picture, "ISO_14496_10", 55.5, burned_in_annotation=False)))
    assert dataset.LossyImageCompression == "01"
    assert (dataset.LossyImageCompressionMethod, dataset.LossyImageCompressionRatio) == ("ISO_14496_10", 55.5)
    assert dataset.BurnedInAnnotation == "NO"


@pytest.mark.parametrize("extended", [False, True])
def test_a_clip_stores_the_jpegs_untouched(extended: bool, clip: Still, jpegs: list[bytes]) -> None:
    data = clip(jpegs, extended_offset_table=extended)
    index = index_frames(data, read_header(data))
    stored = [frame_bytes(data, index, n) for n in range(index.count)]
    assert [frame.rstrip(b"\0") for frame in stored] == jpegs
    assert ("ExtendedOffsetTable" in _read(data)) is extended


def test_a_clip_says_how_fast_and_how_lossy(clip: Still, jpegs: list[bytes]) -> None:
    dataset = _read(clip(jpegs))
    assert dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.50"
    assert (dataset.NumberOfFrames, dataset.FrameTime, dataset.CineRate) == (3, 40, 25)
    assert dataset.RecommendedDisplayFrameRate == 25
    assert dataset.FrameIncrementPointer == 0x00181063
    assert dataset.PhotometricInterpretation == "YBR_FULL_422"
    assert dataset.LossyImageCompressionMethod == "ISO_10918_1"
    total = sum(len(jpeg) for jpeg in jpegs)
    assert dataset.LossyImageCompressionRatio == pytest.approx(121 * 163 * 3 * 3 / total, rel=0.02)


def test_uneven_frames_keep_their_times(clip: Still, jpegs: list[bytes]) -> None:
    dataset = _read(clip(jpegs, frame_times_ms=[33.3, 66.7]))
    assert dataset.FrameIncrementPointer == 0x00181065
    assert [float(step) for step in dataset.FrameTimeVector] == [0.0, 33.3, 66.7]
    assert dataset.CineRate == 20


def test_even_frame_times_become_one_frame_time(clip: Still, jpegs: list[bytes]) -> None:
    dataset = _read(clip(jpegs, frame_times_ms=[0, 33.33, 33.34]))
    assert dataset.FrameIncrementPointer == 0x00181063
    assert float(dataset.FrameTime) == pytest.approx(33.335)


def _progressive(picture: Picture) -> bytes:
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes())


def _420(picture: Picture) -> bytes:
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    return bytes(cv2.imencode(".jpg", picture, options)[1].tobytes())


def _444(picture: Picture) -> bytes:
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return bytes(cv2.imencode(".jpg", picture, options)[1].tobytes())


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_progressive, "baseline"),
        (_420, "4:20"),
        (_444, "4:44"),
        (lambda p: encode_jpeg_422(np.ascontiguousarray(p[:-1])), "163x120"),
        (lambda p: encode_jpeg_422(p)[:-200], "EOI"),
        (lambda p: b"\x89PNG....", "SOI"),
        (lambda p: encode_jpeg_422(np.ascontiguousarray(p[..., 0])), "4:00"),
    ],
)
def test_an_unsuitable_frame_is_refused_by_number_and_reason(
    spoil: Callable[[Picture], bytes], why: str, clip: Still, jpegs: list[bytes], picture: Picture
) -> None:
    with pytest.raises(UnsuitableJpeg) as caught:
        clip([*jpegs, spoil(picture)])
    assert caught.value.detail.startswith("frame 4: ")
    assert why in caught.value.detail


def test_a_clip_without_frames_or_without_a_rate_is_refused(clip: Still, jpegs: list[bytes]) -> None:
    with pytest.raises(UnsuitableJpeg):
        clip([])
    with pytest.raises(DicomInvalid):
        clip(jpegs, frame_times_ms=[1.0, 2.0, 3.0, 4.0])
    with pytest.raises(DicomInvalid):
        clip(jpegs, fps=None)


@pytest.mark.parametrize(
    "wrong",
    [{"sop_instance_uid": "1.2.x"}, {"series_uid": ""}, {"series_uid": "1." + "2" * 64}],
)
def test_wrong_identifiers_are_refused(wrong: dict[str, str], still: Still, picture: Picture) -> None:
    with pytest.raises(DicomInvalid):
        still(picture, **wrong)


def test_an_accession_number_is_never_cut(
    picture: Picture, context: CaptureContext, equipment: Equipment, captured_at: datetime
) -> None:
    with pytest.raises(DicomInvalid, match="accession"):
        build_still(
            picture,
            context.model_copy(update={"accession_number": "A" * 17}),
            sop_instance_uid=new_uid(),
            series_uid=new_uid(),
            captured_at=captured_at,
            equipment=equipment,
            instance_number=1,
        )


def test_a_time_without_a_zone_is_refused(picture: Picture, context: CaptureContext, equipment: Equipment) -> None:
    with pytest.raises(DicomInvalid, match="zone"):
        build_still(
            picture,
            context,
            sop_instance_uid=new_uid(),
            series_uid=new_uid(),
            captured_at=datetime(2026, 1, 1),  # noqa: DTZ001
            equipment=equipment,
            instance_number=1,
        )


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4), np.uint16), np.zeros((0, 4), np.uint8)]
)
def test_what_is_not_a_picture_is_refused(bad: Picture, still: Still) -> None:
    with pytest.raises(DicomInvalid):
        still(bad)


def test_a_jpeg_tells_its_shape(picture: Picture) -> None:
    shape = jpeg_shape(encode_jpeg_422(picture))
    assert (shape.process, shape.rows, shape.columns, shape.subsampling) == (0, 121, 163, "422")
    assert jpeg_shape(_420(picture)).subsampling == "420"
    assert jpeg_shape(_progressive(picture)).process == 2


def _run(*command: str) -> str:
    need(command[0], "dcmtk")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "E:" not in done.stderr
    return done.stdout


def test_dcmtk_reads_a_still(still: Still, picture: Picture, tmp_path: Path) -> None:
    path = tmp_path / "still.dcm"
    path.write_bytes(still(picture, frame_ref=REF))
    _run("dcmdump", str(path))
    written = json.loads(_run("dcm2json", str(path)))
    assert written["00100010"]["Value"] == [{"Alphabetic": "Wang^XiaoDong", "Ideographic": "王^小东"}]


def test_dcmtk_decodes_a_clip(clip: Still, jpegs: list[bytes], picture: Picture, tmp_path: Path) -> None:
    path, plain = tmp_path / "clip.dcm", tmp_path / "plain.dcm"
    path.write_bytes(clip(jpegs, frame_ref=REF))
    _run("dcmdump", str(path))
    _run("dcmdjpeg", str(path), str(plain))
    decoded = pixel_array(pydicom.dcmread(plain))
    assert decoded.shape == (3, 121, 163, 3)
    assert np.abs(decoded[0].astype(int) - picture).mean() < 12
