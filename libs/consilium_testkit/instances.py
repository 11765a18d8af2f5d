"""Synthetic DICOM instances for tests and benchmarks, written by pydicom so that our reader is not its own judge."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset, read_preamble
from pydicom.filewriter import dcmwrite, write_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian

from consilium_core.ids import new_uid

CT = "1.2.840.10008.5.1.4.1.1.2"


def ct_instance(side: int = 512, seed: int = 1, **attributes: Any) -> bytes:
    """Return a Part 10 CT image of ``side`` x ``side`` 16 bit pixels; ``attributes`` by keyword override or (None) remove."""
    dataset = Dataset()
    plain: dict[str, Any] = {
        "SpecificCharacterSet": "ISO_IR 192", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "SOPClassUID": CT,
        "SOPInstanceUID": new_uid(), "StudyDate": "20240102", "SeriesDate": "20240102", "ContentDate": "20240102",
        "StudyTime": "101112", "ContentTime": "101113", "AccessionNumber": "A1", "Modality": "CT",
        "Manufacturer": "consilium", "InstitutionName": "Test Hospital", "ReferringPhysicianName": "Ref^Doc",
        "StudyDescription": "Chest", "SeriesDescription": "Axial", "PatientName": "Wang^Xiaodong=王^小东",
        "PatientID": "P1", "PatientBirthDate": "19600203", "PatientSex": "M", "BodyPartExamined": "CHEST",
        "SliceThickness": "1.0", "KVP": "120", "AcquisitionNumber": 1, "PatientPosition": "HFS", "StudyInstanceUID": new_uid(),
        "SeriesInstanceUID": new_uid(), "StudyID": "S1", "SeriesNumber": 1, "InstanceNumber": 1,
        "ImagePositionPatient": [0.0, 0.0, 0.0], "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        "FrameOfReferenceUID": new_uid(), "PositionReferenceIndicator": "", "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "Rows": side, "Columns": side, "PixelSpacing": [0.7, 0.7],
        "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0, "WindowCenter": "40",
        "WindowWidth": "400", "RescaleIntercept": "-1024", "RescaleSlope": "1",
    }  # fmt: skip
    for keyword, value in {**plain, **attributes}.items():
        if value is not None:
            setattr(dataset, keyword, value)
    if "PixelData" not in attributes:
        ramp = np.arange(side * side, dtype=np.uint32).reshape(side, side)
        dataset.PixelData = ((ramp * seed) % 4096).astype("<u2").tobytes()
        dataset["PixelData"].VR = "OW"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", CT)
    meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", "1.2.3")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    out = BytesIO()
    dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()


def with_meta(file: bytes, *, preamble: bytes | None = bytes(128), **elements: Any) -> bytes:
    """Return the file with the same data set, byte for byte, behind another preamble (None: none, nor a prefix) and meta group.

    ``elements`` by keyword override what stands in the meta group.
    """
    stream = BytesIO(file)
    read_preamble(stream, force=True)
    found = read_dataset(stream, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag >> 16 != 2)
    meta = FileMetaDataset(found)
    for keyword, value in {
        "ImplementationClassUID": "1.2.3.4.5",
        "ImplementationVersionName": "OTHER",
        **elements,
    }.items():
        setattr(meta, keyword, value)
    out = DicomBytesIO()
    if preamble is not None:
        out.write(preamble + b"DICM")
    write_file_meta_info(out, meta)
    return out.getvalue() + file[stream.tell() :]


def uids_of(data: bytes) -> tuple[str, str, str]:
    """Return (study, series, instance) UIDs of a file, read by pydicom."""
    from pydicom import dcmread

    found = dcmread(BytesIO(data), stop_before_pixels=True)
    return str(found.StudyInstanceUID), str(found.SeriesInstanceUID), str(found.SOPInstanceUID)


def multipart(files: list[bytes], boundary: str = "consilium-test") -> tuple[bytes, str]:
    """Return (body, content type) of a STOW-RS request."""
    parts = [f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + file + b"\r\n" for file in files]
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    return body, f'multipart/related; type="application/dicom"; boundary={boundary}'
