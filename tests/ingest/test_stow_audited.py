"""A request's audit entry is written in the transaction that indexes its objects: neither is without the other."""

from __future__ import annotations

import httpx2
import pytest

from consilium_core.errors import Unavailable
from consilium_platform.audit import AuditLog
from consilium_platform.platform import Platform
from consilium_testkit.instances import ct_instance, multipart, uids_of


async def stow(client: httpx2.AsyncClient, files: list[bytes]) -> httpx2.Response:
    body, media = multipart(files)
    return await client.post("/dicomweb/studies", content=body, headers={"Content-Type": media})


async def test_one_request_is_an_entry_for_what_is_stored_and_one_for_what_is_not(
    any_platform: Platform, client: httpx2.AsyncClient
) -> None:
    files = [ct_instance(side=8) for _ in range(70)]  # more than one batch
    cut = ct_instance(side=64, PatientID="P9")[:-1000]
    response = await stow(client, [*files, files[0], cut])
    assert response.status_code == 202
    failed, entry = await any_platform.audit.search("demo", action="instance.store")
    assert (failed["outcome"], failed["subject"], failed["patient_id"]) == ("failure", uids_of(cut)[0], "P9")
    assert failed["detail"] == f"stored 0, refused 1: instance-rejected ({uids_of(cut)[2]} pixel-data-truncated)"
    assert entry["outcome"] == "success"
    assert str(entry["detail"]).startswith("stored 71, refused 1: ")
    again = await stow(client, files[:2])
    assert again.status_code == 200
    newest, *_ = await any_platform.audit.search("demo", action="instance.store")
    assert newest["detail"] == "stored 2"
    assert (await any_platform.audit.verify("demo")).ok


async def test_what_cannot_be_audited_is_not_stored(
    any_platform: Platform, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = ct_instance(side=8)

    def broken(*_: object) -> None:
        raise Unavailable("The trail is out.")

    with monkeypatch.context() as patched:
        patched.setattr(AuditLog, "append", broken)
        assert (await stow(client, [file])).status_code == 503
    listed = await client.get(f"/dicomweb/instances?SOPInstanceUID={uids_of(file)[2]}")
    assert listed.json() == []
    assert (await stow(client, [file])).status_code == 200
    assert len(await any_platform.audit.search("demo", action="instance.store")) == 1


async def test_what_was_whole_before_a_request_broke_is_kept_and_audited(
    any_platform: Platform, client: httpx2.AsyncClient
) -> None:
    files = [ct_instance(side=8, PatientID="whole") for _ in range(3)]
    body, media = multipart(files)
    broken = await client.post("/dicomweb/studies", content=body[:-200], headers={"Content-Type": media})
    assert broken.status_code == 202
    answer = broken.json()
    assert [len(answer[tag]["Value"]) for tag in ("00081199", "0008119A")] == [2, 1], "two whole ones, and the rest"
    kept = (await client.get("/dicomweb/instances?PatientID=whole")).json()
    entries = await any_platform.audit.search("demo", action="instance.store")
    assert len(entries) == 1
    assert len(kept) == 2
