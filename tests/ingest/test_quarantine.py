"""The quarantine desk: what is held is durable and invisible, two people correct an identity, a decision settles senders (B2, B3)."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from pydicom import dcmread
from sqlalchemy import select

from consilium_archive.held_measure import HeldMeasure
from consilium_archive.stages import quarantine_key
from consilium_core.clock import FakeClock
from consilium_core.ids import new_uid
from consilium_core.roles import PERMISSIONS, Permission, Role
from consilium_ingest.quarantine.rows import QuarantineRows
from consilium_ingest.settings import IngestSettings
from consilium_platform.outbox import outbox
from consilium_platform.platform import Platform
from consilium_testkit.archive_rooms import Door, archive_door, door_client
from consilium_testkit.instances import ct_instance, multipart, uids_of
from consilium_testkit.platforms import bearer

BASE = "/api/v1/ingest/quarantine"


@pytest_asyncio.fixture
async def second(any_platform: Platform, door: Door) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield another person at the desk."""
    async with door_client(door, bearer(any_platform, Role.QC, subject="second")) as opened:
        yield opened


async def store(client: httpx2.AsyncClient, *files: bytes) -> httpx2.Response:
    body, kind = multipart(list(files))
    return await client.post("/dicomweb/studies", content=body, headers={"Content-Type": kind})


def unborn(**more: Any) -> bytes:
    """Return an image of somebody who was born after it was taken."""
    return ct_instance(side=16, PatientBirthDate="20250101", **more)


async def held_id(client: httpx2.AsyncClient) -> str:
    [entry] = (await client.get(BASE)).json()["items"]
    return str(entry["id"])


async def look(client: httpx2.AsyncClient, entry_id: str) -> dict[str, Any]:
    reply = await client.get(f"{BASE}/{entry_id}")
    assert reply.status_code == 200
    found: dict[str, Any] = reply.json()
    return found


async def instances(client: httpx2.AsyncClient, study: str) -> list[Any]:
    reply = await client.get(f"/dicomweb/studies/{study}/instances")
    return list(reply.json()) if reply.status_code == 200 else []


async def test_a_held_object_is_failed_for_its_sender_durable_and_invisible(
    any_platform: Platform, client: httpx2.AsyncClient
) -> None:
    data = unborn()
    study, series, uid = uids_of(data)
    reply = await store(client, data, ct_instance(side=16))
    assert reply.status_code == 202
    [failed] = reply.json()["00081198"]["Value"]
    assert failed["00081197"]["Value"] == [0x0110]
    assert failed["00081155"]["Value"] == [uid]
    assert failed["00091002"]["Value"][:2] == ["instance-held", "birth-after-study"]
    assert (await store(client, data)).status_code == 409, "alone, nothing of the request is stored"
    assert await instances(client, study) == []
    assert (await client.get(f"/dicomweb/studies/{study}/series/{series}/instances/{uid}")).status_code == 404
    entry = await look(client, await held_id(client))
    assert entry["id"] in failed["00091001"]["Value"][0]
    assert (entry["state"], entry["reasons"], entry["study_uid"]) == ("held", ["birth-after-study"], study)
    assert await any_platform.blobs.get(quarantine_key("demo", _sha(data))) == data


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def test_an_object_sent_again_while_held_is_one_entry(client: httpx2.AsyncClient) -> None:
    data = unborn()
    for _ in range(3):
        await store(client, data)
    assert len((await client.get(BASE)).json()["items"]) == 1


async def test_a_release_as_it_is_lets_it_be_found_and_sending_again_is_a_success(client: httpx2.AsyncClient) -> None:
    data = unborn()
    study, *_ = uids_of(data)
    await store(client, data)
    entry_id = await held_id(client)
    released = await client.post(f"{BASE}/{entry_id}/release", json={"version": 1, "reason": "date of birth is a typo"})
    assert released.status_code == 200, released.text
    assert (released.json()["corrected"], released.json()["entry"]["state"]) == (False, "released")
    assert len(await instances(client, study)) == 1
    assert (await store(client, data)).status_code == 200
    again = await client.post(f"{BASE}/{entry_id}/release", json={"version": 2, "reason": "once more"})
    assert (again.status_code, again.json()["code"]) == (409, "quarantine-decided")


