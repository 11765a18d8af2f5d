"""Storage commitment over DICOMweb (PS3.18 13), and the receipts that people read, print and verify."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from joserfc.jwk import KeySet, OKPKey

from consilium.receipts import verify
from consilium_archive.receipt import RECEIPT, verify_receipt
from consilium_archive.stages import original_key
from consilium_core.errors import Invalid
from consilium_core.ids import new_uid
from consilium_core.roles import Role
from consilium_ingest.commitment.settings import CommitmentSettings
from consilium_ingest.commitment.transactions import COMMENTS
from consilium_ingest.commitment.words import LABELS, PLACES, WHY
from consilium_platform.blobs import BlobsUnavailable
from consilium_platform.platform import Platform
from consilium_platform.statements import StatementRefused, StatementSigner
from consilium_testkit.archive_rooms import Door, archive_door, door_client
from consilium_testkit.instances import CT, ct_instance, uids_of
from consilium_testkit.platforms import bearer

MEDIA = {"Content-Type": "application/dicom+json"}
RECEIPTS = "/api/v1/ingest/storage"


def asked(*pairs: tuple[str, str]) -> dict[str, Any]:
    """Return a Storage Commitment Request module of (class, instance) pairs."""
    items = [{"00081150": {"vr": "UI", "Value": [one]}, "00081155": {"vr": "UI", "Value": [two]}} for one, two in pairs]
    return {"00081199": {"vr": "SQ", "Value": items}}


def named(found: dict[str, Any], sequence: str) -> list[str]:
    return [item["00081155"]["Value"][0] for item in found.get(sequence, {}).get("Value", [])]


def keys_of(platform: Platform) -> KeySet:
    return KeySet.import_key_set(json.loads((platform.settings.data_dir / "keys" / "verify.json").read_text()))


async def commit(client: httpx2.AsyncClient, uid: str, *pairs: tuple[str, str], **headers: str) -> httpx2.Response:
    return await client.post(f"/dicomweb/commitment-requests/{uid}", json=asked(*pairs), headers=MEDIA | headers)


async def stored(client: httpx2.AsyncClient, **attributes: Any) -> tuple[str, str, bytes]:
    """Store an image; return its study, its instance and its bytes."""
    data = ct_instance(side=8, **attributes)
    study, _, sop = uids_of(data)
    media = {"Content-Type": "application/dicom"}
    assert (await client.post("/dicomweb/studies", content=data, headers=media)).status_code == 200
    return study, sop, data


async def test_a_request_is_answered_with_what_is_committed_and_what_is_not(client: httpx2.AsyncClient) -> None:
    _, sop, _ = await stored(client)
    uid, unknown = new_uid(), new_uid()
    answer = await commit(client, uid, (CT, sop), (CT, unknown), ("1.2.840.10008.5.1.4.1.1.4", sop))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/dicom+json")
    found = answer.json()
    assert named(found, "00081199") == [sop]
    assert "00081195" not in found  # the path names the transaction (PS3.18 13.4.1.1)
    reasons = [item["00081197"]["Value"][0] for item in found["00081198"]["Value"]]
    assert (named(found, "00081198"), reasons) == ([unknown, sop], [0x0112, 0x0119])
    assert found["00081198"]["Value"][0]["00000902"]["Value"] == [COMMENTS["unknown"]]
    looked = await client.get(f"/dicomweb/commitment-requests/{uid}")
    assert (looked.status_code, looked.json()) == (200, found)


async def test_a_transaction_uid_stands_for_one_request_and_the_same_request_again_is_the_same(
    any_platform: Platform, door: Door, client: httpx2.AsyncClient
) -> None:
    _, sop, _ = await stored(client)
    uid = new_uid()
    first = await commit(client, uid, (CT, sop))
    again = await commit(client, uid, (CT, sop))
    assert (first.status_code, again.status_code, again.json()) == (200, 200, first.json())
    other = await commit(client, uid, (CT, sop), (CT, new_uid()))
    assert (other.status_code, other.json()["code"]) == (409, "transaction-uid-in-use")
    async with door_client(door, bearer(any_platform, Role.OPERATOR)) as somebody:
        assert (await commit(somebody, uid, (CT, sop))).status_code == 409
    async with door_client(door, bearer(any_platform, Role.ADMIN, tenant="elsewhere")) as foreign:
        assert (await foreign.get(f"/dicomweb/commitment-requests/{uid}")).status_code == 404
        theirs = await commit(foreign, uid, (CT, sop))  # a Transaction UID of theirs, and none of our instances
        assert (theirs.status_code, named(theirs.json(), "00081198")) == (200, [sop])
    trail = await any_platform.audit.search("demo", action="commitment.request")
    assert [entry["subject"] for entry in trail] == [uid, uid]


async def test_a_site_sees_its_own_requests_only(
    any_platform: Platform, door: Door, client: httpx2.AsyncClient
) -> None:
    uid = new_uid()
    async with door_client(door, bearer(any_platform, Role.SITE, subject="one")) as mine:
        assert (await commit(mine, uid, (CT, new_uid()))).status_code == 200
        assert (await mine.get(f"/dicomweb/commitment-requests/{uid}")).status_code == 200
    async with door_client(door, bearer(any_platform, Role.SITE, subject="two")) as other:
        assert (await other.get(f"/dicomweb/commitment-requests/{uid}")).status_code == 404
    assert (await client.get(f"/dicomweb/commitment-requests/{uid}")).status_code == 200


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{}", MEDIA, 400), (b"[", MEDIA, 400), (b"[{},{}]", MEDIA, 400),
        (json.dumps(asked((CT, "no uid"))).encode(), MEDIA, 400), (json.dumps({"00081199": {"vr": "SQ", "Value": [[]]}}).encode(), MEDIA, 400),
        (json.dumps(asked((CT, "1.2.3"))).encode(), {"Content-Type": "application/json"}, 415),
        (json.dumps(asked((CT, "1.2.3"))).encode(), MEDIA | {"Accept": "text/html"}, 406),
        (b" " * ((8 << 20) + 1), MEDIA, 413),
    ],
)  # fmt: skip
async def test_what_is_no_request_is_refused_and_not_kept(
    client: httpx2.AsyncClient, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = await client.post("/dicomweb/commitment-requests/1.2.3", content=body, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert (await client.get("/dicomweb/commitment-requests/1.2.3")).status_code == 404
    assert (await client.post("/dicomweb/commitment-requests/x", content=body, headers=headers)).status_code >= 400


async def test_what_can_not_be_decided_at_once_is_answered_later(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = True
    size = type(platform.stores.first).size

    async def sometimes(store: Any, key: str) -> int:
        if not answers:
            raise BlobsUnavailable("The store does not answer.")
        return await size(store, key)

    monkeypatch.setattr(type(platform.stores.first), "size", sometimes)
    quick = CommitmentSettings(poll_s=0.01)
    async with (
        archive_door(platform, commitment=quick) as door,
        door_client(door, bearer(platform, Role.ADMIN)) as client,
    ):
        _, sop, _ = await stored(client)
        answers, uid = False, new_uid()
        later = await commit(client, uid, (CT, sop))
        assert (later.status_code, later.content, later.headers["retry-after"]) == (202, b"", "5")
        assert (await client.get(f"/dicomweb/commitment-requests/{uid}")).status_code == 202
        refused = await client.get(f"{RECEIPTS}/transactions/{uid}/receipt")
        assert (refused.status_code, refused.json()["code"]) == (409, "transaction-undecided")
        answers = True
        assert named((await commit(client, uid, (CT, sop))).json(), "00081199") == [sop]  # asked again, decided at once


# -- receipts ---------------------------------------------------------------------------------------------------------


async def test_a_receipt_names_every_instance_with_its_hash_and_is_verified_without_us(
    any_platform: Platform, client: httpx2.AsyncClient
) -> None:
    _, sop, data = await stored(client, PatientID="PID-4711")
    uid, unknown = new_uid(), new_uid()
    await commit(client, uid, (CT, sop), (CT, unknown))
    document = (await client.get(f"{RECEIPTS}/transactions/{uid}/receipt")).json()
    said = verify_receipt(json.dumps(document), keys_of(any_platform)).content
    assert said == document["receipt"]
    kept, missing = said["instances"]
    assert (kept["sop_class_uid"], kept["sop_instance_uid"], kept["committed"]) == (CT, sop, True)
    assert (kept["sha256"], kept["size_bytes"]) == (hashlib.sha256(data).hexdigest(), len(data))
    assert (kept["first"], kept["copy"]) == ("stored", "none")
    assert (missing["committed"], missing["why"], missing["failure_reason"]) == (False, "unknown", "0112")
    assert (said["subject"], said["committed"], said["not_committed"]) == ({"transaction_uid": uid}, 1, 1)
    assert (said["requested_by"]["name"], said["requested_by"]["origin"]) == ("admin", "dicomweb")
    assert "PID-4711" not in json.dumps(document)
    jose = await client.get(f"/dicomweb/commitment-requests/{uid}", headers={"Accept": "application/jose"})
    assert (jose.headers["content-type"], jose.text) == ("application/jose", document["jws"])  # the same text for ever
    trail = await any_platform.audit.search("demo", action="receipt.view", patient_id="PID-4711")
    assert [(entry["subject"], entry["detail"]) for entry in trail] == [(uid, "1 committed, 1 not")] * 2


async def test_a_changed_or_foreign_receipt_is_refused(any_platform: Platform, client: httpx2.AsyncClient) -> None:
    study, _, _ = await stored(client)
    document = (await client.get(f"{RECEIPTS}/studies/{study}/receipt")).json()
    keys = keys_of(any_platform)
    assert verify_receipt(document["jws"], keys).content == document["receipt"]
    forged = json.loads(json.dumps(document))
    forged["receipt"]["instances"][0]["sha256"] = "0" * 64
    head, body, mark = document["jws"].split(".")
    receipts = any_platform.receipt_signer
    assert receipts is not None
    folder = any_platform.settings.data_dir / "keys"
    users, services = (
        StatementSigner(OKPKey.import_key(json.loads((folder / f"{name}.json").read_text())))
        for name in ("users", "services")
    )
    for bad in (
        json.dumps(forged), f"{head}.{body[:-2]}AA.{mark}", "{}", "", document["jws"][:-9],
        users.state(RECEIPT, document["receipt"]), services.state(RECEIPT, document["receipt"]),
        receipts.state("other+jws", document["receipt"]),
    ):  # fmt: skip
        with pytest.raises(StatementRefused):
            verify_receipt(bad, keys)
    with pytest.raises(StatementRefused):
        verify_receipt(document["jws"], KeySet([]))


async def test_a_studys_receipt_says_how_it_is_now(
    any_platform: Platform, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, sop, data = await stored(client)
    said = (await client.get(f"{RECEIPTS}/studies/{study}/receipt")).json()["receipt"]
    assert (said["subject"], said["committed"], said["requested_by"]["origin"]) == ({"study_uid": study}, 1, "api")
    await any_platform.stores.first.delete(original_key("demo", hashlib.sha256(data).hexdigest()))
    [one] = (await client.get(f"{RECEIPTS}/studies/{study}/receipt")).json()["receipt"]["instances"]
    assert (one["sop_instance_uid"], one["committed"], one["why"], one["first"]) == (sop, False, "damaged", "missing")
    assert (await client.get(f"{RECEIPTS}/studies/1.2.3/receipt")).json()["code"] == "not-archived"
    monkeypatch.setattr("consilium_ingest.commitment.desk._STUDY_S", 0)
    assert (await client.get(f"{RECEIPTS}/studies/{study}/receipt")).status_code == 503  # not in time


@pytest.mark.parametrize(
    ("language", "good", "bad"),
    [
        ("zh-CN", "以下 1 个对象全部", "2 个对象中有 1 个未归档"),
        ("en", "Safely archived: 1 of 1", "NOT archived: 1 of 2"),
    ],
)
async def test_a_page_is_read_by_people_and_prints_what_the_receipt_says(
    client: httpx2.AsyncClient, language: str, good: str, bad: str
) -> None:
    study, sop, data = await stored(client, PatientID="<b>P&8</b>")
    uid, unknown = new_uid(), new_uid()
    whole = await client.get(f"{RECEIPTS}/studies/{study}/receipt/page", params={"language": language})
    assert (whole.status_code, good in whole.text) == (200, True)
    assert whole.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in whole.headers["content-security-policy"]
    await commit(client, uid, (CT, sop), (CT, unknown))
    page = (await client.get(f"{RECEIPTS}/transactions/{uid}/receipt/page", params={"language": language})).text
    for text in (
        bad,
        uid,
        sop,
        unknown,
        hashlib.sha256(data).hexdigest(),
        "0112H",
        "&lt;b&gt;P&amp;8&lt;/b&gt;",
        "@media print",
    ):
        assert text in page, text
    assert "<b>P" not in page
    assert "<script" not in page
    strange = await client.get(f"{RECEIPTS}/studies/{study}/receipt/page", params={"language": "tlh"})
    assert strange.status_code == 422


def test_the_words_of_both_languages_are_complete() -> None:
    for words in (LABELS, WHY, PLACES):
        tables: Sequence[dict[str, str]] = list(words.values())  # type: ignore[attr-defined]
        assert tables[0].keys() == tables[1].keys()
    assert set(COMMENTS) == set(WHY["en"])
    assert max(len(text) for text in COMMENTS.values()) <= 64  # Error Comment is an LO


async def test_transactions_are_listed_newest_first_by_pages(
    any_platform: Platform, client: httpx2.AsyncClient
) -> None:
    uids = [new_uid() for _ in range(3)]
    for uid in uids:
        await commit(client, uid, (CT, new_uid()))
    page = (await client.get(f"{RECEIPTS}/transactions", params={"limit": 2, "state": "done"})).json()
    rest = (await client.get(f"{RECEIPTS}/transactions", params={"limit": 2, "cursor": page["next_cursor"]})).json()
    assert [one["transaction_uid"] for one in page["items"] + rest["items"]] == uids[::-1]
    assert rest["next_cursor"] is None
    assert (page["items"][0]["instances"], page["items"][0]["committed"]) == (1, 0)
    assert (await client.get(f"{RECEIPTS}/transactions", params={"state": "waiting"})).json()["items"] == []


async def test_without_a_key_there_is_no_receipt_but_the_commitment_stands(any_platform: Platform) -> None:
    keyless = replace(any_platform, receipt_signer=None)
    async with archive_door(keyless) as door, door_client(door, bearer(any_platform, Role.ADMIN)) as client:
        study, sop, _ = await stored(client)
        assert named((await commit(client, new_uid(), (CT, sop))).json(), "00081199") == [sop]
        refused = await client.get(f"{RECEIPTS}/studies/{study}/receipt")
        assert (refused.status_code, refused.json()["code"]) == (503, "receipt-key-missing")


async def test_the_command_verifies_a_receipt_with_the_public_keys_alone(
    platform: Platform, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with archive_door(platform) as door, door_client(door, bearer(platform, Role.ADMIN)) as client:
        study, sop, _ = await stored(client)
        whole = tmp_path / "whole.json"
        whole.write_bytes((await client.get(f"{RECEIPTS}/studies/{study}/receipt")).content)
        uid, part = new_uid(), tmp_path / "part.jws"
        await commit(client, uid, (CT, sop), (CT, "1.2.3"))
        jose = {"Accept": "application/jose"}
        part.write_bytes((await client.get(f"/dicomweb/commitment-requests/{uid}", headers=jose)).content)
    keys = tmp_path / "keys.json"
    keys.write_bytes((platform.settings.data_dir / "keys" / "verify.json").read_bytes())
    forged = tmp_path / "forged.json"
    forged.write_text(whole.read_text().replace(sop, "1.2.3"))

    command = [sys.executable, "-m", "consilium", "verify-receipt", str(whole), "--keys", str(keys)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (done.returncode, sop in done.stdout, "1 kept, 0 not" in done.stdout) == (0, True, True), done.stderr
    assert verify(part, keys, None) == 3
    assert "NOT kept, unknown (0112H)" in capsys.readouterr().out
    with pytest.raises(StatementRefused, match="was changed"):
        verify(forged, keys, None)
    for receipt, given in ((tmp_path / "absent", keys), (whole, whole)):
        with pytest.raises(Invalid):
            verify(receipt, given, None)
