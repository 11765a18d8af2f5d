"""A transcoded object holds the same pixels and a data set that tells the truth; pydicom and dcmtk are the judges."""

from __future__ import annotations

import io
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from consilium_dicom.codecs import decode_frame
from consilium_dicom.encode import Samples, encode_frame
from consilium_dicom.errors import DicomInvalid, Unencodable
from consilium_dicom.frames import frame_bytes, index_frames
from consilium_dicom.header import read_header
from consilium_dicom.transcode import EXPLICIT_LE, HTJ2K_RPCL, JPEG_BASELINE, LOSSLESS, conversion, transcode
from consilium_testkit.instances import ct_instance
from consilium_testkit.servers import need

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, about the odd files it reads

_SYNTAXES = "transfer_syntaxes"
_PIXELS = {0x00280004, 0x00280006, 0x7FE00001, 0x7FE00002, 0x7FE00010}
_LOSSY = {0x00282110, 0x00282112, 0x00282114}


def _frames(data: bytes) -> list[NDArray[Any]]:
    header = read_header(data)
    index = index_frames(data, header)
    return [decode_frame(header, frame_bytes(data, index, number, header)) for number in range(index.count)]


def _read(data: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(data), force=True)


def _files(shared_data: Path) -> list[Path]:
    return sorted((shared_data / _SYNTAXES).glob("*.dcm"))


@pytest.mark.parametrize("target", [EXPLICIT_LE, *LOSSLESS])
def test_every_stored_transfer_syntax_becomes_every_offered_one_with_equal_pixels(
    shared_data: Path, target: str
) -> None:
    files = _files(shared_data)
    assert len(files) == 27
    for file in files:
        data = file.read_bytes()
        made = transcode(data, target)
        reference = _frames(data)
        for ours, theirs in zip(_frames(made), reference, strict=True):
            assert np.array_equal(ours, theirs), file.name
        told = _read(made)
        assert told.file_meta.TransferSyntaxUID == target
        assert told.file_meta.MediaStorageSOPInstanceUID == told.get("SOPInstanceUID", "")
        assert np.array_equal(told.pixel_array, reference[0]), file.name
        own = _read(data)
        changed = _PIXELS | (_LOSSY if told.get("LossyImageCompression") != own.get("LossyImageCompression") else set())
        assert {tag for tag in told.keys() ^ own.keys() if tag.element and tag not in changed} <= {0xFFFCFFFC}
        for tag in own.keys() & told.keys():
            raw = own.get_item(tag).VR == "UN"  # bytes of no known order are copied as they lie
            assert raw or tag in changed or own[tag].value == told[tag].value, (file.name, tag)


