"""Files that hypothesis builds: any elements of any VR, nested, with an image of any shape whose pixels may be too few."""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import Any

from hypothesis import reject
from hypothesis import strategies as st
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import UID

from consilium_testkit.instances import CT

_BY_VR: dict[str, list[int]] = {}
for _tag, _entry in DicomDictionary.items():
    if 0x0008 <= _tag >> 16 < 0x7FE0 and _tag >> 16 != 0x0028:
        _BY_VR.setdefault(_entry[0], []).append(_tag)
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\\\0"), max_size=40)
_DIGITS = st.from_regex(r"[-0-9.eE+ ]{0,16}", fullmatch=True)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "LO": _TEXT, "SH": _TEXT, "LT": _TEXT, "ST": _TEXT, "UT": _TEXT, "UC": _TEXT, "PN": _TEXT, "CS": _TEXT, "DA": _DIGITS,
    "TM": _DIGITS, "US": st.integers(0, 0xFFFF), "SS": st.integers(-32768, 32767), "UL": st.integers(0, 0xFFFFFFFF),
    "SL": st.integers(-(1 << 31), (1 << 31) - 1), "FD": st.floats(), "FL": st.floats(width=32), "OB": st.binary(max_size=64),
    "UN": st.binary(max_size=64), "UI": st.from_regex(r"[0-9.]{0,64}", fullmatch=True), "AT": st.integers(0, 0xFFFFFFFF),
}  # fmt: skip
_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")


@st.composite
def _dataset(draw: st.DrawFn, depth: int = 0) -> Dataset:
    found = Dataset()
    for _ in range(draw(st.integers(0, 8))):
        vr = draw(st.sampled_from(sorted(_VALUES.keys() & _BY_VR.keys())))
        found.add_new(draw(st.sampled_from(_BY_VR[vr])), vr, draw(_VALUES[vr]))
    if depth < 3 and draw(st.booleans()):
        items = draw(st.lists(_dataset(depth + 1), max_size=3))
        found.add_new(draw(st.sampled_from(_BY_VR["SQ"])), "SQ", Sequence(items))
    return found


@st.composite
def built_files(draw: st.DrawFn) -> bytes:
    """Draw a Part 10 file."""
    found = draw(_dataset())
    found.SpecificCharacterSet = draw(st.sampled_from(["ISO_IR 192", "GB18030"]))
    found.SOPClassUID, found.SOPInstanceUID, found.PatientID = UID(CT), UID("1.2.3.4"), "P1"
    found.StudyInstanceUID, found.SeriesInstanceUID, found.Modality = "1.2.3", "1.2.3.5", "CT"
    rows, columns = draw(st.integers(0, 20)), draw(st.integers(0, 20))
    samples, bits, frames = (
        draw(st.sampled_from([1, 1, 3])),
        draw(st.sampled_from([1, 8, 8, 16, 32])),
        draw(st.integers(1, 4)),
    )
    found.Rows, found.Columns, found.SamplesPerPixel, found.BitsAllocated = rows, columns, samples, bits
    found.BitsStored, found.HighBit, found.PixelRepresentation = bits, bits - 1, draw(st.integers(0, 1))
    found.PhotometricInterpretation = draw(st.sampled_from(["MONOCHROME2", "RGB", "YBR_FULL_422", "PALETTE COLOR"]))
    found.PlanarConfiguration = draw(st.integers(0, 1))
    if draw(st.booleans()):
        found.NumberOfFrames = frames
    whole = (rows * columns * samples * bits * int(found.get("NumberOfFrames", 1)) + 7) // 8
    length = max(whole + draw(st.sampled_from([0, 0, 0, 1, -1, -2, -whole // 2])), 0)
    found.add_new(0x7FE00010, "OW" if bits > 8 else "OB", draw(st.binary(max_size=16)).ljust(length, b"\x55")[:length])
    syntax = UID(draw(st.sampled_from(_SYNTAXES)))
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(CT), UID("1.2.3.4")
    meta.TransferSyntaxUID = syntax
    found.file_meta, out = meta, BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dcmwrite(out, found, enforce_file_format=True)
        except Exception:
            reject()
    return out.getvalue()
