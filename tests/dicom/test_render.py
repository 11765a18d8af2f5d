"""Frames decode as pydicom decodes them, and pictures follow PS3.3's grey-scale and colour pipelines."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.pixels import apply_color_lut as pydicom_palette
from pydicom.pixels import apply_modality_lut, apply_windowing, iter_pixels

from consilium_dicom.codecs import decode_frame
from consilium_dicom.errors import DicomInvalid, Undecodable
from consilium_dicom.frames import frame_bytes, index_frames
from consilium_dicom.header import Header, read_header
from consilium_dicom.luts import Lut, apply_voi, read_tables
from consilium_dicom.render import render, to_display

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, about the odd files it reads

# Frames that are not there, or that pydicom's plugins here do not decode.
NOT_COMPARED = {
    "badVR.dcm",
    "GH1146.dcm",
    "MR_truncated.dcm",
    "JPEG2000-embedded-sequence-delimiter.dcm",
    "emri_small_jpeg_2k_lossless_too_short.dcm",
    "JPEG-lossy.dcm",
}
LOSSY_JPEG = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"}


def _frame(data: bytes, number: int = 0) -> tuple[Header, bytes]:
    header = read_header(data)
    return header, frame_bytes(data, index_frames(data, header), number, header)


def _picture(encoded: bytes) -> NDArray[Any]:
    picture = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB) if picture.ndim == 3 else picture


def test_the_last_frame_decodes_as_pydicom_decodes_it(
    real_file: Path, oracle: Callable[[Path], pydicom.Dataset]
) -> None:
    dataset = oracle(real_file)
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if "PixelData" not in dataset or not dataset.get("BitsAllocated") or not syntax:
        pytest.skip("no pixels")
    if real_file.name in NOT_COMPARED or syntax.endswith((".4.53", ".4.55")):
        pytest.skip("pydicom cannot decode it")
    last = int(dataset.get("NumberOfFrames") or 1) - 1
    (theirs,) = iter_pixels(dataset, indices=[last])
    header, frame = _frame(real_file.read_bytes(), last)
    ours = decode_frame(header, frame)
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype.newbyteorder("=")
    if syntax in LOSSY_JPEG:  # decoders differ in their inverse transform and in how they interpolate chroma
        assert np.abs(ours.astype(int) - theirs).max() <= 8
    else:
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(
    "name",
    ["JPEGProcess10_12TransferSyntax_1.2.840.10008.1.2.4.55", "JPEGProcess6_8TransferSyntax_1.2.840.10008.1.2.4.53"],
)
def test_progressive_12_bit_frames_equal_the_sequential_one(name: str, sample: Callable[[str], Path]) -> None:
    sequential = "transfer_syntaxes/CTImage.dcm_JPEGProcess2_4TransferSyntax_1.2.840.10008.1.2.4.51.dcm"
    original = decode_frame(*_frame(sample(sequential).read_bytes()))
    progressive = decode_frame(*_frame(sample(f"transfer_syntaxes/CTImage.dcm_{name}.dcm").read_bytes()))
    assert np.abs(original.astype(int) - progressive).max() <= 1


def test_windowing_equals_pydicoms(bundled: Callable[[str], bytes]) -> None:
    data = bundled("CT_small.dcm")
    header, frame = _frame(data)
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.WindowCenter, dataset.WindowWidth = 40, 400
    hounsfield = apply_modality_lut(dataset.pixel_array, dataset)
    for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        dataset.VOILUTFunction = function
        theirs = apply_windowing(hounsfield, dataset)
        theirs = (theirs - theirs.min()) / (np.ptp(theirs) or 1) * 255
        chosen: Any = {"LINEAR": "linear", "LINEAR_EXACT": "linear-exact", "SIGMOID": "sigmoid"}[function]
        ours = to_display(decode_frame(header, frame), header, window=(40, 400), voi_function=chosen)
        assert np.abs(ours - theirs).max() < 2.5, function


def test_a_window_one_wide_is_a_threshold() -> None:
    values = np.array([[9.0, 9.5, 10.0]], np.float32)
    assert apply_voi(values, (10, 1)).tolist() == [[0, 0, 255]]


@pytest.mark.parametrize(("function", "width"), [("linear", 0.5), ("linear-exact", 0), ("sigmoid", -1)])
def test_an_impossible_window_is_refused(function: str, width: float) -> None:
    with pytest.raises(DicomInvalid):
        apply_voi(np.zeros((1, 1), np.float32), (0, width), function)


def test_monochrome1_is_inverted(bundled: Callable[[str], bytes]) -> None:
    header, frame = _frame(bundled("MR_small.dcm"))
    samples = decode_frame(header, frame)
    normal = to_display(samples, header, window=(600, 1600))
    inverted = to_display(samples, replace(header, photometric="MONOCHROME1"), window=(600, 1600))
    assert np.array_equal(normal, 255 - inverted)


def test_an_image_without_a_window_spans_its_own_values(bundled: Callable[[str], bytes]) -> None:
    header, frame = _frame(bundled("MR_small.dcm"))
    picture = to_display(decode_frame(header, frame), replace(header, window_center=(), window_width=()))
    assert picture.min() == 0
    assert picture.max() == 255


def test_palette_colour_equals_pydicoms(bundled: Callable[[str], bytes]) -> None:
    data = bundled("examples_palette.dcm")
    header, frame = _frame(data)
    ours = to_display(decode_frame(header, frame), header, tables=read_tables(data))
    dataset = pydicom.dcmread(io.BytesIO(data))
    theirs = pydicom_palette(dataset.pixel_array, dataset)
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(int) - (theirs >> (8 if theirs.max() > 255 else 0))).max() <= 1


def test_a_palette_image_without_its_palette_is_refused(bundled: Callable[[str], bytes]) -> None:
    header, frame = _frame(bundled("examples_palette.dcm"))
    with pytest.raises(DicomInvalid):
        render(frame, header)


def test_luts_clamp_at_both_ends() -> None:
    lut = Lut(first=10, bits=8, entries=np.array([5, 6, 7], np.uint16))
    assert lut.apply(np.array([-100, 10, 11, 12, 900])).tolist() == [5, 5, 6, 7, 7]


def test_a_modality_lut_sequence_is_used(bundled: Callable[[str], bytes]) -> None:
    dataset = pydicom.dcmread(io.BytesIO(bundled("MR_small.dcm")))
    item = pydicom.Dataset()
    item.LUTDescriptor, item.ModalityLUTType = [4096, 0, 16], "US"
    item.add_new("LUTData", "OW", (np.arange(4096, dtype="<u2")[::-1] * 2).tobytes())
    dataset.ModalityLUTSequence = [item]
    del dataset.WindowCenter, dataset.WindowWidth
    out = io.BytesIO()
    dataset.save_as(out)
    header, frame = _frame(out.getvalue())
    samples = decode_frame(header, frame)
    picture = to_display(samples, header, tables=read_tables(out.getvalue()))
    assert picture.flat[samples.argmax()] == 0, "the table reverses the order"


def test_colour_jpeg_passes_through_untouched(bundled: Callable[[str], bytes]) -> None:
    header, frame = _frame(bundled("examples_ybr_color.dcm"), 3)
    assert render(frame, header) == frame
    assert render(frame, header, viewport=(100, 100)) != frame


def test_jpeg_in_rgb_does_not_pass_through(bundled: Callable[[str], bytes]) -> None:
    """Browsers would take an RGB code stream without an Adobe marker for YBR."""
    header, frame = _frame(bundled("SC_jpeg_no_color_transform.dcm"))
    shown = _picture(render(frame, header, fmt="png"))
    assert np.array_equal(shown, decode_frame(header, frame))


def test_png_keeps_every_displayed_value(bundled: Callable[[str], bytes]) -> None:
    header, frame = _frame(bundled("CT_small.dcm"))
    shown = _picture(render(frame, header, window=(40, 400), fmt="png"))
    assert np.array_equal(shown, to_display(decode_frame(header, frame), header, window=(40, 400)))


@pytest.mark.parametrize(
    ("viewport", "size"), [((64, 64), (64, 48)), ((1000, 30), (40, 30)), ((4000, 4000), (320, 240)), ((1, 1), (1, 1))]
)
def test_a_viewport_shrinks_and_never_enlarges(
    viewport: tuple[int, int], size: tuple[int, int], bundled: Callable[[str], bytes]
) -> None:
    header, frame = _frame(bundled("examples_rgb_color.dcm"))
    rows, columns = _picture(render(frame, header, viewport=viewport)).shape[:2]
    assert (columns, rows) == size


def test_an_impossible_viewport_is_refused(bundled: Callable[[str], bytes]) -> None:
    header, frame = _frame(bundled("CT_small.dcm"))
    with pytest.raises(DicomInvalid):
        render(frame, header, viewport=(0, 10))


def test_quality_trades_size(bundled: Callable[[str], bytes]) -> None:
    header, frame = _frame(bundled("CT_small.dcm"))
    assert len(render(frame, header, quality=20)) < len(render(frame, header, quality=95))


@pytest.mark.parametrize("broken", [b"", b"\xff\xd8\xff\xd9", b"\x00" * 100])
@pytest.mark.parametrize("name", ["examples_ybr_color.dcm", "SC_rgb_rle.dcm", "examples_jpeg2k.dcm", "CT_small.dcm"])
def test_a_broken_frame_is_refused(name: str, broken: bytes, bundled: Callable[[str], bytes]) -> None:
    header = read_header(bundled(name))
    with pytest.raises(DicomInvalid):
        decode_frame(header, broken)


def test_a_frame_of_another_size_is_refused(bundled: Callable[[str], bytes]) -> None:
    header, frame = _frame(bundled("examples_ybr_color.dcm"))
    with pytest.raises(Undecodable, match="320x240"):
        decode_frame(replace(header, rows=100), frame)


def test_a_code_stream_of_another_size_is_refused_before_it_is_decoded(bundled: Callable[[str], bytes]) -> None:
    """A JPEG 2000 header that claims 65535x65535 would make the decoder allocate for it."""
    header, frame = _frame(bundled("examples_jpeg2k.dcm"))
    at = frame.index(b"\xff\x4f\xff\x51") + 8
    claims = frame[:at] + (65535).to_bytes(4, "big") * 2 + frame[at + 8 :]
    with pytest.raises(Undecodable, match="65535x65535"):
        decode_frame(header, claims)


def test_a_grey_8_bit_still_without_a_window_is_shown_as_it_is() -> None:
    grey = np.tile(np.arange(40, 200, dtype=np.uint8), (20, 1))
    assert np.array_equal(to_display(grey, _HEADER_8_BIT), grey)


_HEADER_8_BIT = replace(
    read_header((Path(pydicom.__file__).parent / "data" / "test_files" / "MR_small.dcm").read_bytes()),
    bits_allocated=8,
    bits_stored=8,
    pixel_representation=0,
    window_center=(),
    window_width=(),
)


@pytest.mark.parametrize(
    "name",
    [
        "enhanced/eCT_Supplemental.dcm",
        "enhanced/d2n_siemens_enhanced_anat.dcm",
        "enhanced/d2n_philips_enhanced_anat.dcm",
    ],
)
def test_each_enhanced_frame_has_its_own_rescale_and_window(
    name: str, sample: Callable[[str], Path], oracle: Callable[[Path], pydicom.Dataset]
) -> None:
    path = sample(name)
    tables, dataset = read_tables(path.read_bytes()), oracle(path)
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        look = tables.look(number)
        own = group if "PixelValueTransformationSequence" in group else shared
        if "PixelValueTransformationSequence" in own:
            values = own.PixelValueTransformationSequence[0]
            assert (look.slope, look.intercept) == (values.RescaleSlope, values.RescaleIntercept)
        own = group if "FrameVOILUTSequence" in group else shared
        if "FrameVOILUTSequence" in own:
            voi = own.FrameVOILUTSequence[0]
            assert look.window == (voi.WindowCenter, voi.WindowWidth)


def test_an_enhanced_frame_is_drawn_in_hounsfield_units(
    sample: Callable[[str], Path], oracle: Callable[[Path], pydicom.Dataset]
) -> None:
    path = sample("enhanced/eCT_Supplemental.dcm")
    data, dataset = path.read_bytes(), oracle(path)
    header, frame = _frame(data, 1)
    samples = decode_frame(header, frame)
    groups = (dataset.PerFrameFunctionalGroupsSequence[1], dataset.SharedFunctionalGroupsSequence[0])
    values = next(g for g in groups if "PixelValueTransformationSequence" in g).PixelValueTransformationSequence[0]
    hounsfield = samples.astype(np.float32) * float(values.RescaleSlope) + float(values.RescaleIntercept)
    drawn = to_display(samples, header, window=(40, 400), tables=read_tables(data), frame_number=1)
    assert np.array_equal(drawn, apply_voi(hounsfield, (40, 400)))
    assert float(values.RescaleIntercept) != 0


@pytest.mark.parametrize("transform", [True, False])
def test_jpeg_2000_in_ybr_is_converted_once(transform: bool, bundled: Callable[[str], bytes]) -> None:
    """The decoder undoes the code stream's own transform; without one, YBR_FULL samples are ours to convert."""
    header, frame = _frame(bundled("examples_rgb_color.dcm"))
    original = decode_frame(header, frame)
    stored = original if transform else cv2.cvtColor(original, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]]
    stream = imagecodecs.jpeg2k_encode(np.ascontiguousarray(stored), codecformat="J2K", reversible=True, mct=transform)
    compressed = replace(
        header, transfer_syntax_uid="1.2.840.10008.1.2.4.90", pixel_length=None, photometric="YBR_FULL"
    )
    assert np.abs(decode_frame(compressed, stream).astype(int) - original).max() <= 3
