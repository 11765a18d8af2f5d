"""Every real file gets the verdict that it deserves, and no bytes make validation raise, hang or grow."""

from __future__ import annotations

import ast
import io
import re
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consilium_core.ids import new_uid
from consilium_dicom import findings, scan, structure
from consilium_dicom.chinese import in_chinese
from consilium_dicom.header import read_header
from consilium_dicom.validate import ValidationRun, validate

_PYDICOM = Path(pydicom.__file__).parent / "data" / "test_files"
CT = (_PYDICOM / "CT_small.dcm").read_bytes()
CLIP = (_PYDICOM / "examples_ybr_color.dcm").read_bytes()

REJECTED = {
    "ExplVR_LitEndNoMeta.dcm": (0xC000, "no-transfer-syntax"),
    "GH1146.dcm": (0xA900, "pixel-data-short"),
    "MR_truncated.dcm": (0xA900, "pixel-data-truncated"),
    "emri_small_jpeg_2k_lossless_too_short.dcm": (0xA900, "fragments-broken"),
    "meta_missing_tsyntax.dcm": (0xC000, "no-transfer-syntax"),
    "no_meta.dcm": (0xC000, "unreadable"),
    "rtplan_truncated.dcm": (0xC000, "truncated"),
    "rtstruct.dcm": (0xC000, "no-transfer-syntax"),
    "JPEG2000-embedded-sequence-delimiter.dcm": (0xA900, "frame-undecodable"),
    "UN_sequence.dcm": (0xA900, "uid-missing"),
}
FRAGMENT = {"uid-missing", "no-transfer-syntax", "attribute-missing"}
ODD_BUT_LEGAL = {
    "badVR.dcm": "number-unreadable",
    "MR_small_padded.dcm": "pixel-data-long",
    "fo_DIRW0007.dcm": "trailing-bytes",
    "rtdose.dcm": "meta-mismatch",
    "SC_rgb_jpeg.dcm": "vr-mismatch",
}


HEADERS_ALONE = {"chrJapMulti.dcm", "chrJapMultiExplicitIR6.dcm", "chrKoreanMulti.dcm"}


def _codes(run: ValidationRun) -> set[str]:
    return {found.code for found in run.findings}


def _changed(data: bytes, **changes: object) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(data))
    for keyword, value in changes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def test_real_files_get_the_right_verdict(real_file: Path) -> None:
    run = validate(real_file.read_bytes())
    if real_file.name in REJECTED:
        reason, code = REJECTED[real_file.name]
        assert (run.verdict, run.failure_reason) == ("reject", reason)
        assert code in {found.code for found in run.fatal}
    elif run.verdict == "reject":
        assert {found.code for found in run.fatal} <= FRAGMENT, "a fragment, not an object"
    elif real_file.name in HEADERS_ALONE:
        assert run.verdict == "quarantine"
        assert "pixel-data-missing" in _codes(run)
    elif real_file.name in ODD_BUT_LEGAL:
        assert run.verdict == "accept_with_warnings"
        assert ODD_BUT_LEGAL[real_file.name] in _codes(run)
    else:
        assert run.failure_reason == 0


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, about the odd value it writes
def test_a_nul_inside_text_is_a_warning_and_inside_a_uid_a_refusal() -> None:
    run = validate(_changed(CT, StudyDescription="A\0B"))
    assert [(found.code, found.tag_path) for found in run.findings if found.code == "text-nul"] == [
        ("text-nul", "(0008,1030)")
    ]
    assert run.verdict == "accept_with_warnings"
    assert "uid-invalid" in _codes(validate(_changed(CT, StudyInstanceUID="1.2\x003")))


def test_a_clean_file_is_accepted_without_a_word() -> None:
    run = validate(CT)
    assert run == ValidationRun("accept", run.findings, 0, read_header(CT), run.source)
    assert _codes(run) == {"private-elements"}
    assert all(found.note for found in run.findings)


