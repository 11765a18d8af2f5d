"""The optional and the harder matching rules answer the same on both worlds (PS3.4 C.2.2.2, PS3.18 8.3.4)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydicom.dataset import Dataset

from consilium_archive import candidates, search
from consilium_archive.errors import QueryInvalid
from consilium_archive.query import Level, PageRule, parse_query
from consilium_archive.reader import ArchiveReader, Found, Scope
from consilium_archive.stages import Indexed
from consilium_archive.worklist import WorklistAsk, worklist
from consilium_platform.platform import Platform

Put = Callable[..., Awaitable[Indexed]]


async def find(reader: ArchiveReader, level: Level, scope: Scope = Scope(), **keys: str) -> Found:
    pairs = [(name.replace("__", "."), value) for name, value in keys.items()]
    return await reader.search("demo", parse_query(level, pairs, PageRule()), scope, "http://h/dicomweb")


def ids(found: Found) -> list[str]:
    return [json.loads(one)["00100020"]["Value"][0] for one in found.objects]


def made(**values: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


async def test_names_are_found_by_pinyin_and_fuzzily(reader: ArchiveReader, put: Put) -> None:
    await put(PatientID="1", PatientName="=王^小东")
    await put(PatientID="2", PatientName="SMITH^John")
    await put(PatientID="3", PatientName="单^雄信", ReferringPhysicianName="曾^国藩")
    for value, expected in (
        ("wang*", ["1"]),
        ("wáng^xiǎo*", ["1"]),
        ("shan*", ["3"]),
        ("*xiaodong", ["1"]),
        ("wangxiaodong", ["1"]),
        ("wan", []),
    ):
        found = await find(reader, Level.STUDY, PatientName=value)
        assert (value, ids(found), found.total) == (value, expected, len(expected))
    assert ids(await find(reader, Level.STUDY, ReferringPhysicianName="zeng*")) == ["3"]
    assert ids(await find(reader, Level.SERIES, PatientName="wang*")) == ["1"]
    for value, expected in (("smyth", ["2"]), ("john smi", ["2"]), ("xiao wang", ["1"]), ("john wang", [])):
        assert ids(await find(reader, Level.STUDY, PatientName=value, fuzzymatching="true")) == expected
        assert ids(await find(reader, Level.INSTANCE, PatientName=value, fuzzymatching="true")) == expected


async def test_keys_below_a_sequence_must_be_met_by_one_item(reader: ArchiveReader, put: Put) -> None:
    first = made(ScheduledProcedureStepID="STEP1", RequestedProcedureID="RP1", AccessionNumber="ACC1")
    second = made(ScheduledProcedureStepID="STEP2", RequestedProcedureID="RP2")
    second.RequestedProcedureCodeSequence = [made(CodeValue="CTCHEST", CodingSchemeDesignator="99X", CodeMeaning="CT")]
    await put(PatientID="1", RequestAttributesSequence=[first, second])
    await put(
        PatientID="2", RequestAttributesSequence=[made(ScheduledProcedureStepID="STEP3", RequestedProcedureID="RP1")]
    )
    await put(PatientID="3", OtherPatientIDsSequence=[made(PatientID="OLD7", TypeOfPatientID="TEXT")])
    step, procedure = (
        "RequestAttributesSequence__ScheduledProcedureStepID",
        "RequestAttributesSequence__RequestedProcedureID",
    )
    code = "RequestAttributesSequence__RequestedProcedureCodeSequence__CodeValue"
    cases: list[tuple[dict[str, str], set[str]]] = [
        ({step: "STEP1"}, {"1"}), ({step: "STEP*"}, {"1", "2"}), ({procedure: "RP1"}, {"1", "2"}),
        ({step: "STEP1", procedure: "RP1"}, {"1"}), ({step: "STEP1", procedure: "RP2"}, set()), ({code: "CT*"}, {"1"}),
        ({code: "CTCHEST", step: "STEP2"}, {"1"}), ({code: "CTCHEST", step: "STEP1"}, set()),
        ({"00400275__00400009": "STEP3"}, {"2"}), ({"OtherPatientIDsSequence__PatientID": "OLD7"}, {"3"}),
    ]  # fmt: skip
    for keys, expected in cases:
        assert (keys, set(ids(await find(reader, Level.SERIES, **keys)))) == (keys, expected)
    assert ids(await find(reader, Level.STUDY, OtherPatientIDsSequence__PatientID="OLD?")) == ["3"]
    assert ids(await find(reader, Level.INSTANCE, **{step: "STEP1", "PatientID": "1"})) == ["1"]
    with pytest.raises(QueryInvalid):
        parse_query(Level.STUDY, [("RequestAttributesSequence.ScheduledProcedureStepID", "1")], PageRule())


async def test_ranges_of_a_date_and_its_time_are_one_range(reader: ArchiveReader, put: Put) -> None:
    for patient, date, time in (
        ("1", "20240101", "0900"), ("2", "20240101", "1500"), ("3", "20240102", "1000"), ("4", "20240103", "0830"),
        ("5", "20240103", "1200"), ("6", "", ""),
    ):  # fmt: skip
        await put(PatientID=patient, StudyDate=date, StudyTime=time)
    cases = [
        ("20240101-20240103", "1000-0900", {"2", "3", "4"}), ("20240101-", "1200-", {"2", "3", "4", "5"}),
        ("-20240103", "-0830", {"1", "2", "3", "4"}), ("20240101-20240103", "1000-", {"2", "3", "4", "5"}),
        ("20240101", "1000-1600", {"2"}),
    ]  # fmt: skip
    for date, time, expected in cases:
        found = await find(reader, Level.STUDY, StudyDate=date, StudyTime=time)
        assert (date, time, set(ids(found))) == (date, time, expected)
    assert set(ids(await find(reader, Level.STUDY, StudyTime="1000-1600"))) == {"2", "3", "5"}


async def test_empty_and_multiple_values(reader: ArchiveReader, put: Put) -> None:
    await put(PatientID="1", AccessionNumber="", SeriesNumber=None, InstanceNumber=None)
    await put(PatientID="2", AccessionNumber="A2", PatientName="")
    await put(PatientID="3", AccessionNumber="A3", StudyDate="20230101")
    for keys, expected in (
        ({"AccessionNumber": '""'}, ["1"]), ({"PatientName": '""'}, ["2"]), ({"AccessionNumber": '""', "PatientID": "2"}, []),
    ):  # fmt: skip
        assert ids(await find(reader, Level.STUDY, emptyvaluematching="true", **keys)) == expected
    assert ids(await find(reader, Level.INSTANCE, emptyvaluematching="true", InstanceNumber='""')) == ["1"]
    assert ids(await find(reader, Level.STUDY, AccessionNumber='""')) == []
    several = await find(reader, Level.STUDY, multiplevaluematching="true", AccessionNumber="A2\\A3")
    assert set(ids(several)) == {"2", "3"}
    dates = await find(reader, Level.STUDY, multiplevaluematching="true", StudyDate="20230101\\20200101")
    assert ids(dates) == ["3"]
    assert ids(await find(reader, Level.STUDY, AccessionNumber="A2\\A3")) == []


async def test_performed_step_dates_match_at_the_level_of_series(reader: ArchiveReader, put: Put) -> None:
    day = {"PerformedProcedureStepStartDate": "20240105", "PerformedProcedureStepStartTime": "0800"}
    await put(PatientID="1", **day)
    await put(PatientID="2")
    assert ids(await find(reader, Level.SERIES, PerformedProcedureStepStartDate="20240101-20240110")) == ["1"]
    assert ids(await find(reader, Level.SERIES, PerformedProcedureStepStartTime="08")) == ["1"]


async def test_includefield_takes_paths_below_sequences(reader: ArchiveReader, put: Put) -> None:
    step = made(ScheduledProcedureStepID="STEP1", RequestedProcedureID="RP1", AccessionNumber="ACC1")
    stored = await put(RequestAttributesSequence=[step])
    other = await put(PatientID="other")
    both = "RequestAttributesSequence.ScheduledProcedureStepID,RequestAttributesSequence.00401001"
    found = await find(reader, Level.SERIES, includefield=both)
    bodies = {json.loads(one)["0020000D"]["Value"][0]: json.loads(one) for one in found.objects}
    [inside] = bodies[stored.study_uid]["00400275"]["Value"]
    assert {tag: element["Value"] for tag, element in inside.items()} == {"00400009": ["STEP1"], "00401001": ["RP1"]}
    assert "00400275" not in bodies[other.study_uid]
    [whole] = (
        await find(reader, Level.STUDY, StudyInstanceUID=stored.study_uid, includefield="RequestAttributesSequence")
    ).objects
    assert set(json.loads(whole)["00400275"]["Value"][0]) == {"00080050", "00400009", "00401001"}


async def test_all_fields_of_a_study_or_series_are_those_of_its_own_modules(reader: ArchiveReader, put: Put) -> None:
    await put(PatientID="1", PatientAge="063Y", OperatorsName="Tech^One")
    [study] = [json.loads(one) for one in (await find(reader, Level.STUDY, includefield="all")).objects]
    assert study["00101010"]["Value"] == ["063Y"]
    assert not {"00081070", "00280030", "00080018"} & study.keys()
    assert study["00201208"]["Value"] == [1], "the usual attributes are there too"
    assert list(study) == sorted(study)
    [series] = [json.loads(one) for one in (await find(reader, Level.SERIES, includefield="all")).objects]
    assert series["00081070"]["Value"] == [{"Alphabetic": "Tech^One"}]
    assert series["00101010"]["Value"] == ["063Y"]
    assert not {"00280030", "00080018"} & series.keys()
    both = await reader.search(
        "demo",
        parse_query(Level.STUDY, [("includefield", "all"), ("includefield", "PixelSpacing")], PageRule()),
        Scope(),
        "http://h/dicomweb",
    )
    assert {"00101010", "00280030"} <= json.loads(both.objects[0]).keys()


async def test_a_time_matches_at_any_precision(reader: ArchiveReader, put: Put) -> None:
    await put(PatientID="1", StudyTime="185059")
    await put(PatientID="2", StudyTime="185059.500")
    for value, expected in (
        ("185059", ["2", "1"]), ("185059.000", ["1"]), ("18:50:59.0", ["1"]), ("185059.5", ["2"]), ("185059.500000", ["2"]),
    ):  # fmt: skip
        assert ids(await find(reader, Level.STUDY, StudyTime=value)) == expected, value


@pytest.mark.parametrize("keys", [{"fuzzymatching": "yes"}, {"PatientName": "Wang\ufffd"}])
def test_a_switch_that_is_neither_on_nor_off_and_text_that_is_not_utf8_are_refused(keys: dict[str, str]) -> None:
    with pytest.raises(QueryInvalid):
        parse_query(Level.STUDY, list(keys.items()), PageRule())


def test_a_refusal_names_the_keys_of_its_level() -> None:
    with pytest.raises(QueryInvalid) as study:
        parse_query(Level.STUDY, [("Modality", "CT")], PageRule())
    assert "ModalitiesInStudy" in study.value.detail
    assert " Modality," not in study.value.detail
    with pytest.raises(QueryInvalid) as series:
        parse_query(Level.SERIES, [("Rows", "1")], PageRule())
    assert " Modality," in series.value.detail
    assert "SOPClassUID" not in series.value.detail


async def test_studies_are_ordered_as_asked_and_stably(reader: ArchiveReader, put: Put) -> None:
    for patient, name, date in (("1", "张^三", "20240101"), ("2", "Smith^J", "20240103"), ("3", "李^四", "20240102")):
        await put(PatientID=patient, PatientName=name, StudyDate=date)
    for by, expected in (("PatientName", "321"), ("-PatientName", "123"), ("StudyDate", "132"), ("-PatientID", "321")):
        pages = [await find(reader, Level.STUDY, orderby=by, limit="1", offset=str(n)) for n in range(3)]
        assert (by, "".join(ids(page)[0] for page in pages)) == (by, expected)
    assert "".join(ids(await find(reader, Level.STUDY))) == "231"
    with pytest.raises(QueryInvalid):
        parse_query(Level.STUDY, [("orderby", "StudyDescription")], PageRule())


async def test_totals_are_exact_until_they_are_said_to_be_a_lower_bound(
    reader: ArchiveReader, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(5):
        await put(PatientID=f"P{n}", Modality="CT")
    first = await find(reader, Level.STUDY, ModalitiesInStudy="CT", limit="2")
    assert (len(first.objects), first.total, first.exact) == (2, 5, True)
    await put(PatientID="P5", Modality="CT")
    assert (await find(reader, Level.STUDY, ModalitiesInStudy="CT", limit="2")).total == 6, "what is new is counted"
    monkeypatch.setattr(search, "COUNTED_TO", 3)
    bound = await find(reader, Level.STUDY, PatientID="P*", limit="2")
    assert (bound.total, bound.exact) == (3, False)
    every = await find(reader, Level.STUDY, limit="2")
    assert (every.total, every.exact) == (6, True)
    last = await find(reader, Level.STUDY, PatientID="P*", limit="4", offset="4")
    assert (len(last.objects), last.total, last.exact) == (2, 6, True), "a page that is not full tells the total itself"


async def test_every_way_to_find_studies_gives_the_same_pages_and_totals(
    any_platform: Platform, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index leads to few, trigrams to several thousand, the rest is met in order; which way is taken depends on numbers alone."""
    for n in range(6):
        await put(
            PatientID=f"P{n}", PatientName=f"=王^{'小东明强伟芳'[n]}", Modality=("CT", "OT")[n == 5], StudyDate=f"202401{n % 3 + 1:02d}",
            StudyDescription=("Chest", "Head")[n % 2],
        )  # fmt: skip
    asked: list[tuple[dict[str, str], int]] = [
        ({"PatientName": "wang*"}, 6), ({"PatientName": "*小*"}, 1), ({"PatientID": "P?"}, 6), ({"PatientID": "P*"}, 6),
        ({"ModalitiesInStudy": "OT"}, 1), ({"PatientName": "wang^*", "ModalitiesInStudy": "CT"}, 5),
        ({"PatientName": "*nobody*"}, 0), ({"PatientName": "wang*", "StudyDate": "20240102-"}, 4),
        ({"PatientName": "*wang*", "StudyDescription": "*hest*"}, 3), ({"PatientName": "wang*", "PatientID": "P*"}, 6),
    ]  # fmt: skip
    turns = [
        {"limit": "2", "offset": str(offset), "orderby": by}
        for offset in (0, 2, 9)
        for by in ("PatientID", "-StudyDate")
    ]

    async def everything(few: int, several: int, counted_to: int) -> list[tuple[list[str], int, bool]]:
        monkeypatch.setattr(candidates, "FEW", few)
        monkeypatch.setattr(candidates, "SEVERAL", several)
        monkeypatch.setattr(search, "COUNTED_TO", counted_to)
        reader = ArchiveReader(any_platform.database, any_platform.blobs)  # remembers no total
        pages = [await find(reader, Level.STUDY, **keys, **turn) for keys, _ in asked for turn in turns]
        return [(ids(page), page.total, page.exact) for page in pages]

    first = await everything(500, 15_000, 10_000)
    assert [page[1] for page in first[:: len(turns)]] == [total for _, total in asked]
    for few, several in ((0, 15_000), (0, 0), (2, 3)):
        assert await everything(few, several, 10_000) == first
    lower = await everything(500, 15_000, 3)
    for few, several in ((0, 15_000), (0, 0)):
        bounded = await everything(few, several, 3)
        assert [page[0] for page in bounded] == [page[0] for page in lower] == [page[0] for page in first]
        assert all(total <= full for (_, total, _), (_, full, _) in zip(bounded, first, strict=True))


