"""A short run of the fuzzer (``make fuzz`` is the long one), and what it must not miss."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from consilium_dicom.errors import Undecodable
from consilium_dicom.header import header_of
from consilium_dicom.render import to_display
from consilium_dicom.scan import scan
from consilium_testkit import fuzz_checks
from consilium_testkit.fuzz import fuzz
from consilium_testkit.fuzz_cases import Bases, Case, minimised
from consilium_testkit.instances import ct_instance


def test_broken_files_are_answered_and_never_wrongly_accepted(shared_data: Path) -> None:
    found = fuzz(20, workers=2, seed=20261125, shared=shared_data)
    assert {name: problem.case.to_json() for name, problem in found.problems.items()} == {}
    assert found.cases > 300
    assert {"accept", "reject"} <= set(found.verdicts)


def test_the_judge_sees_pixels_that_are_too_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ct_instance(side=16)
    short = whole[:-100]
    accepted = fuzz_checks.validate(whole)
    monkeypatch.setattr(fuzz_checks, "validate", lambda _: accepted)
    with pytest.raises(fuzz_checks.Violation, match="bytes of pixels"):
        fuzz_checks.check(short, random.Random(1), tmp_path)


def test_a_case_is_made_as_small_as_its_failure_allows() -> None:
    case = Case("", ((0, 0, b"abcNEEDLEdef"), (0, 0, b"xyz")))
    bases = Bases(None)
    small = minimised(case, lambda one: b"NEEDLE" in one.data(bases))
    assert small.edits == ((0, 0, b"abcNEEDLE"),)
    assert Case.from_json(small.to_json()) == small


def test_an_image_of_two_samples_per_pixel_is_no_picture() -> None:
    """The fuzzer's: OpenCV's own error came through."""
    import numpy as np

    header = header_of(scan(ct_instance(side=8)))
    with pytest.raises(Undecodable, match="2 samples"):
        to_display(np.zeros((8, 8, 2), dtype=np.uint8), header)
