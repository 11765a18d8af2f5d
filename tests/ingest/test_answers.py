"""What a sender is told by STOW-RS: complete items, in both languages, with who mends it and where it is held (PS3.18 10.5.3, annex I)."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from consilium_archive.errors import InstanceConflict, InstanceHeld, InstanceRejected
from consilium_core.errors import ConsiliumError, Unavailable
from consilium_core.ids import new_uid, new_ulid
from consilium_ingest.said import comment, said
from consilium_platform.blobs import BlobsUnavailable
from consilium_platform.platform import Platform
from consilium_testkit.instances import CT, ct_instance, multipart, uids_of, with_meta


async def stow(client: httpx2.AsyncClient, *files: bytes, study: str = "", **headers: str) -> httpx2.Response:
    body, media = multipart(list(files))
    path = f"/dicomweb/studies/{study}" if study else "/dicomweb/studies"
    return await client.post(path, content=body, headers={"Content-Type": media, **headers})


def only(item: dict[str, Any], tag: str) -> Any:
    [value] = item[tag]["Value"]
    return value


def by_tag(item: dict[str, Any]) -> bool:
    """Tell whether a data set and all below it are ordered by tag."""
    below = [one for element in item.values() if element["vr"] == "SQ" for one in element.get("Value", [])]
    return list(item) == sorted(item) and all(map(by_tag, below))


def short() -> bytes:
    """Return an image whose pixel data is two bytes too short."""
    return ct_instance(side=16, PixelData=bytes(510))


async def test_a_refused_instance_says_the_numbers_both_languages_and_who_mends_it(client: httpx2.AsyncClient) -> None:
    file = short()
    answer = await stow(client, file)
    assert answer.status_code == 409
    [item] = answer.json()["00081198"]["Value"]
    assert only(item, "00000902") == "pixel-data-short: 510 of 512 bytes"
    assert (only(item, "00081150"), only(item, "00081155")) == (CT, uids_of(file)[2])
    [found] = item["00091003"]["Value"]
    assert [only(found, f"0009{element}") for element in ("1004", "1007", "1008")] == [
        "pixel-data-short", "caller", "(7FE0,0010)",
    ]  # fmt: skip
    assert "510 bytes" in only(found, "00091005")
    assert "像素数据" in only(found, "00091006")
    assert by_tag(answer.json())


async def test_a_held_instance_is_told_its_whole_entry(client: httpx2.AsyncClient) -> None:
    file = ct_instance(side=16, PatientBirthDate="20250101")
    [item] = (await stow(client, file)).json()["00081198"]["Value"]
    [entry] = (await client.get("/api/v1/ingest/quarantine")).json()["items"]
    assert only(item, "00000902") == f"held {entry['id']}: birth-after-study"
    assert (only(item, "00081150"), only(item, "00081155")) == (CT, uids_of(file)[2])
    told = item["00091003"]["Value"]
    assert [only(one, "00091004") for one in told][:2] == ["instance-held", "birth-after-study"]
    assert {only(one, "00091007") for one in told[:2]} == {"operator"}
    assert f"隔离条目 {entry['id']}" in only(told[0], "00091006")


async def test_whatever_refuses_it_an_instance_that_can_be_read_is_named_with_its_class(
    client: httpx2.AsyncClient,
) -> None:
    uid = new_uid()
    first, other = ct_instance(side=16, SOPInstanceUID=uid), ct_instance(side=16, SOPInstanceUID=uid, seed=9)
    assert (await stow(client, first)).status_code == 200
    twin = new_uid()
    twins = [ct_instance(side=16, SOPInstanceUID=twin, seed=seed) for seed in (1, 2)]
    for answer, code in (
        (await stow(client, other), "instance-conflict"),
        (await stow(client, *twins), "instance-conflict"),
        (await stow(client, ct_instance(side=16), study=new_uid()), "study-mismatch"),
    ):
        assert "0008119A" not in answer.json()
        [item] = answer.json()["00081198"]["Value"]
        assert only(item, "00081150") == CT
        assert only(item, "00091002") == code
        assert only(item, "00000902").startswith(f"{code}: ")
        assert by_tag(answer.json())


async def test_an_instance_that_no_store_takes_is_named_too(
    any_platform: Platform, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise BlobsUnavailable("The object store does not answer.")

    for name in ("put_here", "put"):
        if hasattr(any_platform.blobs, name):
            monkeypatch.setattr(any_platform.blobs, name, gone)
    file = ct_instance(side=16)
    answer = await stow(client, file)
    assert answer.status_code == 503
    [item] = answer.json()["00081198"]["Value"]
    assert (only(item, "00081150"), only(item, "00081155")) == (CT, uids_of(file)[2])
    assert only(item["00091003"]["Value"][0], "00091007") == "retry"


async def test_what_names_no_instance_is_among_the_other_failures(client: httpx2.AsyncClient) -> None:
    good = ct_instance(side=16)
    answer = await stow(client, b"garbage" * 50, short(), good)
    assert answer.status_code == 202
    body = answer.json()
    assert list(body) == ["00081190", "00081198", "00081199", "0008119A"]
    assert only(body, "00081190").endswith(f"/studies/{uids_of(good)[0]}")
    [other] = body["0008119A"]["Value"]
    assert (only(other, "00081197"), "00081155" in other) == (0xC000, False)
    assert by_tag(body)


async def test_instances_of_two_studies_have_no_retrieve_url_in_common(client: httpx2.AsyncClient) -> None:
    answer = await stow(client, ct_instance(side=16), ct_instance(side=16))
    assert answer.status_code == 200
    assert answer.json()["00081190"] == {"vr": "UR"}, "type 2: there, without a value"


async def test_an_instance_whose_class_its_file_meta_information_denies_has_a_warning_reason_and_202(
    client: httpx2.AsyncClient,
) -> None:
    file = with_meta(ct_instance(side=16), MediaStorageSOPClassUID="1.2.840.10008.5.1.4.1.1.4")
    answer = await stow(client, file)
    assert answer.status_code == 202
    [item] = answer.json()["00081199"]["Value"]
    assert only(item, "00081196") == 0xB007
    [found] = item["00091003"]["Value"]
    assert (only(found, "00091004"), only(found, "00091007")) == ("meta-mismatch", "caller")
    assert "文件元信息" in only(found, "00091006")
    assert by_tag(answer.json())


async def test_a_finding_that_the_standard_has_no_reason_for_leaves_the_instance_stored(
    client: httpx2.AsyncClient,
) -> None:
    answer = await stow(client, ct_instance(side=16, PatientID=""))
    assert answer.status_code == 200
    [item] = answer.json()["00081199"]["Value"]
    assert item["00091002"]["Value"] == ["patient-id-empty"]
    assert "00081196" not in item


async def test_an_answer_that_nobody_accepts_is_a_406_and_nothing_is_stored(client: httpx2.AsyncClient) -> None:
    answer = await stow(client, ct_instance(side=16), Accept="text/html")
    assert (answer.status_code, answer.json()["code"]) == (406, "not-acceptable")
    assert (await client.get("/dicomweb/instances")).json() == []


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (InstanceHeld("The object is kept.", "01M891GHN52E4B4GE1ZHGFQK7T", [], reasons=["patient-mismatch"]),
         "held 01M891GHN52E4B4GE1ZHGFQK7T: patient-mismatch"),
        (InstanceRejected("No.", 0xA900, [{"code": "window-invalid", "text_en": "odd"},
                                          {"code": "uid-missing", "text_en": "Study UID is missing"}]),
         "uid-missing: Study UID is missing"),
        (InstanceConflict("a\\b\n" + "x" * 99), "instance-conflict: a/b/" + "x" * 41),
        (Unavailable("The archive did not answer in time."), "unavailable: The archive did not answer in time."),
    ],
)  # fmt: skip
def test_a_comment_is_one_value_of_at_most_64_characters_with_its_cause_first(
    problem: ConsiliumError, words: str
) -> None:
    assert comment(problem) == words
    assert len(words) <= 64


def test_every_refusal_has_chinese_words_whoever_mends_it() -> None:
    for problem in (InstanceConflict("x"), Unavailable("x"), ConsiliumError("x", quarantine_id=new_ulid())):
        [told] = said(problem)
        assert any("\u4e00" <= character <= "\u9fff" for character in told.zh)
