"""A corrected identity: the new values, what stood there before, and nothing else changed. pydicom is the judge."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from consilium_dicom.amend import Correction, amend
from consilium_dicom.header import read_header
from consilium_dicom.validate import validate
from consilium_testkit.instances import ct_instance

AT = datetime(2026, 11, 25, 4, 5, 6, 789, tzinfo=UTC)


def _read(data: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(data))


def test_new_values_stand_in_place_and_the_old_ones_in_the_original_attributes() -> None:
    data = ct_instance(side=16)
    fixed = amend(data, Correction(patient_id="P9", patient_name="Li^Na=李^娜", birth_date="19710203"), AT, "consilium")
    after, before = _read(fixed), _read(data)
    assert (after.PatientID, str(after.PatientName), after.PatientBirthDate) == ("P9", "Li^Na=李^娜", "19710203")
    assert after.SOPInstanceUID == before.SOPInstanceUID
    [item] = after.OriginalAttributesSequence
    [old] = item.ModifiedAttributesSequence
    assert (old.PatientID, str(old.PatientName), old.PatientBirthDate) == ("P1", "Wang^Xiaodong=王^小东", "19600203")
    assert "PatientSex" not in old
    assert item.AttributeModificationDateTime == "20261125040506.000789+0000"
    assert (item.ModifyingSystem, item.ReasonForTheAttributeModification) == ("consilium", "CORRECT")
    untouched = {e.tag for e in before} - {0x00100010, 0x00100020, 0x00100030}
    assert all(after[tag] == before[tag] for tag in untouched)
    assert validate(fixed).verdict == "accept"


def test_the_same_correction_gives_the_same_bytes_and_a_second_one_keeps_both_histories() -> None:
    data = ct_instance(side=16)
    once = amend(data, Correction(patient_id="P2"), AT, "consilium")
    assert once == amend(data, Correction(patient_id="P2"), AT, "consilium")
    twice = _read(amend(once, Correction(patient_id="P3"), AT, "consilium"))
    history = [item.ModifiedAttributesSequence[0].PatientID for item in twice.OriginalAttributesSequence]
    assert (twice.PatientID, history) == ("P3", ["P1", "P2"])


def test_text_of_another_character_set_becomes_utf8_at_every_depth() -> None:
    plain = _read(ct_instance(side=16, SpecificCharacterSet="ISO_IR 100", PatientName="X", ReferringPhysicianName="Y"))
    inner = Dataset()
    inner.add_new(0x00080104, "LO", "胸部".encode("gbk"))
    plain.ProcedureCodeSequence = Sequence([inner])
    plain.add_new(0x00100010, "PN", "Wang=王^小明".encode("gbk"))
    plain.add_new(0x00080080, "LO", "第一人民医院".encode("gbk"))
    out = io.BytesIO()
    plain.save_as(out)
    fixed = _read(amend(out.getvalue(), Correction(patient_id="P7"), AT, "consilium"))
    assert fixed.SpecificCharacterSet == "ISO_IR 192"
    assert str(fixed.PatientName) == "Wang=王^小明"
    assert fixed.InstitutionName == "第一人民医院"
    assert fixed.ProcedureCodeSequence[0].CodeMeaning == "胸部"


def test_a_person_may_name_the_character_set_that_could_not_be_told() -> None:
    data = ct_instance(side=16, SpecificCharacterSet="ISO_IR 100", PatientName="A1", ReferringPhysicianName="Y")
    dataset = _read(data)
    dataset.add_new(0x00100010, "PN", "乔^静".encode("gbk"))
    out = io.BytesIO()
    dataset.save_as(out)
    assert read_header(out.getvalue()).charset.kind == "unsafe"
    fixed = amend(out.getvalue(), Correction(character_set="GB18030"), AT, "consilium")
    assert str(_read(fixed).PatientName) == "乔^静"
    assert read_header(fixed).charset.kind == "trusted"


@pytest.mark.filterwarnings("ignore")
def test_every_real_file_can_be_corrected_and_keeps_its_pixels(
    real_file: Path, oracle: Callable[[Path], Dataset]
) -> None:
    data = real_file.read_bytes()
    run = validate(data)
    if run.verdict == "reject":
        pytest.skip("not stored, so never corrected")
    fixed = amend(data, Correction(patient_id="FIXED", patient_name="王^五"), AT, "consilium")
    after, before = _read(fixed), oracle(real_file)
    assert (after.PatientID, str(after.PatientName)) == ("FIXED", "王^五")
    assert validate(fixed).verdict != "reject"
    was, now = read_header(data), read_header(fixed)
    if was.charset.kind == "trusted":
        assert (now.study_description, now.institution_name) == (was.study_description, was.institution_name)
    if "PixelData" in before and was.little_endian:
        assert after.PixelData.rstrip(b"\0") == before.PixelData.rstrip(b"\0")