@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"StudyInstanceUID": None}, "uid-missing", 0xA900),
        ({"SeriesInstanceUID": ""}, "uid-missing", 0xA900),
        ({"Rows": None}, "attribute-missing", 0xA900),
        ({"PhotometricInterpretation": None}, "attribute-missing", 0xA900),
        ({"Rows": 129}, "pixel-data-short", 0xA900),
        ({"NumberOfFrames": 2}, "pixel-data-short", 0xA900),
        ({"NumberOfFrames": 0}, "attribute-invalid", 0xA900),
        ({"NumberOfFrames": -1}, "attribute-invalid", 0xA900),
        ({"Rows": 0}, "attribute-invalid", 0xA900),
        ({"BitsStored": 17}, "bits-inconsistent", 0xA900),
        ({"SOPClassUID": "1.2.840.10008.1.1"}, "sop-class-not-storage", 0x0122),
        ({"SOPClassUID": "1.2.840.10008.1.3.10"}, "sop-class-not-storage", 0x0122),
        ({"SamplesPerPixel": 3}, "pixel-data-short", 0xA900),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_cannot_be_stored_is_rejected(changes: dict[str, object], code: str, reason: int) -> None:
    run = validate(_changed(CT, **changes))
    assert run.verdict == "reject"
    assert code in {found.code for found in run.fatal}
    assert run.failure_reason == reason


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"PatientID": ""}, "patient-id-empty"),
        ({"Modality": ""}, "attribute-absent"),
        ({"StudyDate": "20261399"}, "date-invalid"),
        ({"Rows": 127}, "pixel-data-long"),
        ({"HighBit": 3}, "high-bit-odd"),
        ({"PhotometricInterpretation": "RGB"}, "samples-mismatch"),
        ({"PatientAge": "999Y"}, "age-implausible"),
        ({"PatientAge": "45"}, "age-invalid"),
        ({"WindowCenter": 1, "WindowWidth": 0}, "window-invalid"),
        ({"SOPClassUID": "1.3.12.2.1107.5.9.1"}, "sop-class-private"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_odd_is_stored_with_a_warning(changes: dict[str, object], code: str) -> None:
    run = validate(_changed(CT, **changes))
    assert run.verdict == "accept_with_warnings"
    assert code in _codes(run)


def test_a_directory_is_refused_as_a_class_not_for_its_missing_uids() -> None:
    without = {"StudyInstanceUID": None, "SeriesInstanceUID": None}
    assert validate(_changed(CT, SOPClassUID="1.2.840.10008.1.3.10", **without)).failure_reason == 0x0122


def test_an_unknown_transfer_syntax_is_refused() -> None:
    at = CT.index(b"1.2.840.10008.1.2.1\0")
    other = CT[:at] + b"1.2.840.10008.1.2.9\0" + CT[at + 20 :]
    run = validate(other)
    assert run.failure_reason == 0xC122
    assert "transfer-syntax-unknown" in {found.code for found in run.fatal}


def test_a_private_sop_class_can_be_forbidden() -> None:
    run = validate(_changed(CT, SOPClassUID="1.3.12.2.1107.5.9.1"), accept_private=False)
    assert run.failure_reason == 0x0122


def test_the_identity_in_the_meta_information_is_compared() -> None:
    assert "meta-mismatch" in _codes(validate(_changed(CT, SOPInstanceUID=new_uid())))


def test_findings_speak_both_languages() -> None:
    (found,) = validate(_changed(CT, StudyInstanceUID=None)).fatal
    assert found.text_en == "Study Instance UID is missing"
    assert found.text_zh == "缺少 Study Instance UID"
    assert (found.tag_path, found.level, found.mend) == ("(0020,000D)", "V2", "caller")


def test_the_catalogue_is_complete_in_both_languages() -> None:
    for code, kind in findings.CATALOGUE.items():
        assert kind.en, code
        assert any("\u4e00" <= letter <= "\u9fff" for letter in kind.zh), code


def test_a_middle_frame_that_does_not_decode_is_found() -> None:
    header = read_header(CLIP)
    from consilium_dicom.frames import index_frames

    ((offset, length),) = index_frames(CLIP, header).ranges(15)
    spoiled = CLIP[:offset] + b"\0" * length + CLIP[offset + length :]
    assert validate(CLIP).verdict == "accept"
    assert {found.code for found in validate(spoiled).fatal} == {"frame-undecodable"}
    assert validate(spoiled, decode="none").verdict == "accept"


def test_encapsulation_must_agree_with_the_transfer_syntax() -> None:
    meta_at = CLIP.index(b"1.2.840.10008.1.2.4.50")
    native = CLIP[:meta_at] + b"1.2.840.10008.1.2.1\0\0\0" + CLIP[meta_at + 22 :]
    assert "encapsulation-mismatch" in _codes(validate(native))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 32_768 + 200))