def test_every_real_file_is_the_same_object_in_explicit_little_endian(
    real_file: Path, oracle: Callable[[Path], pydicom.Dataset]
) -> None:
    own = oracle(real_file)
    data = real_file.read_bytes()
    try:
        made = transcode(data, EXPLICIT_LE)
    except DicomInvalid:
        assert real_file.parent.name == "malformed" or real_file.parent.name == "test_files"
        return
    told = _read(made)
    assert told.file_meta.TransferSyntaxUID == EXPLICIT_LE
    assert not [element for element in told if element.tag.element == 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for tag in list(own.keys()):
            if tag.group == 0xFFFE or own.get_item(tag).VR == "UN":  # bytes of no known order, a stray delimiter
                continue
            element = own[tag]
            if element.tag in _PIXELS | _LOSSY or element.tag.element == 0 or element.tag == 0xFFFCFFFC:
                continue
            assert element.tag in told, element
            if element.VR != "UN" and told[element.tag].VR != "UN":
                assert _plain(told[element.tag]) == _plain(element), element.tag


def _plain(element: pydicom.DataElement) -> Any:
    """Return a value that can be compared: items without their group lengths."""
    if element.VR != "SQ":
        return element.value
    return [[(e.tag, _plain(e)) for e in item if e.tag.element and e.VR != "UN"] for item in element.value or []]


@pytest.mark.parametrize(
    ("target", "tool"),
    [
        ("1.2.840.10008.1.2.4.70", "dcmdjpeg"),
        ("1.2.840.10008.1.2.4.80", "dcmdjpls"),
        ("1.2.840.10008.1.2.5", "dcmdrle"),
    ],
)
def test_dcmtk_decodes_what_was_encoded(shared_data: Path, tmp_path: Path, target: str, tool: str) -> None:
    need(tool, "dcmtk")
    for name in ("examples_rgb_color.dcm", "CTImage.dcm", "JPGLosslessP14SV1_1s_1f_8b.dcm", "MR_small_RLE.dcm"):
        data = (shared_data / _SYNTAXES / name).read_bytes()
        coded, plain = tmp_path / "coded.dcm", tmp_path / "plain.dcm"
        coded.write_bytes(transcode(data, target))
        subprocess.run([tool, str(coded), str(plain)], check=True, capture_output=True)
        assert np.array_equal(_frames(plain.read_bytes())[0], _frames(data)[0]), name


@pytest.mark.parametrize(
    "name",
    ["transfer_syntaxes/CTImage.dcm", "transfer_syntaxes/examples_rgb_color.dcm", "cine/examples_ybr_color.dcm",
     "cine/dcm4che_US-PAL-8-10x-echo.dcm", "enhanced/eCT_Supplemental.dcm"],
)  # fmt: skip
def test_dciodvfy_finds_no_error_that_the_original_has_not(shared_data: Path, tmp_path: Path, name: str) -> None:
    need("dciodvfy", "dicom3tools")

    def errors(data: bytes) -> set[str]:
        path = tmp_path / "file.dcm"
        path.write_bytes(data)
        told = subprocess.run(["dciodvfy", "-new", str(path)], check=False, capture_output=True)
        return {line for line in (told.stdout + told.stderr).decode("latin-1").splitlines() if line.startswith("Error")}

    data = (shared_data / name).read_bytes()
    own = errors(data)
    for target in (EXPLICIT_LE, *(one for one in LOSSLESS if ".4.20" not in one), JPEG_BASELINE):  # it knows no HTJ2K
        try:
            made = transcode(data, target)
        except Unencodable:
            assert target == JPEG_BASELINE
            continue
        assert errors(made) <= own, target


def test_dcmtk_finds_every_frame_by_the_offset_table(shared_data: Path, tmp_path: Path) -> None:
    need("dcmdjpls", "dcmtk")
    data = (shared_data / "cine" / "dcm4che_US-PAL-8-10x-echo.dcm").read_bytes()
    made = transcode(data, "1.2.840.10008.1.2.4.80")
    coded, plain = tmp_path / "coded.dcm", tmp_path / "plain.dcm"
    coded.write_bytes(made)
    subprocess.run(["dcmdjpls", str(coded), str(plain)], check=True, capture_output=True)
    for ours, theirs in zip(_frames(plain.read_bytes()), _frames(data), strict=True):
        assert np.array_equal(ours, theirs)
    value = _read(made).PixelData
    offsets = pydicom.encaps.parse_basic_offsets(value)
    assert len(offsets) == 10
    assert offsets[0] == 0


def test_a_lossy_copy_is_another_instance_that_says_so(shared_data: Path) -> None:
    data = (shared_data / _SYNTAXES / "examples_rgb_color.dcm").read_bytes()
    own, told = _read(data), _read(transcode(data, JPEG_BASELINE))
    assert told.SOPInstanceUID != own.SOPInstanceUID
    assert told.SOPInstanceUID == told.file_meta.MediaStorageSOPInstanceUID
    assert told.SOPInstanceUID == _read(transcode(data, JPEG_BASELINE)).SOPInstanceUID
    assert told.SourceImageSequence[0].ReferencedSOPInstanceUID == own.SOPInstanceUID
    assert told.SourceImageSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == "121320"
    assert told.ImageType[0] == "DERIVED"
    assert told.LossyImageCompression == "01"
    assert told.LossyImageCompressionMethod == "ISO_10918_1"
    assert float(told.LossyImageCompressionRatio) > 1
    assert told.PhotometricInterpretation == "YBR_FULL_422"
    assert np.abs(told.pixel_array.astype(int) - own.pixel_array.astype(int)).mean() < 4


def test_pixels_that_have_lost_something_say_so_for_ever(shared_data: Path) -> None:
    for name, method in (("50", "ISO_10918_1"), ("81", "ISO_14495_1")):
        [file] = (shared_data / _SYNTAXES).glob(f"CTImage*4.{name}.dcm")
        data = pydicom.dcmread(file)
        for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if keyword in data:
                del data[keyword]
        out = io.BytesIO()
        data.save_as(out)
        told = _read(transcode(out.getvalue(), EXPLICIT_LE))
        assert (told.LossyImageCompression, told.LossyImageCompressionMethod) == ("01", method)
        assert float(told.LossyImageCompressionRatio) > 1


def _rewritten(data: bytes, syntax: Any) -> bytes:
    """Return the file in another uncompressed encoding, written by pydicom."""
    dataset = _read(data)
    out = io.BytesIO()
    pydicom.dcmwrite(
        out, dataset, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=syntax != ExplicitVRBigEndian,
        enforce_file_format=False, force_encoding=True,
    )  # fmt: skip
    return out.getvalue()


def test_sequences_private_elements_and_text_survive_from_implicit_vr() -> None:
    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "99X", "王^小东"
    nested = pydicom.Dataset()
    nested.ConceptNameCodeSequence = [item]
    nested.RelationshipType = "CONTAINS"
    plain = _read(
        ct_instance(side=4, ContentSequence=[nested, nested], RedPaletteColorLookupTableDescriptor=[4, 0, 16])
    )
    plain.SmallestImagePixelValue, plain["SmallestImagePixelValue"].VR = 7, "US"
    block = plain.private_block(0x0099, "CONSILIUM TEST", create=True)
    block.add_new(1, "UN", b"\1\2\3\4")
    plain.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    out = io.BytesIO()
    pydicom.dcmwrite(out, plain, implicit_vr=True, little_endian=True)
    told = _read(transcode(out.getvalue(), EXPLICIT_LE))
    assert told.ContentSequence[1].ConceptNameCodeSequence[0].CodeMeaning == "王^小东"
    assert told.SmallestImagePixelValue == 7
    assert told["SmallestImagePixelValue"].VR == "US"
    assert told[0x0099, 0x1001].value == b"\1\2\3\4"
    assert told.PixelData == plain.PixelData
    assert told["PixelData"].VR == "OW"


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 40), columns=st.integers(1, 40), bits=st.integers(2, 16), signed=st.booleans(),
    seed=st.integers(0, 9), target=st.sampled_from(LOSSLESS),
)  # fmt: skip
def test_any_grey_picture_is_encoded_without_loss(
    rows: int, columns: int, bits: int, signed: bool, seed: int, target: str
) -> None:
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    kind = f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}"
    pixels = np.random.default_rng(seed).integers(low, high, (rows, columns), endpoint=True).astype(kind)
    allocated = 8 * pixels.dtype.itemsize
    plain = ct_instance(
        side=1, Rows=rows, Columns=columns, BitsAllocated=allocated, BitsStored=bits, HighBit=bits - 1,
        PixelRepresentation=int(signed), PixelData=pixels.tobytes() + b"\0" * (pixels.nbytes & 1),
    )  # fmt: skip
    made = transcode(plain, target)
    assert np.array_equal(_frames(made)[0], pixels)
    assert np.array_equal(_read(made).pixel_array, pixels)


