"""The levels V0 to V5 beyond parsing: what arrived, modules, empty frames, dates, orders, privacy; and the policy (B1, B2)."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from consilium_core.ids import new_uid
from consilium_core.site_protocol import CaptureContext
from consilium_dicom.build import Equipment
from consilium_dicom.catalogue import CATALOGUE
from consilium_dicom.check_iod import demands_of
from consilium_dicom.iod_tables import IODS, MODULES
from consilium_dicom.policy import DEFAULT_POLICY, HELD_BY_DEFAULT, STORE_ALL, Policy, parse_policy
from consilium_dicom.sop_classes import is_storage
from consilium_dicom.transport import Stated, arrived, sniff
from consilium_dicom.validate import Circumstances, Order, ValidationRun, validate
from consilium_testkit.instances import ct_instance

TODAY = Circumstances(today="20261126")


def codes(run: ValidationRun, level: str = "") -> list[str]:
    return [one.code for one in run.findings if one.level.startswith(level)]


def changed(**attributes: Any) -> bytes:
    return ct_instance(side=16, **attributes)


# -- V0 ----------------------------------------------------------------------------------------------------------------


def test_what_the_sender_states_is_compared() -> None:
    data = changed()
    digest = hashlib.sha256(data).hexdigest()
    assert arrived(Stated(len(data), digest.upper()), len(data), digest) == ()
    assert arrived(Stated(), len(data), digest) == ()
    short = arrived(Stated(len(data) + 1, "00" * 32), len(data), digest)
    assert [one.code for one in short] == ["length-mismatch", "checksum-mismatch"]
    run = validate(data, known=Circumstances(transport=short))
    assert (run.verdict, run.failure_reason) == ("reject", 0xC000)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"%PDF-1.7", "a PDF"),
        (b"\xff\xd8\xff\xe0", "a JPEG picture"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\0\0\0\x18ftypmp42", "an MP4 video"),
        (b'{"a": 1}', "JSON"),
        (b"", "nothing: the file is empty"),
    ],
)
def test_what_is_not_dicom_is_named(head: bytes, words: str) -> None:
    assert sniff(head) == words
    run = validate(head + b"\x99" * 200 if head else b"")
    assert run.verdict == "reject"
    assert "not-dicom" in codes(run)
    assert words in run.findings[0].text_en


# -- V2 ----------------------------------------------------------------------------------------------------------------


def test_the_tables_name_storage_classes_and_tags_of_the_dictionary() -> None:
    from pydicom.datadict import dictionary_has_tag

    assert all(is_storage(uid) for uid in IODS)
    assert {name for modules in IODS.values() for name in modules} == set(MODULES)
    for uid in IODS:
        demands = demands_of(uid)
        assert demands is not None
        assert all(dictionary_has_tag(tag) for tag in demands.module)
        assert not demands.type1 & demands.type2


@pytest.mark.parametrize("keyword", ["RescaleSlope", "ImagePositionPatient", "PixelSpacing", "FrameOfReferenceUID"])
def test_a_missing_type_1_attribute_is_a_warning_with_its_module(keyword: str) -> None:
    run = validate(changed(**{keyword: None}))
    [found] = run.warnings
    assert (run.verdict, found.code, found.level) == ("accept_with_warnings", "type1-missing", "V2")
    assert (
        found.tag_path
        == f"({pydicom.datadict.tag_for_keyword(keyword) >> 16:04X},{pydicom.datadict.tag_for_keyword(keyword) & 0xFFFF:04X})"
    )


def test_an_empty_type_1_attribute_is_missing_and_an_empty_type_2_one_is_not() -> None:
    assert codes(validate(changed(RescaleSlope="")), "V2") == ["type1-missing"]
    assert codes(validate(changed(AccessionNumber="")), "V2") == []
    absent = validate(changed(AccessionNumber=None))
    assert codes(absent, "V2") == ["type2-missing"]
    assert absent.verdict == "accept", "worth a note, not a warning"


def test_what_we_build_ourselves_meets_the_tables(
    context: CaptureContext, equipment: Equipment, captured_at: datetime, picture: NDArray[np.uint8]
) -> None:
    from consilium_dicom.build import build_still

    for modality in ("US", "ES", "XC", "GM", "OT"):
        made = build_still(
            picture, context.model_copy(update={"modality": modality}), sop_instance_uid=new_uid(), series_uid=new_uid(),
            captured_at=captured_at, equipment=equipment, instance_number=1,
        )  # fmt: skip
        run = validate(made, known=TODAY)
        assert codes(run, "V2") == [], modality
        assert run.verdict == "accept", (modality, run.findings)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed")
@pytest.mark.parametrize(
    "name", ["other/reportsi.dcm", "other/test-SR.dcm", "enhanced/eCT_Supplemental.dcm", "cine/fo_DIRW0007.dcm"]
)
def test_what_we_miss_in_a_real_file_dciodvfy_misses_too(sample: Callable[[str], Path], name: str) -> None:
    path = sample(name)
    said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False, errors="replace").stderr
    ours = [one for one in validate(path.read_bytes()).findings if one.code in {"type1-missing", "type2-missing"}]
    for one in ours:
        keyword = pydicom.datadict.keyword_for_tag(int(one.tag_path[1:5] + one.tag_path[6:10], 16))
        assert f"<{keyword}>" in said or f"({one.tag_path[1:].lower()}" in said.lower() or keyword in said, (one, said)


# -- V3 ----------------------------------------------------------------------------------------------------------------


def test_black_and_constant_frames_are_named() -> None:
    black = validate(changed(PixelData=bytes(512)))
    assert codes(black, "V3") == ["frame-black"]
    grey = validate(changed(PixelData=b"\x07\x00" * 256))
    assert [one.text_en for one in grey.warnings] == ["every sample of frame 1 has the value 7"]
    one_pixel = bytearray(512)
    one_pixel[300] = 1
    assert codes(validate(changed(PixelData=bytes(one_pixel))), "V3") == []


def test_only_the_empty_frame_of_several_is_named() -> None:
    ramp = np.arange(256, dtype="<u2").tobytes()
    frames = ramp * 2 + bytes(512) + ramp * 2
    run = validate(changed(NumberOfFrames=5, PixelData=frames))
    assert [(one.code, one.text_en) for one in run.warnings if one.level == "V3"] == [
        ("frame-black", "frame 3 is black")
    ]


# -- V4 ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "code", "verdict"),
    [
        ({"StudyDate": "20261127"}, "study-date-future", "accept_with_warnings"),
        ({"StudyDate": "20261126"}, "", "accept"),
        ({"PatientBirthDate": "20271231"}, "birth-date-future", "quarantine"),
        ({"PatientBirthDate": "20240103"}, "birth-after-study", "quarantine"),
        ({"PatientBirthDate": "20240102"}, "", "accept"),
        ({"PatientBirthDate": "1924.01.02"}, "", "accept"),
        ({"PatientBirthDate": "18890101"}, "age-implausible", "accept_with_warnings"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR DA")
def test_dates_that_cannot_be(attributes: dict[str, str], code: str, verdict: str) -> None:
    run = validate(changed(**attributes), known=TODAY)
    assert codes(run, "V4") == ([code] if code else [])
    assert run.verdict == verdict


def test_the_future_is_not_asked_for_when_nobody_knows_the_day() -> None:
    assert validate(changed(StudyDate="29990101", PatientBirthDate="")).verdict == "accept"


def test_an_object_that_is_not_what_was_ordered_is_held() -> None:
    ordered = Order(patient_id="P1", accession_number="A2", sex="M")
    run = validate(changed(), known=Circumstances(order=ordered))
    assert run.verdict == "quarantine"
    assert [one.text_en for one in run.findings if one.code == "order-mismatch"] == [
        "Accession Number differs from the order"
    ]
    assert validate(changed(), known=Circumstances(order=Order(patient_id="P1"))).verdict == "accept"


# -- V5 ----------------------------------------------------------------------------------------------------------------


def test_privacy_is_noted_without_a_warning() -> None:
    dataset = pydicom.dcmread(io.BytesIO(changed(BurnedInAnnotation="YES")))
    dataset.private_block(0x0009, "SOMEBODY", create=True).add_new(1, "LO", "secret")
    out = io.BytesIO()
    dataset.save_as(out)
    run = validate(out.getvalue())
    assert (run.verdict, codes(run, "V5")) == ("accept", ["burned-in-annotation", "private-elements"])
    assert run.findings[-1].text_en == "1 private elements, whose content is not known"


def test_an_identity_that_was_removed_by_no_stated_method_is_a_warning() -> None:
    assert codes(validate(changed(PatientIdentityRemoved="YES")), "V5") == [
        "deidentification-unexplained",
        "identity-removed",
    ]
    explained = changed(PatientIdentityRemoved="YES", DeidentificationMethod="DCM:113100")
    assert (validate(explained).verdict, codes(validate(explained), "V5")) == ("accept", ["identity-removed"])


# -- policy and catalogue ----------------------------------------------------------------------------------------------


def test_the_policy_decides_what_is_held_and_a_fatal_finding_always_rejects() -> None:
    unborn = changed(PatientBirthDate="20250101")
    assert validate(unborn).verdict == "quarantine"
    assert validate(unborn, known=Circumstances(policy=STORE_ALL)).verdict == "accept_with_warnings"
    notes = Policy(frozenset({"private-elements", "burned-in-annotation"}))
    assert validate(changed(BurnedInAnnotation="YES"), known=Circumstances(policy=notes)).verdict == "quarantine"
    cut = unborn[:-100]
    assert validate(cut).verdict == "reject"


def test_a_policy_is_written_by_codes() -> None:
    assert parse_policy(",".join(HELD_BY_DEFAULT)) == DEFAULT_POLICY
    assert parse_policy(" ") == STORE_ALL
    with pytest.raises(ValueError, match="no finding's code"):
        parse_policy("birth-after-study, nonsense")
    with pytest.raises(ValueError, match="cannot be held"):
        parse_policy("pixel-data-short")


def test_what_rejects_stands_first_and_notes_last() -> None:
    run = validate(changed(StudyInstanceUID=None, AccessionNumber=None, RescaleSlope=None))
    assert [(one.fatal, one.note) for one in run.findings] == [(True, False), (False, False), (False, True)]


def test_every_code_says_who_can_mend_it() -> None:
    assert all(kind.mend in {"caller", "operator", "admin", "retry", "vendor"} for kind in CATALOGUE.values())
    assert not any(kind.note and kind.failure_reason for kind in CATALOGUE.values())
    assert all(code in CATALOGUE and not CATALOGUE[code].failure_reason for code in HELD_BY_DEFAULT)