async def test_an_identity_is_proposed_by_one_and_approved_by_another(
    client: httpx2.AsyncClient, second: httpx2.AsyncClient
) -> None:
    data = unborn()
    study, _, uid = uids_of(data)
    await store(client, data)
    entry_id = await held_id(client)
    change = {
        "version": 1,
        "reason": "checked with the ward",
        "birth_date": "19500101",
        "patient_name": "Wang^Da=王^大",
    }
    proposed = await client.post(f"{BASE}/{entry_id}/identity", json=change)
    assert proposed.status_code == 200, proposed.text
    proposal = proposed.json()["proposal"]
    assert proposal["changes"] == {"birth_date": "19500101", "patient_name": "Wang^Da=王^大"}
    assert [one["code"] for one in proposal["difference"]["mended"]] == ["birth-after-study"]
    assert (proposal["difference"]["new"], proposal["verdict"]) == ([], "accept")
    alone = await client.post(f"{BASE}/{entry_id}/release", json={"version": 2, "reason": "I am sure"})
    assert (alone.status_code, alone.json()["code"]) == (403, "second-person-needed")
    assert await instances(client, study) == []
    done = await second.post(f"{BASE}/{entry_id}/release", json={"version": 2, "reason": "I agree"})
    assert (done.status_code, done.json()["corrected"]) == (200, True)
    [found] = await instances(client, study)
    assert found["00080018"]["Value"] == [uid]
    [metadata] = (await client.get(f"/dicomweb/studies/{study}/metadata")).json()
    assert metadata["00100030"]["Value"] == ["19500101"]
    [history] = metadata["04000561"]["Value"]
    assert history["04000550"]["Value"][0]["00100030"]["Value"] == ["20250101"]
    [kept] = history["04000550"]["Value"]
    assert kept["00100010"]["Value"][0]["Ideographic"] == "王^小东"
    resent = await store(client, data)
    assert resent.status_code == 202, "the sender's bytes are known, under their corrected identity"
    [item] = resent.json()["00081199"]["Value"]
    assert "identity-corrected" in item["00091002"]["Value"]
    assert item["00081196"]["Value"] == [0xB000], "coercion of data elements"


async def test_equal_corrections_have_equal_digests_so_that_what_was_seen_is_what_is_approved(
    client: httpx2.AsyncClient,
) -> None:
    for _ in range(3):
        await store(client, unborn())
    ids = [one["id"] for one in (await client.get(BASE)).json()["items"]]
    for entry_id, birth_date in zip(ids, ("19500101", "19500101", "19500102"), strict=True):
        change = {"version": 1, "reason": "checked with the ward", "birth_date": birth_date}
        assert (await client.post(f"{BASE}/{entry_id}/identity", json=change)).status_code == 200
    first, same, other = [one["proposal_digest"] for one in (await client.get(BASE)).json()["items"]]
    assert first == same != other


