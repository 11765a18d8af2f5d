"""Whatever bytes arrive, reading them ends in an answer or in an error of our own tree, never in another exception."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consilium_dicom.errors import DicomInvalid
from consilium_dicom.frames import frame_bytes, index_frames
from consilium_dicom.header import read_header
from consilium_dicom.json_model import to_json_model
from consilium_dicom.luts import read_tables
from consilium_dicom.render import render
from consilium_dicom.validate import validate

_FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
SEEDS = [
    (_FOLDER / name).read_bytes()
    for name in (
        "CT_small.dcm",
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "SC_rgb_jpeg_dcmd.dcm",
        "JPEG2000.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "image_dfl.dcm",
        "reportsi.dcm",
        "liver_1frame.dcm",
        "rtdose_rle.dcm",
        "SC_ybr_full_422_uncompressed.dcm",
        "nested_priv_SQ.dcm",
    )
]
_CHUNKS = st.one_of(
    st.binary(min_size=1, max_size=6),
    st.sampled_from([b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\xff\xff\xff\x7f", b"SQ", b"UN", b"OB", b"\xfe\xff"]),
)
_EDITS = st.lists(st.tuples(st.floats(0, 1), _CHUNKS, st.integers(0, 12)), min_size=1, max_size=5)


def _edited(data: bytes, edits: list[tuple[float, bytes, int]]) -> bytes:
    """Return the data with each chunk put at a relative place instead of some bytes there; most edits hit the header."""
    out = bytearray(data)
    for place, chunk, removed in edits:
        at = int(place**3 * max(len(out) - 1, 0))
        out[at : at + removed] = chunk
    return bytes(out)


def _draw(data: bytes) -> None:
    header = read_header(data)
    index = index_frames(data, header)
    frame = frame_bytes(data, index, index.count - 1, header)
    render(frame, header, viewport=(64, 64), tables=read_tables(data), frame_number=index.count - 1)


@pytest.mark.parametrize("seed", SEEDS)
@settings(max_examples=20, deadline=None)
@given(edits=_EDITS)
def test_edited_files_end_in_an_answer_or_in_our_error(seed: bytes, edits: list[tuple[float, bytes, int]]) -> None:
    data = _edited(seed, edits)
    run = validate(data)
    assert (run.failure_reason != 0) == (run.verdict == "reject")
    with contextlib.suppress(DicomInvalid):
        json.dumps(to_json_model(data, None, "bulk"), allow_nan=False).encode()
    with contextlib.suppress(DicomInvalid):
        _draw(data)


def test_a_private_vr_in_pixel_data_is_read() -> None:
    """Two bytes that are no letters once broke the header: the VR of the pixel data need not be ASCII."""
    data = bytearray(SEEDS[0])
    at = data.rindex(b"\xe0\x7f\x10\x00OW")
    data[at + 4 : at + 6] = b"A\x8f"
    assert validate(bytes(data)).verdict == "reject"
