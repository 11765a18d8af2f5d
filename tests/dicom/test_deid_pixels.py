"""Masks reach every frame of every codec, and text that is burnt into pixels is found or asked about."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from consilium_dicom.codecs import to_rgb
from consilium_dicom.deid.masks import blackened, decoded_frames, regions_of
from consilium_dicom.deid.options import Option, Options
from consilium_dicom.deid.profiles import DeviceProfile, Mask, Rectangle, read_profile
from consilium_dicom.deid.run import deidentify
from consilium_dicom.deid.text_finder import find_text
from consilium_dicom.header import header_of
from consilium_dicom.scan import scan
from consilium_dicom.transcode import transcode
from consilium_dicom.validate import validate

KEY = b"a secret of thirty-two bytes...."
CLEAN = Options(KEY, frozenset({Option.CLEAN_PIXELS}))
BAND = Rectangle(left=3, top=0, width=40, height=11)


def profile(manufacturer: str = "*", **mask: object) -> DeviceProfile:
    return DeviceProfile(
        name="banner",
        version=3,
        manufacturer=manufacturer,
        masks=(Mask(rectangles=(BAND,), **mask),),  # type: ignore[arg-type]
    )


def frames(data: bytes) -> list[NDArray[np.uint8]]:
    source = scan(data)
    return [to_rgb(samples) if ybr else samples for samples, ybr in decoded_frames(source, header_of(source))]


LOSSLESS = [
    "1.2.840.10008.1.2.1",
    *(f"1.2.840.10008.1.2.4.{suffix}" for suffix in ("70", "80", "90", "201")),
    "1.2.840.10008.1.2.5",
]


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("name", ["CT_small.dcm", "emri_small.dcm", "SC_rgb_small_odd.dcm"])
def test_a_mask_blackens_every_frame_and_changes_nothing_else(
    syntax: str, name: str, bundled: Callable[[str], bytes], sample: Callable[[str], Path]
) -> None:
    data = transcode((sample(f"enhanced/{name}").read_bytes() if name.startswith("emri") else bundled(name)), syntax)
    before = frames(data)
    band = BAND.model_copy(update={"width": 2, "left": 1, "height": 1}) if name.startswith("SC") else BAND
    mask = DeviceProfile(name="p", version=1, manufacturer="*", masks=(Mask(rectangles=(band,)),))
    made = deidentify(data, CLEAN, [mask])
    after = frames(made.data)
    assert made.mask == "p 1"
    assert header_of(scan(made.data)).transfer_syntax_uid == syntax
    assert len(after) == len(before)
    inside = blackened(before[0].shape, (band,), ())
    for one, two in zip(before, after, strict=True):
        assert np.array_equal(one[~inside], two[~inside])
        assert set(np.unique(two[inside])) <= {0, -32768}
    assert not validate(made.data, decode="all").fatal


@pytest.mark.parametrize("name", ["cine/examples_ybr_color.dcm", "cine/OBXXXX1A_rle_2frame.dcm"])
def test_a_cine_is_masked_in_its_own_codec_and_stays_lossy(name: str, sample: Callable[[str], Path]) -> None:
    data = sample(name).read_bytes()
    made = deidentify(data, CLEAN, [profile()])
    source, again = scan(data), scan(made.data)
    assert header_of(again).transfer_syntax_uid == header_of(source).transfer_syntax_uid
    assert [again.value(tag) for tag in (0x00282110, 0x00282112, 0x00282114)] == [
        source.value(tag) for tag in (0x00282110, 0x00282112, 0x00282114)
    ]
    before, after = frames(data), frames(made.data)
    assert len(after) == len(before) > 1
    for one, two in zip(before, after, strict=True):
        assert two[0:8, 8:32].max() < 20
        assert np.abs(one[60:].astype(int) - two[60:].astype(int)).mean() < 4


def test_ultrasound_regions_are_what_is_kept(sample: Callable[[str], Path]) -> None:
    data = sample("transfer_syntaxes/JPGLosslessP14SV1_1s_1f_8b.dcm").read_bytes()
    regions = regions_of(scan(data))
    assert regions
    made = deidentify(data, CLEAN)
    (after,) = frames(made.data)
    outside = blackened(after.shape, (), regions)
    assert after[outside].max() == 0
    assert np.array_equal(after[~outside], frames(data)[0][~outside])
    assert made.mask == "ultrasound regions"


@pytest.mark.parametrize(("manufacturer", "more", "fits"), [
    ("GE*", {}, True), ("ge medical systems", {}, True), ("Philips", {}, False), ("*", {"rows": 128, "columns": 128}, True),
    ("*", {"rows": 512}, False), ("*", {"model": "Other*"}, False), ("*", {"software": "05"}, True), ("*", {"software": "9*"}, False),
])  # fmt: skip
def test_a_profile_fits_its_device_and_size(
    manufacturer: str, more: dict[str, object], fits: bool, bundled: Callable[[str], bytes]
) -> None:
    made = deidentify(bundled("CT_small.dcm"), CLEAN, [profile(manufacturer, **more)])
    assert (made.mask == "banner 3") is fits


@pytest.mark.parametrize("text", [
    "{}", '{"name":"a","version":0,"manufacturer":"x","masks":[{}]}', '{"name":"a","version":1,"manufacturer":"x","masks":[]}',
    '{"name":"a","version":1,"manufacturer":"x","masks":[{"rectangles":[{"left":-1,"top":0,"width":1,"height":1}]}]}',
    '{"name":"a","version":1,"manufacturer":"x","masks":[{}],"format":2}', "nonsense",
])  # fmt: skip
def test_a_broken_profile_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        read_profile(text)


def test_a_profile_travels_as_json() -> None:
    made = profile("GE*", rows=128)
    assert read_profile(made.model_dump_json()) == made


SHOWS_TEXT = [
    "cine/color3d_jpeg_baseline.dcm", "cine/OBXXXX1A_rle_2frame.dcm", "cine/fo_DIRW0007.dcm", "transfer_syntaxes/examples_rgb_color.dcm",
    "transfer_syntaxes/JPGLosslessP14SV1_1s_1f_8b.dcm",
]  # fmt: skip
SHOWS_NONE = [
    "transfer_syntaxes/CTImage.dcm",
    "enhanced/eCT_Supplemental.dcm",
    "enhanced/d2n_siemens_enhanced_anat.dcm",
]


@pytest.mark.parametrize("name", SHOWS_TEXT)
def test_text_on_real_screens_is_found(name: str, sample: Callable[[str], Path]) -> None:
    made = deidentify(sample(name).read_bytes(), Options(KEY))
    assert made.text is not None
    assert made.text.verdict == "text"
    assert made.needs_person
    assert pydicom.dcmread(io.BytesIO(made.data)).BurnedInAnnotation == "YES"


@pytest.mark.parametrize("name", SHOWS_NONE)
def test_anatomy_is_no_text(name: str, sample: Callable[[str], Path]) -> None:
    made = deidentify(sample(name).read_bytes(), Options(KEY))
    assert made.text is not None
    assert made.text.verdict == "none"


@given(
    words=st.text("ABCDEFGHKLMNPRSTUVWXYZ23456789", min_size=6, max_size=14), size=st.floats(0.4, 1.2),
    left=st.integers(5, 120), top=st.integers(40, 400), value=st.integers(200, 255),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_a_name_written_on_a_dark_picture_is_never_called_none(
    words: str, size: float, left: int, top: int, value: int
) -> None:
    picture = np.random.default_rng(5).integers(20, 60, (440, 640), dtype=np.uint8)
    picture = cv2.GaussianBlur(picture, (9, 9), 0).astype(np.uint8)
    assert find_text([picture]).verdict == "none"
    cv2.putText(picture, words, (left, top), cv2.FONT_HERSHEY_SIMPLEX, size, value, 1, cv2.LINE_AA)
    assert find_text([picture]).verdict != "none"


def test_text_that_is_burnt_into_a_ct_stops_it_until_it_is_masked(bundled: Callable[[str], bytes]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(io.BytesIO(bundled("CT_small.dcm")))
    picture = np.kron(ds.pixel_array, np.ones((4, 4), np.int16)).astype(np.int16)
    letters = cv2.putText(
        np.zeros((512, 512), np.uint8), "ZANZIBAROV Q", (20, 60), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2
    )
    picture[letters > 127] = 4000
    ds.PixelData, ds.Rows, ds.Columns = picture.tobytes(), 512, 512
    out = io.BytesIO()
    ds.save_as(out)
    found = deidentify(out.getvalue(), CLEAN)
    assert found.needs_person
    assert "113101" not in found.codes
    box = Rectangle(left=0, top=30, width=512, height=50)
    masked = deidentify(
        out.getvalue(),
        CLEAN,
        [DeviceProfile(name="p", version=1, manufacturer="GE*", masks=(Mask(rectangles=(box,)),))],
    )
    assert masked.text is not None
    assert masked.text.verdict == "none"
    assert "113101" in masked.codes
    assert pydicom.dcmread(io.BytesIO(masked.data)).BurnedInAnnotation == "NO"


def test_a_side_marker_is_no_reason_to_stop() -> None:
    picture = np.full((600, 500), 30, np.uint8)
    cv2.putText(picture, "L", (440, 80), cv2.FONT_HERSHEY_SIMPLEX, 1.5, 255, 3)
    assert find_text([picture]).verdict == "none"


def test_a_video_is_never_called_clean(sample: Callable[[str], Path]) -> None:
    from tests.dicom.test_video import Film, made, wrapped

    found = deidentify(wrapped(made(Film())), CLEAN)
    assert found.needs_person
    assert "pixels-not-looked-at" in found.risks
    assert "113101" not in found.codes
    assert not validate(found.data).fatal


def test_a_photograph_may_show_a_face(bundled: Callable[[str], bytes]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(io.BytesIO(bundled("SC_rgb_small_odd.dcm")))
    ds.Modality = "XC"
    out = io.BytesIO()
    ds.save_as(out)
    made = deidentify(out.getvalue(), Options(KEY, frozenset({Option.CLEAN_FEATURES})))
    assert "recognizable-face" in made.risks
    assert made.needs_person
    assert "113102" not in made.codes
    assert pydicom.dcmread(io.BytesIO(made.data)).RecognizableVisualFeatures == "YES"
