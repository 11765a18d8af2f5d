"""A frame index finds every frame, survives being stored, and refuses what it cannot tell."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, generate_frames

from consilium_dicom import frames
from consilium_dicom.errors import DicomInvalid, DicomUnreadable
from consilium_dicom.frames import FrameIndex, frame_bytes, index_frames, walk_fragments
from consilium_dicom.header import read_header

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, about the odd files it reads


def _items(*values: bytes, end: bool = True) -> bytes:
    body = b"".join(b"\xfe\xff\x00\xe0" + len(value).to_bytes(4, "little") + value for value in values)
    return body + (b"\xfe\xff\xdd\xe0\x00\x00\x00\x00" if end else b"")


def test_every_frame_equals_pydicoms(real_file: Path, oracle: Callable[[Path], pydicom.Dataset]) -> None:
    dataset = oracle(real_file)
    if "PixelData" not in dataset or "Rows" not in dataset or real_file.name in {"badVR.dcm", "GH1146.dcm"}:
        pytest.skip("no frames to compare")
    if "TransferSyntaxUID" not in dataset.file_meta or not dataset.get("BitsAllocated"):
        pytest.skip("no frames to compare")
    if "truncated" in real_file.name:
        pytest.skip("test_validate covers it")
    data = real_file.read_bytes()
    header = read_header(data)
    index = index_frames(data, header)
    count = int(dataset.get("NumberOfFrames") or 1)
    assert index.count == count
    if header.encapsulated:
        theirs = list(generate_frames(dataset.PixelData, number_of_frames=count))
        assert [frame_bytes(data, index, n, header) for n in range(count)] == theirs
    elif index.frame_bits % 8 == 0:
        joined = b"".join(frame_bytes(data, index, n, header) for n in range(count))
        assert joined == dataset.PixelData[: len(joined)]


def test_an_index_survives_json(bundled: Callable[[str], bytes]) -> None:
    for name in ("examples_ybr_color.dcm", "SC_rgb_rle_2frame.dcm", "rtdose.dcm", "image_dfl.dcm"):
        data = bundled(name)
        index = index_frames(data, read_header(data))
        assert FrameIndex.from_json(json.loads(json.dumps(index.to_json()))) == index


def test_ranges_are_enough_to_read_a_frame(bundled: Callable[[str], bytes]) -> None:
    data = bundled("examples_ybr_color.dcm")
    index = index_frames(data, read_header(data))
    parts = [data[offset : offset + length] for offset, length in index.ranges(17)]
    assert index.join(17, parts) == frame_bytes(data, index, 17)


def test_single_bit_frames_are_realigned() -> None:
    """Frames of 3x3 bits begin inside bytes (PS3.5 8.1.1): frame 1 is bits 9 to 17."""
    bits = np.array([1, 0, 1, 1, 0, 0, 1, 0, 1, 0, 1, 1, 0, 1, 1, 0, 0, 1], np.uint8)
    packed = np.packbits(bits, bitorder="little").tobytes()
    index = FrameIndex("1.2.840.10008.1.2.1", 2, first=0, frame_bits=9)
    second = np.unpackbits(np.frombuffer(frame_bytes(packed, index, 1), np.uint8), bitorder="little")[:9]
    assert second.tolist() == bits[9:].tolist()


@pytest.mark.parametrize("number", [-1, 30, 10**9])
def test_a_frame_that_is_not_there_is_refused(number: int, bundled: Callable[[str], bytes]) -> None:
    data = bundled("examples_ybr_color.dcm")
    index = index_frames(data, read_header(data))
    with pytest.raises(DicomInvalid):
        index.ranges(number)


def test_fragments_of_one_frame_are_joined_by_the_basic_offset_table() -> None:
    first, second = b"\xff\xd8\xff" + b"a" * 9, b"\xff\xd8\xff" + b"b" * 5
    value = encapsulate([first, second], fragments_per_frame=2, has_bot=True)
    fragments = walk_fragments(value, 0)
    grouped = frames.group_fragments(value, fragments, 2)
    assert [b"".join(value[a : a + n] for a, n in frame) for frame in grouped] == [first, second]


def test_fragments_without_a_table_are_told_apart_by_the_code_streams_beginnings() -> None:
    value = _items(b"", b"\xff\xd8\xff\xe0one.", b"rest", b"\xff\xd8\xff\xe0two.")
    grouped = frames.group_fragments(value, walk_fragments(value, 0), 2)
    assert [len(frame) for frame in grouped] == [2, 1]


def test_a_wrong_offset_table_is_not_believed() -> None:
    value = _items((0).to_bytes(4, "little") + (7).to_bytes(4, "little"), b"\xff\xd8aa", b"\xff\xd8bb")
    fragments = walk_fragments(value, 0)
    assert not frames.table_fits(fragments, 2)
    assert [len(frame) for frame in frames.group_fragments(value, fragments, 2)] == [1, 1]


def test_fragments_that_match_no_number_of_frames_are_refused() -> None:
    value = _items(b"", b"aaaa", b"bbbb", b"cccc")
    with pytest.raises(DicomInvalid):
        frames.group_fragments(value, walk_fragments(value, 0), 2)


def test_broken_fragments_are_refused() -> None:
    with pytest.raises(DicomUnreadable):
        walk_fragments(_items(b"", b"aaaa", end=False) + b"\x01\x02\x03\x04\x05\x06\x07\x08", 0)
    with pytest.raises(DicomUnreadable):
        walk_fragments(b"", 0)


def test_a_long_clip_is_indexed_without_copying_it(sample: Callable[[str], Path]) -> None:
    data = memoryview(sample("cine/color3d_jpeg_baseline.dcm").read_bytes())
    index = index_frames(data, read_header(data))
    assert index.count == 120
    assert frame_bytes(data, index, 119).startswith(b"\xff\xd8")
