"""The lean header equals pydicom's reading on every real file, and refuses what is not DICOM."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.multival import MultiValue

from consilium_dicom.errors import DicomUnreadable, TooLarge
from consilium_dicom.header import read_header
from consilium_dicom.scan import inflate

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, about the odd files it reads

TEXT = {
    "sop_class_uid": "SOPClassUID",
    "sop_instance_uid": "SOPInstanceUID",
    "study_uid": "StudyInstanceUID",
    "series_uid": "SeriesInstanceUID",
    "frame_of_reference_uid": "FrameOfReferenceUID",
    "patient_id": "PatientID",
    "issuer_of_patient_id": "IssuerOfPatientID",
    "patient_name": "PatientName",
    "birth_date": "PatientBirthDate",
    "sex": "PatientSex",
    "study_date": "StudyDate",
    "study_time": "StudyTime",
    "study_id": "StudyID",
    "study_description": "StudyDescription",
    "accession_number": "AccessionNumber",
    "referring_physician": "ReferringPhysicianName",
    "modality": "Modality",
    "series_description": "SeriesDescription",
    "series_date": "SeriesDate",
    "series_time": "SeriesTime",
    "protocol_name": "ProtocolName",
    "body_part": "BodyPartExamined",
    "manufacturer": "Manufacturer",
    "model_name": "ManufacturerModelName",
    "station_name": "StationName",
    "institution_name": "InstitutionName",
    "content_date": "ContentDate",
    "content_time": "ContentTime",
    "photometric": "PhotometricInterpretation",
    "lossy": "LossyImageCompression",
}
NUMBERS = {
    "series_number": "SeriesNumber",
    "instance_number": "InstanceNumber",
    "rows": "Rows",
    "columns": "Columns",
    "samples_per_pixel": "SamplesPerPixel",
    "planar_configuration": "PlanarConfiguration",
    "bits_allocated": "BitsAllocated",
    "bits_stored": "BitsStored",
    "high_bit": "HighBit",
    "pixel_representation": "PixelRepresentation",
    "number_of_frames": "NumberOfFrames",
    "frame_time_ms": "FrameTime",
    "rescale_intercept": "RescaleIntercept",
    "rescale_slope": "RescaleSlope",
}
# pydicom drops everything when the pixel data has no end; we keep what stands before it.
ORACLE_GIVES_UP = {"no_meta.dcm", "emri_small_jpeg_2k_lossless_too_short.dcm"}


def _text(value: Any) -> str:
    if value is None:
        return ""
    text = "\\".join(str(part) for part in value) if isinstance(value, MultiValue) else str(value)
    return text.replace("\x1b$)A", "")  # pydicom leaves ISO-IR 58's escape sequence in the text


def _number(dataset: pydicom.Dataset, keyword: str) -> float | None:
    try:
        value = dataset.get(keyword)
        return None if value in {None, ""} else float(value)
    except ValueError:
        return None


def test_header_equals_pydicom_on_every_real_file(real_file: Path, oracle: Callable[[Path], pydicom.Dataset]) -> None:
    if real_file.name in ORACLE_GIVES_UP:
        pytest.skip("pydicom reads nothing from it")
    header, dataset = read_header(real_file.read_bytes()), oracle(real_file)
    assert {name: str(getattr(header, name)) for name in TEXT} == {
        name: _text(dataset.get(keyword)) for name, keyword in TEXT.items()
    }
    assert {name: getattr(header, name) for name in NUMBERS} == {
        name: _number(dataset, keyword) for name, keyword in NUMBERS.items()
    }
    if "TransferSyntaxUID" in dataset.file_meta:
        assert header.transfer_syntax_uid == dataset.file_meta.TransferSyntaxUID
    if "PixelData" in dataset:
        shift = header.dataset_offset if header.inflated else 0
        assert header.pixel_offset == dataset["PixelData"].file_tell + shift
    else:
        assert not header.has_pixels


def test_windows_keep_every_value(bundled: Callable[[str], bytes]) -> None:
    dataset = pydicom.dcmread(io.BytesIO(bundled("CT_small.dcm")))
    dataset.WindowCenter, dataset.WindowWidth = ["40", "-600.5"], ["400", "1.5e3"]
    out = io.BytesIO()
    dataset.save_as(out)
    header = read_header(out.getvalue())
    assert header.window_center == (40.0, -600.5)
    assert header.window_width == (400.0, 1500.0)


def test_a_nul_inside_text_is_a_space_and_padding_is_nothing(bundled: Callable[[str], bytes]) -> None:
    dataset = pydicom.dcmread(io.BytesIO(bundled("CT_small.dcm")))
    dataset.PatientID, dataset.PatientName, dataset.StudyDescription = "P1\x001", "Li\0Na^A=x\0", "A\0B\0"
    dataset.Modality, dataset.StudyInstanceUID = "C\0T", "1.2\x003"
    out = io.BytesIO()
    dataset.save_as(out)
    header = read_header(out.getvalue())
    assert (header.patient_id, str(header.patient_name), header.study_description) == ("P1 1", "Li Na^A=x", "A B")
    assert (header.modality, header.study_uid) == ("C T", "1.2\x003")
    assert set(header.nul_tags) == {0x00100020, 0x00100010, 0x00081030, 0x00080060}


def test_the_beginning_of_a_file_is_enough(bundled: Callable[[str], bytes]) -> None:
    data = bundled("CT_small.dcm")
    whole = read_header(data)
    assert read_header(memoryview(data)[: whole.pixel_offset]) == whole


@pytest.mark.parametrize("data", [b"", b"DICM", b"\x00" * 200, b"%PDF-1.7 " * 40, b"\xff" * 500])
def test_what_is_not_dicom_is_refused(data: bytes) -> None:
    with pytest.raises(DicomUnreadable):
        read_header(data)


def test_a_deflate_bomb_is_refused_before_it_fills_the_memory() -> None:
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = engine.compress(b"\0" * 40_000_000) + engine.flush()
    assert len(bomb) < 100_000
    with pytest.raises(TooLarge):
        inflate(bomb, 0)
