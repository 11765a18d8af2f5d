"""Rules, breaker, answers and settings of routing without any world."""

from __future__ import annotations

import json
import re
import string
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilium_archive.packing import pack
from consilium_archive.reader import Place
from consilium_ingest.routing.batch import Outcomes
from consilium_ingest.routing.breaker import Breaker, BreakerRule
from consilium_ingest.routing.errors import SendingFailed
from consilium_ingest.routing.facts import read_metadata
from consilium_ingest.routing.rules import Conditions, Facts, like, missed
from consilium_ingest.routing.settings import RoutingSettings
from consilium_ingest.routing.stow_out import judge, reason_word
from consilium_ingest.routing.wire import ConditionsBody
from consilium_ingest.routing.words import PROBLEMS, REASONS
from consilium_platform.settings import SettingsInvalid

NOW = datetime(2030, 1, 10, 12, tzinfo=UTC)
FACTS = Facts(
    "1.2", "1.2.3", "1.2.3.4", "1.2.840.10008.5.1.4.1.1.2", "CT", "Chest routine", "Lung 1.0 B60", "CT-ROOM-1", "dimse",
    "CT1", 1.0, date(2030, 1, 9), NOW, 1000,
)  # fmt: skip
MET: dict[str, Any] = {
    "modalities": ["MR", "CT"], "sop_class_uids": ["1.2.840.10008.5.1.4.1.1.2"], "study_descriptions": ["*chest*"],
    "series_descriptions": ["lung ?.?*"], "station_names": ["ct-room-?"], "calling_ae_titles": ["CT*"],
    "origins": ["dimse"], "slice_thickness_at_least_mm": 1.0, "slice_thickness_at_most_mm": 1.0,
    "study_age_at_most_days": 1,
}  # fmt: skip
UNMET: dict[str, Any] = {
    "modalities": ["MR"], "sop_class_uids": ["1.2"], "study_descriptions": ["head*"], "series_descriptions": ["Lung"],
    "station_names": ["*2"], "calling_ae_titles": ["ct*"], "origins": ["stow"], "slice_thickness_at_least_mm": 1.01,
    "slice_thickness_at_most_mm": 0.99, "study_age_at_most_days": 0,
}  # fmt: skip
SILENT = replace(
    FACTS, modality="", sop_class_uid="", study_description="", series_description="", station_name="", origin="",
    sender="", slice_thickness_mm=None, study_date=None,
)  # fmt: skip
_NAMES = st.sampled_from(sorted(MET))
_LETTERS = st.text(alphabet="ab*?.[", max_size=12)


def test_conditions_of_the_wire_and_of_the_domain_are_the_same_and_each_has_its_reason_in_both_languages() -> None:
    names = [one.name for one in fields(Conditions)]
    assert names == list(ConditionsBody.model_fields) == list(MET) == list(UNMET)
    assert set(names) <= set(REASONS)
    for en, zh in [*REASONS.values(), *((words.en, words.zh) for words in PROBLEMS.values())]:
        assert en.endswith(".")
        assert re.search(r"[\u4e00-\u9fff]", zh)


@given(st.sets(_NAMES), st.sets(_NAMES))
def test_a_rule_takes_what_meets_all_it_asks_and_names_the_condition_that_kept_it_back(
    met: set[str], unmet: set[str]
) -> None:
    asked = {name: MET[name] for name in met} | {name: UNMET[name] for name in unmet}
    conditions = Conditions.read(json.loads(json.dumps(Conditions.read(asked).written())))
    why = missed(conditions, FACTS)
    assert (why in unmet) if unmet else why == ""
    assert missed(conditions, SILENT) in asked if asked else missed(conditions, SILENT) == ""


@given(_LETTERS, st.text(alphabet="ab.[", max_size=12))
def test_wildcards_are_those_of_c_2_2_2_4_and_nothing_else(pattern: str, text: str) -> None:
    written = "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in pattern)
    assert like(pattern, text) == (re.fullmatch(written, text, re.DOTALL) is not None)


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    assert not like("*a" * 30 + "b", "a" * 10_000)