@pytest.mark.parametrize("target", [EXPLICIT_LE, *LOSSLESS])
def test_colour_that_an_object_keeps_as_ybr_is_not_turned_into_rgb(target: str) -> None:
    """The conversion to RGB rounds: only what a code stream itself transforms is undone."""
    ybr = np.random.default_rng(3).integers(0, 256, (24, 32, 3), np.uint8)
    plain = ct_instance(
        side=1, Rows=24, Columns=32, SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation="YBR_FULL",
        BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=ybr.tobytes(),
    )  # fmt: skip
    told = _read(transcode(plain, target))
    assert told.PhotometricInterpretation == "YBR_FULL"
    assert np.array_equal(pydicom.pixels.pixel_array(told, raw=True), ybr)
    again = _read(transcode(transcode(plain, target), EXPLICIT_LE))
    assert again.PixelData == ybr.tobytes()


def test_what_cannot_be_encoded_is_refused(shared_data: Path) -> None:
    bits = (shared_data / "other" / "liver_1frame.dcm").read_bytes()
    with pytest.raises(Unencodable):
        transcode(bits, HTJ2K_RPCL)
    with pytest.raises(Unencodable):
        transcode((shared_data / "other" / "test-SR.dcm").read_bytes(), HTJ2K_RPCL)
    with pytest.raises(Unencodable):
        transcode(ct_instance(side=8), JPEG_BASELINE)
    with pytest.raises(Unencodable):
        encode_frame(np.zeros((4, 4), np.float32), Samples(32, "MONOCHROME2"), HTJ2K_RPCL)
    with pytest.raises(Unencodable):
        conversion(ct_instance(side=8), np.zeros(64, "<u2").tobytes(), "1.2.3")


def test_resolutions_of_htj2k_begin_with_a_thumbnail_and_are_named(shared_data: Path) -> None:
    """PS3.5 10.18: RPCL, TLM, and a lowest resolution of at most 64."""
    pixels = np.random.default_rng(1).integers(0, 4096, (300, 5000), np.uint16)
    stream = encode_frame(pixels, Samples(12, "MONOCHROME2"), HTJ2K_RPCL)
    assert stream[40:43] == b"\0\1\x0b"  # one component of 12 bits, unsigned
    cod = stream.index(b"\xff\x52")
    assert stream[cod + 5] == 2  # RPCL
    assert 5000 / 2 ** stream[cod + 9] <= 128
    assert b"\xff\x55" in stream[: stream.index(b"\xff\x90")]
