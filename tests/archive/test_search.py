"""QIDO matching and the worklist answer the same on both worlds (PS3.4 C.2.2.2, PS3.18 8.3.4)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from consilium_archive.errors import NotArchived, QueryInvalid
from consilium_archive.query import Level, PageRule, parse_query
from consilium_archive.reader import ArchiveReader, Found, Scope
from consilium_archive.stages import Indexed
from consilium_archive.worklist import WorklistAsk, worklist
from consilium_platform.platform import Platform

Put = Callable[..., Awaitable[Indexed]]
WANG = {"PatientName": "Wang^Xiaodong=王^小东", "PatientID": "P[1]", "StudyDate": "20240102", "StudyTime": "101112"}
YAMADA = {
    "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう", "PatientID": "P2", "StudyDate": "20231231",
    "Modality": "US", "AccessionNumber": "B_77", "StudyTime": "0900", "StudyDescription": "Abdomen 100%",
}  # fmt: skip
SMITH = {
    "PatientName": "SMITH^John",
    "PatientID": "p2",
    "StudyDate": "20240301",
    "Modality": "MR",
    "StudyTime": "235959",
}


async def find(reader: ArchiveReader, level: Level, scope: Scope = Scope(), **keys: Any) -> Found:
    pairs = [(name, one) for name, given in keys.items() for one in (given if isinstance(given, list) else [given])]
    return await reader.search("demo", parse_query(level, pairs, PageRule()), scope, "http://h/dicomweb")


def ids(found: Found) -> set[str]:
    return {json.loads(one)["00100020"]["Value"][0] for one in found.objects}


STUDY_KEYS: list[tuple[dict[str, str], set[str]]] = [
    ({}, {"P[1]", "P2", "p2"}),
    ({"PatientID": "P2"}, {"P2"}),
    ({"PatientID": "P*"}, {"P[1]", "P2"}),
    ({"PatientID": "?2"}, {"P2", "p2"}),
    ({"PatientID": "P[1]"}, {"P[1]"}),
    ({"PatientID": "P[*"}, {"P[1]"}),
    ({"00100020": "P2"}, {"P2"}),
    ({"PatientName": "yamada^tarou"}, {"P2"}),
    ({"PatientName": "YAMADA*"}, {"P2"}),
    ({"PatientName": "山田*"}, {"P2"}),
    ({"PatientName": "やまだ^*"}, {"P2"}),
    ({"PatientName": "王^小东"}, {"P[1]"}),
    ({"PatientName": "smith, john"}, {"p2"}),
    ({"PatientName": "smith"}, set()),
    ({"PatientName": "yamada*=山田*"}, {"P2"}),
    ({"PatientName": "yamada*=王*"}, set()),
    ({"StudyDate": "20240102"}, {"P[1]"}),
    ({"StudyDate": "20240101-20240131"}, {"P[1]"}),
    ({"StudyDate": "20240102-"}, {"P[1]", "p2"}),
    ({"StudyDate": "-20240102"}, {"P[1]", "P2"}),
    ({"StudyTime": "09-1011"}, {"P[1]", "P2"}),
    ({"StudyTime": "1011"}, {"P[1]"}),
    ({"ModalitiesInStudy": "US"}, {"P2"}),
    ({"ModalitiesInStudy": "US\\MR"}, {"P2", "p2"}),
    ({"AccessionNumber": "B_7*"}, {"P2"}),
    ({"AccessionNumber": "Bx7*"}, set()),
    ({"StudyDescription": "*100%"}, {"P2"}),
    ({"PatientID": "", "StudyDate": "*"}, {"P[1]", "P2", "p2"}),
]


async def test_study_keys(reader: ArchiveReader, put: Put) -> None:
    for one in (WANG, YAMADA, SMITH):
        await put(**one)
    for keys, expected in STUDY_KEYS:
        found = await find(reader, Level.STUDY, **keys)
        assert (keys, ids(found)) == (keys, expected)
        assert found.total == len(expected)


async def test_uid_lists_paging_and_order(reader: ArchiveReader, put: Put) -> None:
    stored = [await put(**one) for one in (WANG, YAMADA, SMITH)]
    both = f"{stored[0].study_uid},{stored[1].study_uid}"
    assert ids(await find(reader, Level.STUDY, StudyInstanceUID=both)) == {"P[1]", "P2"}
    assert ids(await find(reader, Level.STUDY, StudyInstanceUID=both.replace(",", "\\"))) == {"P[1]", "P2"}
    pages = [await find(reader, Level.STUDY, limit="1", offset=str(n)) for n in range(4)]
    assert [ids(page) for page in pages] == [{"p2"}, {"P[1]"}, {"P2"}, set()]
    assert {page.total for page in pages} == {3}


async def test_series_and_instances_carry_the_higher_levels_unless_the_path_names_them(
    reader: ArchiveReader, put: Put
) -> None:
    stored = await put(**WANG)
    [everywhere] = (await find(reader, Level.INSTANCE, Modality="CT", PatientID="P[1]")).objects
    body = json.loads(everywhere)
    assert body["00100010"]["Value"] == [{"Alphabetic": "Wang^Xiaodong", "Ideographic": "王^小东"}]
    assert body["0008103E"]["Value"] == ["Axial"]
    assert body["00081190"]["Value"] == [
        f"http://h/dicomweb/studies/{stored.study_uid}/series/{stored.series_uid}/instances/{stored.sop_instance_uid}"
    ]
    [inside] = (await find(reader, Level.INSTANCE, Scope(stored.study_uid, stored.series_uid))).objects
    body = json.loads(inside)
    assert "00100010" not in body
    assert body["0020000D"]["Value"] == [stored.study_uid]
    assert body["00280008"]["Value"] == [1]


async def test_includefield_adds_what_the_metadata_holds(reader: ArchiveReader, put: Put) -> None:
    await put(**WANG)
    [plain] = (await find(reader, Level.INSTANCE)).objects
    assert "00280030" not in json.loads(plain)
    for asked in ("PixelSpacing", "00280030", "all"):
        [found] = (await find(reader, Level.INSTANCE, includefield=asked)).objects
        assert json.loads(found)["00280030"]["Value"] == [0.7, 0.7]
    [study] = (await find(reader, Level.STUDY, includefield="InstitutionName")).objects
    assert json.loads(study)["00080080"]["Value"] == ["Test Hospital"]


@pytest.mark.parametrize(
    "keys",
    [{"SeriesNumber": "1"}, {"NoSuchKey": "1"}, {"StudyDate": "yesterday"}, {"limit": "-1"}, {"includefield": "Nope"}],
)
def test_what_cannot_be_matched_is_refused_not_ignored(keys: dict[str, str]) -> None:
    with pytest.raises(QueryInvalid):
        parse_query(Level.STUDY, list(keys.items()), PageRule())


async def test_worklist_by_text_modality_date_and_patient(any_platform: Platform, put: Put) -> None:
    for one in (WANG, YAMADA, SMITH):
        await put(**one)
    again = await put(**{**YAMADA, "StudyDate": "20240501"})

    async def patients(**ask: Any) -> list[str]:
        page = await worklist(any_platform.database, "demo", WorklistAsk(**ask))
        return [item["patient_id"] for item in page.items]

    assert await patients() == ["P2", "p2", "P[1]", "P2"]
    assert await patients(text="山田太郎") == ["P2", "P2"]
    assert await patients(text="john smi") == ["p2"]
    assert await patients(text="b_77") == ["P2", "P2"]
    assert await patients(text="100%") == ["P2", "P2"]
    assert await patients(modality="MR") == ["p2"]
    assert await patients(date_from="2024-01-01", date_to="20240331") == ["p2", "P[1]"]
    assert await patients(patient_of_study=again.study_uid) == ["P2", "P2"]
    with pytest.raises(NotArchived):
        await patients(patient_of_study="1.2.3")
    assert await worklist(any_platform.database, "other", WorklistAsk()) == await worklist(
        any_platform.database, "other", WorklistAsk(text="x")
    )


async def test_worklist_pages_name_every_study_once(any_platform: Platform, put: Put) -> None:
    for n in range(7):
        await put(StudyDate=("20240101", "20240102", "")[n % 3], StudyTime="", PatientID=str(n))
    seen: list[str] = []
    cursor = ""
    while True:
        page = await worklist(any_platform.database, "demo", WorklistAsk(cursor=cursor, limit=2))
        seen += [item["patient_id"] for item in page.items]
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
    assert sorted(seen) == [str(n) for n in range(7)]
    with pytest.raises(QueryInvalid):
        await worklist(any_platform.database, "demo", WorklistAsk(cursor="not-a-cursor"))
