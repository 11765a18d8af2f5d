"""Picture sizes as the headers of real encoders tell them, and what is no header."""

from __future__ import annotations

import fractions
from typing import Any

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consilium_live.media import picture
from consilium_testkit.media import encoded, moving_picture

SIZES = [(320, 240), (1280, 720), (1920, 1080), (722, 542)]


def sps_of(size: tuple[int, int], profile: str, pix_fmt: str = "yuv420p", options: str = "") -> bytes:
    """Return the sequence parameter set that x264 writes for this picture."""
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = *size, pix_fmt
    encoder.time_base = fractions.Fraction(1, 30)
    encoder.profile = profile
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "x264-params": options}
    frame = moving_picture(0, *size).reformat(format=pix_fmt)
    frame.pts = 0
    unit = b"".join(bytes(p) for p in [*encoder.encode(frame), *encoder.encode(None)])
    return next(nal for nal in unit.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if nal[:1] and nal[0] & 31 == 7)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("profile", ["Baseline", "High"])
def test_the_size_of_an_h264_picture_is_read_with_its_cropping(size: tuple[int, int], profile: str) -> None:
    assert picture.h264_size(sps_of(size, profile)) == size


def test_other_chroma_formats_and_field_coding_are_read() -> None:
    assert picture.h264_size(sps_of((722, 542), "High 4:4:4 Predictive", "yuv444p")) == (722, 542)
    assert picture.h264_size(sps_of((722, 542), "High 4:2:2", "yuv422p")) == (722, 542)
    assert picture.h264_size(sps_of((1920, 1080), "High", options="interlaced=1")) == (1920, 1080)


@pytest.mark.parametrize("size", SIZES)
def test_the_size_of_a_vp8_key_frame_is_read(size: tuple[int, int]) -> None:
    units = encoded("vp8", seconds=0.1, size=size)
    assert picture.vp8_size(b"\x90\x80\x80\x01" + units[0]) == size
    assert picture.vp8_size(b"\x10" + units[0]) == size
    assert picture.vp8_size(b"\x10" + units[1]) is None
    assert picture.vp8_size(b"\x00" + units[0]) is None, "not the first packet of its frame"


@given(st.binary(max_size=120))
@settings(deadline=None)
def test_whatever_is_no_header_has_no_size(data: bytes) -> None:
    for size in (picture.h264_size(data), picture.h264_size(b"\x67" + data), picture.vp8_size(b"\x10" + data)):
        assert size is None or all(0 < side <= picture.MAX_SIDE for side in size)