async def test_the_work_list_is_searched_by_pinyin_and_by_short_words(any_platform: Platform, put: Put) -> None:
    await put(PatientID="1", PatientName="=李^小东", StudyDescription="Chest")
    await put(PatientID="2", PatientName="Olive^Oyl", StudyDescription="Lid")

    async def patients(text: str, modality: str = "") -> list[str]:
        asked = WorklistAsk(text=text, modality=modality)
        return [item["patient_id"] for item in (await worklist(any_platform.database, "demo", asked)).items]

    assert sorted(await patients("li")) == ["1", "2"], "a short word begins a word: li and lid, not olive"
    assert await patients("li chest") == ["1"]
    assert await patients("xiaodong") == ["1"]
    assert await patients("李") == ["1"]
    assert await patients("ive") == ["2"]
    assert await patients("li", "CT") == await patients("li")
    assert await patients("li", "OT") == []


async def test_beginnings_of_ids_are_found_whatever_they_hold(put: Put, reader: ArchiveReader) -> None:
    given = ("AB1", "AB2", "A%1", "A_1", "A!1", "ab1", "AB", "王1", "王2", "AC1")
    for number, patient in enumerate(given):
        await put(PatientID=patient, AccessionNumber=f"N{patient}", PatientName=("Alpha", "Beta")[number % 2])
    for wanted, found in {
        "AB*": {"AB1", "AB2", "AB"}, "AB?": {"AB1", "AB2"}, "A%*": {"A%1"}, "A_*": {"A_1"}, "A!*": {"A!1"}, "王*": {"王1", "王2"},
        "A?1": {"AB1", "A%1", "A_1", "A!1", "AC1"}, "B*": set(),
    }.items():  # fmt: skip
        assert set(ids(await find(reader, Level.STUDY, PatientID=wanted))) == found, wanted
        assert set(ids(await find(reader, Level.STUDY, AccessionNumber=f"N{wanted}"))) == found, wanted
    assert set(ids(await find(reader, Level.STUDY, PatientID="AB*", PatientName="bet*"))) == {"AB2"}
    both = await find(reader, Level.STUDY, PatientID="A*", AccessionNumber="NA*")
    assert set(ids(both)) == {"AB1", "AB2", "A%1", "A_1", "A!1", "AB", "AC1"}
    assert both.total == 7