def test_a_file_cut_short_in_its_pixels_is_rejected(missing: int) -> None:
    """CT_small ends with trailing padding after its pixels: cut into the pixels themselves."""
    header = read_header(CT)
    end = header.pixel_offset + (header.pixel_length or 0)
    missing = min(missing, header.pixel_length or 0)
    run = validate(CT[: end - missing])
    assert run.verdict == "reject"
    assert "pixel-data-truncated" in {found.code for found in run.fatal}


def test_what_is_wrong_is_said_with_the_value_and_mended_where_the_file_is() -> None:
    [none] = [one for one in validate(_changed(CT, Rows=0)).findings if one.code == "attribute-invalid"]
    assert (none.text_en, none.tag_path) == ("Rows is 0: no image has that", "(0028,0010)")
    [short] = validate(CT[:-1000]).fatal
    assert (short.code, short.mend) == ("pixel-data-truncated", "caller"), "asking again brings the same file"


KINDS = {"DicomUnreadable", "TooLarge", "DicomInvalid", "Undecodable"}
REASONS = ("scan", "structure", "frames", "codecs")


def _reasons() -> Iterator[str]:
    """Yield what the parser and the codecs raise, sevens and UIDs in the places of facts."""
    for name in REASONS:
        tree = ast.parse((Path(findings.__file__).parent / f"{name}.py").read_text())
        for node in ast.walk(tree):
            call = node.exc if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) else None
            if call and call.args and ast.unparse(call.func) in KINDS:
                parts = getattr(call.args[0], "values", [call.args[0]])
                yield "".join(part.value if isinstance(part, ast.Constant) else "7" for part in parts)


def test_a_chinese_sentence_is_not_half_english() -> None:
    reasons = list(_reasons())
    assert len(reasons) > 30
    names = re.compile(r"DICM|DICOM|JPEG 2000|RLE|YBR")
    half = [one for one in reasons if re.search(r"[A-Za-z]{3}", names.sub("", in_chinese(one)))]
    assert half == []
    for data in (b"%PDF-1.4" + bytes(200), b"", b"\xff\xd8\xff" + bytes(200), CT[:400], b"nonsense" * 40):
        for found in validate(data).fatal:
            words = re.sub(r"DICOM|DICM|PDF|JPEG|UID|Study|Series|SOP|Class|Instance", "", found.text_zh)
            assert not re.search(r"[A-Za-z]{3}", words), found.text_zh


def test_an_image_cut_off_exactly_before_its_pixels_is_held_and_no_other_object_is() -> None:
    cut = CT[: CT.index(b"\xe0\x7f\x10\x00OW")]
    run = validate(cut)
    assert (run.verdict, [found.code for found in run.findings if found.level == "V3"]) == (
        "quarantine",
        ["pixel-data-missing"],
    )
    elsewhere = validate(_changed(cut, PixelDataProviderURL="https://pixels.example/1"))
    assert "pixel-data-missing" not in _codes(elsewhere), "its pixels lie elsewhere"
    for uid in ("88.11", "88.59", "11.1", "481.2", "481.3", "104.1", "9.1.1", "66", "4.2"):
        other = validate(_changed(cut, SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{uid}"))
        assert "pixel-data-missing" not in _codes(other), uid
    for uid in ("66.4", "6.2", "82.1", "77.1.6"):
        other = validate(_changed(cut, SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{uid}"))
        assert "pixel-data-missing" in _codes(other), uid


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(CLIP) - 1))
def test_a_clip_cut_short_anywhere_is_rejected(length: int) -> None:
    assert validate(CLIP[:length]).verdict == "reject"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.data_too_large])
@given(st.lists(st.tuples(st.integers(0, 6000), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6))
def test_no_change_of_bytes_makes_validation_raise(changes: list[tuple[int, bytes]]) -> None:
    data = bytearray(CT)
    for at, replacement in changes:
        data[at : at + len(replacement)] = replacement
    run = validate(bytes(data))
    assert run.verdict in {"accept", "accept_with_warnings", "quarantine", "reject"}
    assert (run.failure_reason != 0) == (run.verdict == "reject")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=600))
