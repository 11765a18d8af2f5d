"""Which priors are chosen: a pure rule over studies that are surely the person's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilium_archive.identity import Person
from consilium_archive.prior_rule import WORDS, Bounds, Likeness, Prior, Reason, choose
from consilium_archive.priors import surely_same

CT_CHEST = Likeness(frozenset({"CT", "SR"}), frozenset({"CHEST"}))


def prior(uid: str, date: str, modalities: str = "US", parts: str = "", size: int = 10) -> Prior:
    return Prior(uid, date, "", frozenset(modalities.split()), frozenset(parts.split()), 1, size)


def test_likeness_comes_first_then_the_newest() -> None:
    known = [
        prior("old both", "20100101", "CT", "CHEST"), prior("new other", "20290101"), prior("modality", "20200101", "CT"),
        prior("newer modality", "20210101", "CT", "HEAD"), prior("part", "20280101", "MR", "CHEST"),
        prior("report alike", "20250101", "SR"),
    ]  # fmt: skip
    chosen = choose(CT_CHEST, known, Bounds(6, 1000))
    assert [(one.prior.study_uid, one.reason) for one in chosen] == [
        ("old both", Reason.SAME_MODALITY_AND_BODY_PART), ("newer modality", Reason.SAME_MODALITY),
        ("modality", Reason.SAME_MODALITY), ("part", Reason.SAME_BODY_PART), ("new other", Reason.NEWEST),
        ("report alike", Reason.NEWEST),
    ]  # fmt: skip
    assert [one.prior.study_uid for one in choose(Likeness(), known, Bounds(2, 1000))] == ["new other", "part"]


def test_what_does_not_fit_is_passed_over_and_the_next_is_not() -> None:
    known = [prior("3", "20300101", size=60), prior("2", "20290101", size=50), prior("1", "20280101", size=40)]
    assert [one.prior.study_uid for one in choose(Likeness(), known, Bounds(3, 100))] == ["3", "1"]


@given(
    st.lists(st.tuples(st.sampled_from(["CT", "US", "MR"]), st.integers(0, 60), st.integers(0, 9)), max_size=12),
    st.integers(0, 5), st.integers(0, 100),
)  # fmt: skip
def test_the_bounds_hold_and_the_order_given_does_not_matter(
    drawn: list[tuple[str, int, int]], studies: int, size: int
) -> None:
    known = [prior(str(n), f"2020010{day}", of, "", bytes_) for n, (of, bytes_, day) in enumerate(drawn)]
    chosen = choose(CT_CHEST, known, Bounds(studies, size))
    assert len(chosen) <= studies
    assert sum(one.prior.size_bytes for one in chosen) <= size
    assert chosen == choose(CT_CHEST, reversed(known), Bounds(studies, size))


def test_every_reason_has_words_in_both_languages() -> None:
    assert set(WORDS) == set(Reason)
    assert all(english.isascii() and not chinese.isascii() for english, chinese in WORDS.values())


WANG = Person("P1", "H1", "Wang^Xiaodong=王^小东", "19680412", "M")


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True), ({"patient_name": "WANG^XIAODONG"}, True), ({"birth_date": ""}, True), ({"patient_id": "P2"}, False),
        ({"birth_date": "19680413"}, False), ({"sex": "F"}, False), ({"patient_name": "Li^Na=李^娜"}, False),
        ({"issuer": "H2"}, False), ({"issuer": ""}, True), ({"issuer": "", "birth_date": ""}, False),
    ],
)  # fmt: skip
def test_a_study_is_the_persons_only_without_a_doubt(change: dict[str, str], same: bool) -> None:
    study = replace(WANG, **change)
    assert surely_same(WANG, study) is same
    assert surely_same(study, WANG) is same
    assert not surely_same(replace(WANG, patient_id=""), replace(study, patient_id=""))


@pytest.mark.parametrize(
    ("mine", "theirs", "same"),
    [
        ("19680412", "19680412", True), ("19680412", "1968.04.12", True), ("", "", False), ("19680412", "", False),
        ("1968", "1968", False), ("19680412", "19680413", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["", WANG.patient_name])
def test_without_any_issuer_only_a_whole_birth_date_leaves_no_doubt(
    mine: str, theirs: str, same: bool, name: str
) -> None:
    person = replace(WANG, issuer="", birth_date=mine, patient_name=name)
    assert surely_same(person, replace(person, birth_date=theirs)) is same
    assert surely_same(replace(person, birth_date=theirs), person) is same