def test_thickness_is_read_from_plain_and_from_enhanced_images() -> None:
    def packed(found: dict[str, Any]) -> bytes:
        return pack(json.dumps(found).encode()).data

    station = {"00081010": {"vr": "SH", "Value": ["CT-1"]}}
    plain = station | {"00180050": {"vr": "DS", "Value": [1.25]}}
    measures = {"00289110": {"vr": "SQ", "Value": [{"00180050": {"vr": "DS", "Value": [0.6]}}]}}
    assert read_metadata(packed(plain)) == ("CT-1", 1.25)
    for group in ("52009229", "52009230"):
        assert read_metadata(packed({group: {"vr": "SQ", "Value": [measures]}})) == ("", 0.6)
    assert read_metadata(packed({"00180050": {"vr": "DS"}, "52009229": {"vr": "SQ"}})) == ("", None)


def test_a_breaker_shuts_after_failures_in_a_row_tries_alone_and_opens_with_a_success() -> None:
    rule = BreakerRule(3, 10.0, 35.0)
    breaker = Breaker()
    for _ in range(2):
        breaker = breaker.failed(rule, NOW)
        assert breaker.state(rule, NOW) == "closed"
    breaker = breaker.failed(rule, NOW)
    assert breaker.trying(rule, NOW, 60) is None
    later = NOW + timedelta(seconds=10)
    assert breaker.state(rule, later) == "half-open"
    probing = breaker.trying(rule, later, 60)
    assert probing is not None
    assert probing.trying(rule, later, 60) is None, "another one tries already"
    assert probing.worked().state(rule, later) == "closed"
    waits = []
    for _ in range(3):
        breaker = breaker.failed(rule, NOW)
        assert breaker.shut_until is not None
        waits.append((breaker.shut_until - NOW).total_seconds())
    assert waits == [20.0, 35.0, 35.0]
    assert Breaker(9).failed(rule, NOW, retry_after_s=1e9).shut_until == NOW + timedelta(seconds=35)


def place(uid: str, size: int = 10) -> Place:
    return Place("1", "2", uid, "3", "4", 1, 1, "", size, "")


def answer(stored: list[str], failed: dict[str, int]) -> bytes:
    def item(uid: str, reason: int | None = None) -> dict[str, Any]:
        found: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
        return found if reason is None else found | {"00081197": {"vr": "US", "Value": [reason]}}

    return json.dumps({
        "00081199": {"vr": "SQ", "Value": [item(uid) for uid in stored]},
        "00081198": {"vr": "SQ", "Value": [item(uid, reason) for uid, reason in failed.items()]},
    }).encode()  # fmt: skip


def test_an_answer_is_believed_instance_by_instance() -> None:
    outcomes = Outcomes()
    judge(202, answer(["1.1"], {"1.2": 0xA900, "1.3": 0x0110}), [place(f"1.{n}") for n in range(1, 5)], outcomes)
    assert (outcomes.sent, outcomes.sent_bytes) == ({"1.1"}, 10)
    assert outcomes.problems == {"1.2": "not-conformant", "1.3": "instance-refused", "1.4": "unanswered"}
    for said in (b"", b"{}", b"no JSON", b"[]", b'{"00081199": 7}'):
        doubtful = Outcomes()
        judge(409, said, [place("1.1")], doubtful)
        assert not doubtful.sent
        assert doubtful.problems == {"1.1": "unanswered"}


@pytest.mark.parametrize(
    ("said", "media"),
    [
        (b"", "text/html"),
        (b"\r\n", ""),
        (b"{}", ""),
        (b"[]", "application/json"),
        (b'{"00081190": {"vr": "UR", "Value": ["https://pacs.example/1"]}}', "Application/DICOM+JSON; charset=utf-8"),
    ],
)
def test_200_without_a_word_of_an_instance_is_all_stored(said: bytes, media: str) -> None:
    outcomes = Outcomes()
    judge(200, said, [place("1.1")], outcomes, media=media)
    assert outcomes.sent == {"1.1"}, "PS3.18 10.5.3"