async def test_the_original_is_kept_beside_the_corrected_object(
    any_platform: Platform, client: httpx2.AsyncClient, second: httpx2.AsyncClient
) -> None:
    data = unborn()
    study, series, uid = uids_of(data)
    await store(client, data)
    entry_id = await held_id(client)
    await client.post(f"{BASE}/{entry_id}/identity", json={"version": 1, "reason": "ward", "birth_date": "19500101"})
    await second.post(f"{BASE}/{entry_id}/release", json={"version": 2, "reason": "yes indeed"})
    assert await any_platform.blobs.get(quarantine_key("demo", _sha(data))) == data
    reply = await client.get(
        f"/dicomweb/studies/{study}/series/{series}/instances/{uid}",
        headers={"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'},
    )
    body = reply.content
    start = body.index(b"\r\n\r\n") + 4
    whole = dcmread(io.BytesIO(body[start : body.rindex(b"\r\n--")]))
    assert whole.PatientBirthDate == "19500101"
    assert whole.PixelData == dcmread(io.BytesIO(data)).PixelData


async def test_another_patient_in_a_study_is_held_beside_the_archived_one_and_released_under_its_id(
    client: httpx2.AsyncClient, second: httpx2.AsyncClient
) -> None:
    study = new_uid()
    await store(client, ct_instance(side=16, StudyInstanceUID=study, PatientID="P1", PatientName="Wang^Da"))
    wrong = ct_instance(side=16, StudyInstanceUID=study, PatientID="P1X", PatientName="Wang^Da")
    reply = await store(client, wrong)
    assert (reply.status_code, reply.json()["00081198"]["Value"][0]["00081197"]["Value"]) == (409, [0x0110])
    entry = await look(client, await held_id(client))
    facts = {one["field"]: one for one in entry["comparison"]["facts"]}
    assert entry["comparison"]["same_study"] is True
    assert (facts["patient_id"]["held"], facts["patient_id"]["archived"], facts["patient_id"]["same"]) == (
        "P1X",
        "P1",
        False,
    )
    assert facts["patient_name"]["same"] is True
    as_it_is = await client.post(f"{BASE}/{entry['id']}/release", json={"version": 1, "reason": "let it in"})
    assert (as_it_is.status_code, as_it_is.json()["code"]) == (409, "patient-mismatch"), (
        "a study never mixes two people"
    )
    proposed = await client.post(
        f"{BASE}/{entry['id']}/identity", json={"version": 1, "reason": "typo at the scanner", "patient_id": "P1"}
    )
    assert [one["code"] for one in proposed.json()["proposal"]["difference"]["mended"]] == ["patient-mismatch"]
    assert (await second.post(f"{BASE}/{entry['id']}/release", json={"version": 2, "reason": "yes"})).status_code == 200
    assert len(await instances(client, study)) == 2


async def test_another_person_under_the_patient_id_of_a_study_is_held_until_the_desk_decides(
    client: httpx2.AsyncClient, second: httpx2.AsyncClient
) -> None:
    study = new_uid()
    await store(client, ct_instance(side=16, StudyInstanceUID=study))
    other = {"PatientName": "Zhao^Yun", "PatientBirthDate": "19990101", "PatientSex": "F"}
    files = [ct_instance(side=16, StudyInstanceUID=study, **other) for _ in range(2)]
    reply = await store(client, files[0])
    [failed] = reply.json()["00081198"]["Value"]
    assert failed["00091002"]["Value"][:2] == ["instance-held", "identity-differs"]
    entry = await look(client, await held_id(client))
    assert entry["reasons"] == ["identity-differs"]
    change = {"version": 1, "reason": "the list was not changed", "birth_date": "19600203", "sex": "M"}
    proposed = (await client.post(f"{BASE}/{entry['id']}/identity", json=change)).json()["proposal"]
    assert {one["code"] for one in proposed["difference"]["mended"]} == {"identity-differs"}
    assert ([one["code"] for one in proposed["difference"]["new"]], proposed["verdict"]) == (
        ["name-differs"],
        "accept",
    )
    done = await second.post(f"{BASE}/{entry['id']}/release", json={"version": 2, "reason": "yes"})
    assert (done.status_code, done.json()["corrected"]) == (200, True)
    await store(client, files[1])
    as_it_is = {"version": 1, "reason": "the study had it wrong"}
    assert (await client.post(f"{BASE}/{await held_id(client)}/release", json=as_it_is)).status_code == 200
    assert len(await instances(client, study)) == 3
    assert (await store(client, files[1])).status_code == 200


async def test_a_name_that_differs_alone_is_stored_and_its_sender_warned(client: httpx2.AsyncClient) -> None:
    study = new_uid()
    await store(client, ct_instance(side=16, StudyInstanceUID=study))
    reply = await store(client, ct_instance(side=16, StudyInstanceUID=study, PatientName="Zhang^Xiaodong"))
    assert reply.status_code == 200
    [stored] = reply.json()["00081199"]["Value"]
    assert "name-differs" in stored["00091002"]["Value"]


async def test_text_of_an_unknown_character_set_is_held_until_a_person_names_it(
    client: httpx2.AsyncClient, second: httpx2.AsyncClient
) -> None:
    dataset = dcmread(
        io.BytesIO(ct_instance(side=16, SpecificCharacterSet="ISO_IR 100", PatientName="A", ReferringPhysicianName="B"))
    )
    dataset.add_new(0x00100010, "PN", "乔^静".encode("gbk"))
    out = io.BytesIO()
    dataset.save_as(out)
    assert (await store(client, out.getvalue())).status_code == 409
    entry = await look(client, await held_id(client))
    assert entry["reasons"] == ["charset-unsafe"]
    change = {"version": 1, "reason": "the scanner writes GBK", "character_set": "GB18030"}
    proposed = await client.post(f"{BASE}/{entry['id']}/identity", json=change)
    assert proposed.json()["proposal"]["shown"]["patient_name"] == "乔^静"
    assert (await second.post(f"{BASE}/{entry['id']}/release", json={"version": 2, "reason": "yes"})).status_code == 200
    [found] = (await client.get("/dicomweb/studies", params={"PatientName": "乔*"})).json()
    assert found["00100010"]["Value"][0]["Alphabetic"] == "乔^静"


async def test_a_release_that_was_cut_off_after_storing_is_done_again(
    client: httpx2.AsyncClient, second: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The corrected object is made of the original, the proposal and its time: a second release meets its own bytes."""
    data = unborn()
    study, *_ = uids_of(data)
    await store(client, data)
    entry_id = await held_id(client)
    await client.post(f"{BASE}/{entry_id}/identity", json={"version": 1, "reason": "ward", "birth_date": "19500101"})

    async def dies(*_: object) -> None:
        raise ConnectionError("the process ends here")

    decision = {"version": 2, "reason": "yes indeed"}
    with monkeypatch.context() as cut:
        cut.setattr(QuarantineRows, "decide", dies)
        assert (await second.post(f"{BASE}/{entry_id}/release", json=decision)).status_code == 500
    assert (await look(client, entry_id))["state"] == "held"
    assert len(await instances(client, study)) == 1
    done = await second.post(f"{BASE}/{entry_id}/release", json=decision)
    assert (done.status_code, done.json()["corrected"]) == (200, True)
    assert len(await instances(client, study)) == 1


async def test_a_held_object_whose_uid_was_stored_with_other_content_meanwhile_cannot_be_released(
    client: httpx2.AsyncClient,
) -> None:
    uid, study = new_uid(), new_uid()
    await store(client, unborn(SOPInstanceUID=uid, StudyInstanceUID=study))
    assert (await store(client, ct_instance(side=16, SOPInstanceUID=uid, StudyInstanceUID=study))).status_code == 200
    entry_id = await held_id(client)
    reply = await client.post(f"{BASE}/{entry_id}/release", json={"version": 1, "reason": "this one"})
    assert (reply.status_code, reply.json()["code"]) == (409, "instance-conflict")
    assert (await look(client, entry_id))["state"] == "held"


async def test_many_senders_of_one_held_object_make_one_entry_and_one_event(
    any_platform: Platform, client: httpx2.AsyncClient
) -> None:
    data = unborn()
    replies = await asyncio.gather(*(store(client, data) for _ in range(8)))
    assert {reply.status_code for reply in replies} == {409}
    [entry] = (await client.get(BASE)).json()["items"]
    told = select(outbox.c.subject, outbox.c.data).where(outbox.c.type == "quarantine.changed")
    rows = await any_platform.database.query(lambda session: session.execute(told).all())
    assert [row.subject for row in rows] == [entry["id"]]
    assert json.loads(rows[0].data) == {
        "state": "held", "study_uid": entry["study_uid"], "sop_instance_uid": entry["sop_instance_uid"],
        "reasons": ["birth-after-study"],
    }  # fmt: skip


async def test_a_rejected_object_is_refused_with_the_reason_for_ever(client: httpx2.AsyncClient) -> None:
    data = unborn()
    await store(client, data)
    entry_id = await held_id(client)
    gone = await client.post(f"{BASE}/{entry_id}/reject", json={"version": 1, "reason": "a test phantom"})
    assert (gone.status_code, gone.json()["state"]) == (200, "rejected")
    [failed] = (await store(client, data)).json()["00081198"]["Value"]
    assert failed["00081197"]["Value"] == [0xA900]
    assert "a test phantom" in failed["00091001"]["Value"][0]
    assert (await client.get(BASE)).json()["items"] == []
    assert len((await client.get(BASE, params={"state": "rejected"})).json()["items"]) == 1


async def test_a_reason_may_be_two_chinese_characters_but_not_one_letter(client: httpx2.AsyncClient) -> None:
    await store(client, unborn())
    entry_id = await held_id(client)
    for reason, status in (("x", 422), (" 误 ", 422), ("误传", 200)):
        reply = await client.post(f"{BASE}/{entry_id}/reject", json={"version": 1, "reason": reason})
        assert reply.status_code == status, reason


async def test_a_withdrawn_proposal_and_a_stale_look_change_nothing(client: httpx2.AsyncClient) -> None:
    await store(client, unborn())
    entry_id = await held_id(client)
    change = {"version": 1, "reason": "ward said so", "birth_date": "19500101"}
    assert (await client.post(f"{BASE}/{entry_id}/identity", json=change)).status_code == 200
    stale = await client.post(f"{BASE}/{entry_id}/reject", json={"version": 1, "reason": "phantom"})
    assert (stale.status_code, stale.json()["code"]) == (409, "quarantine-moved")
    withdrawn = await client.delete(f"{BASE}/{entry_id}/identity", params={"version": 2})
    assert (withdrawn.json()["proposal"], withdrawn.json()["version"]) == (None, 3)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"birth_date": "20250101"},
        {"birth_date": "1950-01-01"},
        {"sex": "male"},
        {"patient_name": "A\\B"},
        {"study_uid": "1.2"},
    ],
)
async def test_a_correction_that_says_nothing_or_nonsense_is_refused(
    client: httpx2.AsyncClient, change: dict[str, str]
) -> None:
    await store(client, unborn())
    entry_id = await held_id(client)
    reply = await client.post(f"{BASE}/{entry_id}/identity", json={"version": 1, "reason": "because", **change})
    assert reply.status_code in {400, 422}
    assert (await look(client, entry_id))["proposal"] is None


async def test_pages_go_newest_first_and_end(client: httpx2.AsyncClient) -> None:
    for _ in range(5):
        await store(client, unborn())
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await client.get(BASE, params={"limit": 2, "cursor": cursor})).json()
        seen += [one["id"] for one in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = page["next_cursor"]
    assert len(seen) == 5
    assert seen == sorted(seen, reverse=True)
    study = (await look(client, seen[2]))["study_uid"]
    alone = (await client.get(BASE, params={"study_uid": study})).json()
    assert [one["id"] for one in alone["items"]] == [seen[2]], "of one study"


CALLS = [
    ("GET", "", Permission.QUARANTINE_READ), ("GET", "/{id}", Permission.QUARANTINE_READ),
    ("POST", "/{id}/identity", Permission.QUARANTINE_DECIDE), ("DELETE", "/{id}/identity?version=1", Permission.QUARANTINE_DECIDE),
    ("POST", "/{id}/release", Permission.QUARANTINE_DECIDE), ("POST", "/{id}/reject", Permission.QUARANTINE_DECIDE),
]  # fmt: skip


async def test_every_role_and_tenant_gets_what_the_table_says(
    any_platform: Platform, door: Door, client: httpx2.AsyncClient
) -> None:
    await store(client, unborn())
    entry_id = await held_id(client)
    for method, path, permission in CALLS:
        url = BASE + path.replace("{id}", entry_id)
        for role in Role:
            async with door_client(door, bearer(any_platform, role)) as caller:
                reply = await caller.request(method, url, json={})
            refused = reply.status_code == 403 and reply.json()["code"] == "denied"
            assert refused is (role not in PERMISSIONS[permission]), (method, path, role)
        async with door_client(door, bearer(any_platform, Role.ADMIN, tenant="elsewhere")) as stranger:
            body = {"version": 1, "reason": "curious", "sex": "F"}
            if path.endswith(("release", "reject")):
                del body["sex"]
            reply = await stranger.request(method, url, json=body if method == "POST" else None)
        assert reply.status_code == (200 if path == "" else 404), (method, path)
        assert reply.json().get("items", []) == []
    assert (await look(client, entry_id))["version"] == 1


async def test_every_step_is_audited_with_the_patient(
    any_platform: Platform, client: httpx2.AsyncClient, second: httpx2.AsyncClient
) -> None:
    await store(client, unborn())
    entry_id = await held_id(client)
    await look(client, entry_id)
    await client.post(f"{BASE}/{entry_id}/identity", json={"version": 1, "reason": "ward", "birth_date": "19500101"})
    await client.post(f"{BASE}/{entry_id}/release", json={"version": 2, "reason": "mine"})
    await second.post(f"{BASE}/{entry_id}/release", json={"version": 2, "reason": "fine"})
    trail = await any_platform.audit.search("demo", limit=100)
    desk = [(e["action"], e["outcome"], e["actor"]) for e in reversed(trail) if e["subject"] == entry_id]
    first = desk[0][2]
    assert desk == [
        ("quarantine.view", "success", first),
        ("quarantine.propose", "success", first),
        ("quarantine.release", "failure", first),
        ("quarantine.release", "success", "second"),
    ]
    assert all(e["patient_id"] == "P1" for e in trail if e["subject"] == entry_id)
    assert any(e["action"] == "quarantine.list" for e in trail)


async def test_the_policy_is_a_setting_and_empty_holds_nothing(any_platform: Platform) -> None:
    async with (
        archive_door(any_platform, ingest=IngestSettings(quarantine_findings="")) as open_door,
        door_client(open_door, bearer(any_platform, Role.ADMIN)) as client,
    ):
        assert (await store(client, unborn())).status_code == 200
    with pytest.raises(ValueError, match="no finding"):
        IngestSettings(quarantine_findings="nonsense")
    with pytest.raises(ValueError, match="rejects"):
        IngestSettings(quarantine_findings="pixel-data-short")


async def test_what_waits_is_a_metric(any_platform: Platform, client: httpx2.AsyncClient) -> None:
    clock = FakeClock()
    measure = HeldMeasure(any_platform.database, clock)

    async def told() -> int:
        await measure.turn()
        text = (await client.get("/metrics")).text
        [line] = [one for one in text.splitlines() if one.startswith("consilium_quarantine_held ")]
        return int(float(line.split()[1]))

    for _ in range(2):
        await store(client, unborn())
    assert await told() == 2
    entry_id = (await client.get(BASE)).json()["items"][0]["id"]
    await client.post(f"{BASE}/{entry_id}/reject", json={"version": 1, "reason": "a test phantom"})
    clock.advance(60)
    assert await told() == 1
