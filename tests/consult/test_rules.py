"""The state machines and rules of consultations and reports, pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilium_consult.domain import consultation as c
from consilium_consult.domain import report as r
from consilium_consult.domain.patient import PersonName, search_text
from consilium_consult.errors import ReasonNeeded, ReportEmpty, ReportLocked, SignatureRefused, TransitionRefused
from consilium_core.roles import Role


@given(st.sampled_from(list(c.ConsultationState)), st.sampled_from(list(c.Verb)))
def test_a_consultation_moves_only_as_the_table_says(state: c.ConsultationState, verb: c.Verb) -> None:
    if (state, verb) in c.TRANSITIONS:
        assert c.next_state(state, verb) is c.TRANSITIONS[state, verb]
    else:
        with pytest.raises(TransitionRefused) as refusal:
            c.next_state(state, verb)
        assert refusal.value.facts["state"] == state.value


def test_a_finished_consultation_never_moves_again() -> None:
    ended = {c.ConsultationState.COMPLETED, c.ConsultationState.CANCELLED, c.ConsultationState.REJECTED}
    assert not [pair for pair in c.TRANSITIONS if pair[0] in ended]


@given(st.sampled_from(list(r.ReportVerb)))
def test_nothing_moves_a_signed_report(verb: r.ReportVerb) -> None:
    with pytest.raises(ReportLocked):
        r.next_state(r.ReportState.SIGNED, verb)


def test_a_report_is_signed_only_from_review() -> None:
    assert [state for (state, verb) in r.TRANSITIONS if verb is r.ReportVerb.SIGN] == [r.ReportState.IN_REVIEW]


@pytest.mark.parametrize(
    ("author", "signer"),
    [
        (Role.OPERATOR, Role.OPERATOR),
        (Role.SPECIALIST, Role.SPECIALIST),
        (Role.SPECIALIST, Role.OPERATOR),
        (Role.REVIEWER, Role.QC),
    ],
)
def test_only_a_higher_grade_signs(author: Role, signer: Role) -> None:
    with pytest.raises(SignatureRefused):
        r.check_signer("a", author, "b", signer)


def test_nobody_signs_the_own_report() -> None:
    with pytest.raises(SignatureRefused):
        r.check_signer("a", Role.OPERATOR, "a", Role.REVIEWER)
    r.check_signer("a", Role.OPERATOR, "b", Role.REVIEWER)


def test_a_reviewer_says_why() -> None:
    with pytest.raises(ReasonNeeded):
        r.check_edit(r.ReportState.IN_REVIEW, "  ")
    r.check_edit(r.ReportState.IN_REVIEW, "measured again")
    r.check_edit(r.ReportState.DRAFTING, "")


def test_an_empty_report_does_not_go_on() -> None:
    with pytest.raises(ReportEmpty) as refusal:
        r.check_complete({"findings": "x", "impression": " "})
    assert refusal.value.facts["missing"] == ["impression"]


@given(st.dictionaries(st.sampled_from(r.SECTIONS), st.text(max_size=20)))
def test_changes_name_every_section_that_differs(after: dict[str, str]) -> None:
    before = {"findings": "a"}
    found = {change.section: (change.before, change.after) for change in r.changes(before, after)}
    for name in r.SECTIONS:
        pair = (before.get(name, ""), after.get(name, ""))
        assert found.get(name) == (pair if pair[0] != pair[1] else None)


def test_the_hash_does_not_depend_on_key_order_but_on_every_letter() -> None:
    assert r.content_hash({"a": 1, "b": "王"}) == r.content_hash({"b": "王", "a": 1})
    assert r.content_hash({"a": 1, "b": "王"}) != r.content_hash({"a": 1, "b": "汪"})


def test_a_chinese_name_is_found_by_pinyin_and_initials() -> None:
    text = search_text(PersonName("Wang", "Xiaodong", "王^小东"), "P7")
    for words in ("王小东", "wangxiaodong", "wang xiao", "wxd", "p7"):
        assert words in text
    assert PersonName("Wang", "Xiaodong", "王^小东").as_pn() == "Wang^Xiaodong=王^小东"