@pytest.mark.parametrize(
    ("said", "media"),
    [
        (b"<html>Please sign in</html>", "text/html"),
        (b'{"error": "sign in"}', "application/json"),
        (b'{"00081190": {"vr"', "application/dicom+json"),
        (b"OK", ""),
    ],
)
def test_a_sign_in_page_that_answers_200_has_stored_nothing_and_the_destination_is_to_blame(
    said: bytes, media: str
) -> None:
    outcomes = Outcomes()
    with pytest.raises(SendingFailed) as failure:
        judge(200, said, [place("1.1")], outcomes, media=media)
    assert failure.value.problem == "not-dicomweb"
    assert not outcomes.sent


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (401, "access-refused"),
        (404, "address-refused"),
        (302, "address-refused"),
        (503, "busy"),
        (500, "destination-failed"),
    ],
)
def test_what_is_said_of_the_whole_request_is_the_destinations_failure(status: int, problem: str) -> None:
    with pytest.raises(SendingFailed) as failure:
        judge(status, b"", [place("1.1")], Outcomes(), retry_after="7" if status == 503 else "soon")
    assert failure.value.problem == problem
    assert failure.value.retry_after_s == (7.0 if status == 503 else 0.0)


def test_a_request_that_is_too_large_for_several_is_tried_alone_before_it_is_given_up() -> None:
    several, alone = Outcomes(), Outcomes()
    judge(413, b"", [place("1.1"), place("1.2")], several)
    judge(413, b"", [place("1.1")], alone)
    assert not any(PROBLEMS[word].lasting for word in several.problems.values())
    assert [PROBLEMS[word].lasting for word in alone.problems.values()] == [True]
    assert {reason_word(reason) for reason in range(0x10000)} <= set(PROBLEMS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "stow", "url": "http://pacs.example/dicomweb"},
        {"kind": "stow", "url": "https://user:secret@pacs.example/dicomweb"},
        {"kind": "stow", "url": "https://pacs.example/dicomweb?token=1"},
        {"kind": "stow", "url": "file:///etc/passwd"},
        {"kind": "dimse", "host": "pacs.example", "port": 0, "called": "A"},
        {"kind": "dimse", "host": "pacs.example", "port": 104, "called": "A" * 17},
        {"kind": "mail"},
    ],
)
def test_a_destination_that_is_not_safe_fails_the_start(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsInvalid):
        RoutingSettings.load(destinations=[{"tenant": "demo", "name": "x", **wrong}])


def test_destinations_come_from_a_file_too_and_a_name_is_used_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = {"tenant": "demo", "name": "a", "kind": "dimse", "host": "pacs.example", "port": 104, "called": "A"}
    path = tmp_path / "destinations.json"
    path.write_text(json.dumps([one]))
    monkeypatch.setenv("CONSILIUM_INGEST_ROUTING_DESTINATIONS", json.dumps([one | {"name": "b"}]))
    monkeypatch.setenv("CONSILIUM_INGEST_ROUTING_DESTINATIONS_FILE", str(path))
    assert [to.name for to in RoutingSettings.load().all_destinations()] == ["b", "a"]
    for broken in (json.dumps([one | {"name": "b"}]), "[{}]", "no JSON", '{"a": 1}'):
        path.write_text(broken)
        with pytest.raises(SettingsInvalid):
            RoutingSettings.load().all_destinations()


def test_states_of_the_wire_are_those_of_the_table() -> None:
    from consilium_ingest.routing.tables import UNFINISHED
    from consilium_ingest.routing.wire import JobState

    assert set(get_args(JobState)) == {*UNFINISHED, "sent", "given-up"}
    assert set(string.ascii_lowercase + "-") >= set("".join(get_args(JobState)))
