"""``consilium deidentify``: new files under new names, what needs a person apart, no value in the report."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from typer.testing import CliRunner

from consilium.__main__ import app
from consilium.deidentify_work import NotDeidentifiable


@pytest.fixture
def folder(tmp_path: Path, bundled: Callable[[str], bytes]) -> Path:
    source = tmp_path / "in"
    (source / "CITIZEN JAN").mkdir(parents=True)
    (source / "CITIZEN JAN" / "ct.dcm").write_bytes(bundled("CT_small.dcm"))
    (source / "CITIZEN JAN" / "mr").write_bytes(bundled("MR_small.dcm"))
    (source / "notes.txt").write_text("no DICOM")
    (source / "broken.dcm").write_bytes(bundled("CT_small.dcm")[:4000])
    return source


def run(*words: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["deidentify", *map(str, words)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def test_a_folder_becomes_new_files_and_a_report_without_values(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, said = run(folder, out, "--options", "shift-dates,clean-descriptors")
    assert code == 1
    assert "1 failed, 1 are no DICOM" in said
    report = json.loads((out / "report.json").read_text())
    assert report["counts"]["failed"] == report["counts"]["skipped"] == 1
    files = [line["file"] for line in report["files"] if "file" in line]
    assert len(files) == 2
    for name in files:
        ds = pydicom.dcmread(out / name)
        assert ds.PatientIdentityRemoved == "YES"
        assert name.endswith(f"{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}/{ds.SOPInstanceUID}.dcm")
        assert [item.CodeValue for item in ds.DeidentificationMethodCodeSequence] == ["113100", "113105", "113107"]
    text = (out / "report.json").read_text() + said
    assert "CITIZEN" not in text
    assert "CompressedSamples" not in text
    key = tmp_path / "deidentify.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_two_inputs_of_one_uid_fail_the_second_alone_and_the_report_names_both(folder: Path, tmp_path: Path) -> None:
    """As in the public samples: one image, kept twice in two encodings of its text."""
    twin = pydicom.dcmread(folder / "CITIZEN JAN" / "ct.dcm")
    twin.SliceThickness = "7"
    twin.save_as(folder / "CITIZEN JAN" / "dt.dcm")
    code, said = run(folder, tmp_path / "out")
    assert code == 1
    assert "2 failed" in said
    files = json.loads((tmp_path / "out" / "report.json").read_text())["files"]
    [first] = [line["number"] for line in files if line["state"] != "failed" and "file" in line][:1]
    [clash] = [line for line in files if line["state"] == "failed" and "file" in line]
    assert (clash["number"], clash["why"]) == (first + 1, f"number {first} has the same UIDs and other content")
    assert {line["number"] for line in files} == {1, 2, 3, 4, 5}
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 2


def test_the_same_key_makes_the_same_files_and_another_never_replaces_them(
    folder: Path, tmp_path: Path, bundled: Callable[[str], bytes]
) -> None:
    one = folder / "CITIZEN JAN" / "ct.dcm"
    first, _ = run(one, tmp_path / "out")
    names = sorted((tmp_path / "out").rglob("*.dcm"))
    assert run(one, tmp_path / "out")[0] == first
    assert sorted((tmp_path / "out").rglob("*.dcm")) == names
    before = names[0].read_bytes()
    assert run(one, tmp_path / "out", "--options", "retain-patient")[0] == 1
    [line] = json.loads((tmp_path / "out" / "report.json").read_text())["files"]
    assert (line["state"], line["why"]) == ("failed", "OUT has another file of these UIDs")
    assert names[0].read_bytes() == before
    (tmp_path / "short.key").write_bytes(b"short")
    with pytest.raises(NotDeidentifiable, match="no key"):
        run(one, tmp_path / "out2", "--key", tmp_path / "short.key")


def test_out_inside_in_and_a_broken_profile_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NotDeidentifiable, match="inside IN"):
        run(folder, folder / "out")
    with pytest.raises(NotDeidentifiable, match="does not exist"):
        run(tmp_path / "nothing", tmp_path / "out")
    (tmp_path / "p.json").write_text("{}")
    with pytest.raises(NotDeidentifiable, match="profile"):
        run(folder, tmp_path / "out", "--profile", tmp_path / "p.json")


def test_burnt_in_text_goes_to_the_folder_for_a_person(sample: Callable[[str], Path], tmp_path: Path) -> None:
    code, said = run(sample("transfer_syntaxes/examples_rgb_color.dcm"), tmp_path / "out")
    assert code == 3
    assert "burnt-in-text" in said
    assert len(list((tmp_path / "out" / "needs-person").rglob("*.dcm"))) == 1