def test_no_bytes_after_a_preamble_make_validation_raise(tail: bytes) -> None:
    assert validate(b"\0" * 128 + b"DICM" + tail).verdict == "reject"


def _meta(syntax: bytes) -> bytes:
    value = syntax + b"\0" * (len(syntax) % 2)
    return b"\0" * 128 + b"DICM" + b"\x02\x00\x10\x00UI" + struct.pack("<H", len(value)) + value


def test_deep_nesting_is_refused() -> None:
    deeper = (b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 5000
    run = validate(_meta(b"1.2.840.10008.1.2.1") + deeper)
    assert (run.verdict, _codes(run)) == ("reject", {"too-large"})


def test_deep_nesting_of_stated_lengths_is_refused() -> None:
    inner = b""
    for _ in range(scan.MAX_DEPTH + 2):
        item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(inner)) + inner
        inner = b"\x40\x00\x75\x02SQ\0\0" + struct.pack("<I", len(item)) + item
    run = validate(_meta(b"1.2.840.10008.1.2.1") + inner)
    assert (run.verdict, _codes(run)) == ("reject", {"too-large"})


def test_endless_elements_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan.Fence.__init__, "__defaults__", (1000,))
    run = validate(_meta(b"1.2.840.10008.1.2.1") + b"\x08\x00\x05\x00CS\x00\x00" * 2000)
    assert (run.verdict, _codes(run)) == ("reject", {"too-large"})


def test_many_small_elements_are_refused_before_they_fill_the_memory() -> None:
    elements = b"".join(struct.pack("<HH2sH", 0x0009 + 2 * (i >> 15), i & 0x7FFF, b"LO", 0) for i in range(120_000))
    run = validate(_meta(b"1.2.840.10008.1.2.1") + elements)
    assert (run.verdict, _codes(run)) == ("reject", {"too-large"})


def test_many_small_items_are_refused_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure, "MAX_KEPT_ELEMENTS", 10_000)
    item = b"\xfe\xff\x00\xe0\x08\x00\x00\x00" + b"\x08\x00\x04\x01LO\x00\x00"
    body = item * 5_100
    head = b"\x40\x00\x75\x02SQ\0\0" + struct.pack("<I", len(body))
    run = validate(_meta(b"1.2.840.10008.1.2.1") + head + body)
    assert (run.verdict, _codes(run)) == ("reject", {"too-large"})


@pytest.mark.parametrize("implicit", [True, False])
def test_a_sequence_without_items_inside_is_unreadable(implicit: bool) -> None:
    syntax = b"1.2.840.10008.1.2" if implicit else b"1.2.840.10008.1.2.1"
    vr = b"" if implicit else b"SQ\0\0"
    run = validate(_meta(syntax) + b"\x08\x00\x40\x11" + vr + struct.pack("<I", 12) + b"no items...!")
    assert "unreadable" in _codes(run)


def test_a_huge_stated_length_costs_no_memory() -> None:
    data = _meta(b"1.2.840.10008.1.2.1") + b"\x08\x00\x05\x00OB\0\0\xf0\xff\xff\xff" + b"abc"
    tracemalloc.start()
    try:
        run = validate(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert run.verdict == "reject"
    assert peak < 1_000_000


def test_a_huge_picture_is_not_allocated() -> None:
    """A JPEG of 320x240 in an object that claims 65535x65535x3: the claim alone would need 12 GiB."""
    tracemalloc.start()
    try:
        run = validate(_changed(CLIP, Rows=65535, Columns=65535))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "frame-undecodable" in _codes(run)
    assert peak < 64_000_000


def test_a_deflate_bomb_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "MAX_INFLATED_BYTES", 100_000)
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = engine.compress(b"\0" * 50_000_000) + engine.flush()
    tracemalloc.start()
    try:
        run = validate(_meta(b"1.2.840.10008.1.2.1.99") + bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (run.verdict, _codes(run)) == ("reject", {"too-large"})
    assert peak < 5_000_000


def test_a_bundled_file_is_accepted_whatever_holds_it(bundled: Callable[[str], bytes]) -> None:
    data = bundled("MR_small_RLE.dcm")
    assert validate(memoryview(data)).verdict == validate(data).verdict == "accept"
