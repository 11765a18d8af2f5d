"""Every view of patient data is in the trail before anything is sent; scrolling is one entry a minute."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import httpx2
import pytest

from consilium_archive.reader import ArchiveReader
from consilium_archive.shown import Shown
from consilium_core.clock import FakeClock
from consilium_core.errors import Exhausted
from consilium_core.roles import Principal, Role
from consilium_imaging.views import ViewAudit
from consilium_platform.audit import AuditLog, AuditRecord
from consilium_platform.platform import Platform
from consilium_testkit.archive_rooms import Door, door_client
from consilium_testkit.instances import ct_instance, uids_of
from consilium_testkit.platforms import bearer


async def entries(platform: Platform, **wanted: str) -> list[tuple[str, str, str]]:
    found = await platform.audit.search("demo", **wanted)
    return [(str(one["action"]), str(one["subject"]), str(one["patient_id"])) for one in found]


async def put(client: httpx2.AsyncClient) -> tuple[str, str]:
    file = ct_instance(side=8)
    sent = await client.post("/dicomweb/studies", content=file, headers={"Content-Type": "application/dicom"})
    assert sent.status_code == 200
    study, series, sop = uids_of(file)
    return study, f"/dicomweb/studies/{study}/series/{series}/instances/{sop}"


async def test_frames_of_one_study_are_one_entry_and_study_views_one_each(
    any_platform: Platform, door: Door, client: httpx2.AsyncClient
) -> None:
    study, path = await put(client)
    async with door_client(door, bearer(any_platform, Role.SPECIALIST)) as viewer:
        await asyncio.gather(*(viewer.get(f"{path}/frames/1") for _ in range(20)))
        await viewer.get(f"{path}/rendered")
        assert await entries(any_platform, actor="specialist") == [("study.view", study, "P1")]
        for _ in range(2):
            assert (await viewer.get(f"/dicomweb/studies/{study}/metadata")).status_code == 200
        assert len(await entries(any_platform, actor="specialist", action="study.view")) == 3
        assert (await viewer.get(f"/dicomweb/studies/{study}")).status_code == 200
        assert await entries(any_platform, actor="specialist", action="study.retrieve") == [
            ("study.retrieve", study, "P1")
        ]
        await viewer.get("/dicomweb/studies?PatientName=Wang*")
        await viewer.get("/api/v1/imaging/worklist?q=wang")
        searches = await entries(any_platform, actor="specialist", action="study.search")
        assert searches == [("study.search", "worklist?q", ""), ("study.search", "studies?PatientName", "")]
        assert await entries(any_platform, actor="specialist", action="study.list") == [
            ("study.list", "patient of studies", "P1")
        ]


@pytest.mark.parametrize(
    "path", ["/dicomweb/studies", "/dicomweb/series", "/dicomweb/instances", "/api/v1/imaging/worklist"]
)
async def test_every_patient_that_a_page_shows_is_in_the_trail_and_nobody_else(
    any_platform: Platform, door: Door, client: httpx2.AsyncClient, path: str
) -> None:
    nameless = [ct_instance(side=8, PatientID="") for _ in range(2)]
    for file in (*(ct_instance(side=8, PatientID=patient) for patient in ("P1", "P1", "P2", "P3")), *nameless):
        sent = await client.post("/dicomweb/studies", content=file, headers={"Content-Type": "application/dicom"})
        assert sent.status_code == 200
    async with door_client(door, bearer(any_platform, Role.SPECIALIST)) as viewer:
        for _ in range(2):
            assert (await viewer.get(path)).status_code == 200
        shown = await entries(any_platform, actor="specialist", action="study.list")
        what = f"patient of {path.rsplit('/', 1)[1]}"
        assert sorted(shown) == sorted(
            [("study.list", what, patient) for patient in ("P1", "P2", "P3")]
            + [("study.list", uids_of(file)[0], "") for file in nameless]
        )
    async with door_client(door, bearer(any_platform, Role.REVIEWER)) as other:
        only = {"q": "P2"} if "worklist" in path else {"PatientID": "P2"}
        assert (await other.get(path, params=only)).status_code == 200
        assert [patient for _, _, patient in await entries(any_platform, actor="reviewer", action="study.list")] == [
            "P2"
        ]


async def test_a_trainee_is_denied_and_the_attempt_is_audited(
    any_platform: Platform, door: Door, client: httpx2.AsyncClient
) -> None:
    study, path = await put(client)
    async with door_client(door, bearer(any_platform, Role.TRAINEE)) as trainee:
        for address in ("/dicomweb/studies", f"/dicomweb/studies/{study}/metadata", f"{path}/frames/1", f"{path}/rendered",
                        "/api/v1/imaging/worklist"):  # fmt: skip
            assert (await trainee.get(address)).status_code == 403
    denied = await any_platform.audit.search("demo", actor="trainee")
    assert [(entry["action"], entry["outcome"]) for entry in denied] == [("permission.denied", "denied")] * 5
    async with door_client(door, {}) as nobody:
        assert (await nobody.get("/dicomweb/studies")).status_code == 401


async def test_a_page_whose_patients_cannot_be_audited_is_not_sent() -> None:
    audit = _BrokenAudit()
    views = ViewAudit(audit, _Patient(), FakeClock(), 60.0)
    who = Principal("user", "u1", "demo", Role.SPECIALIST, "U")
    page = [Shown(f"P{n}", "") for n in range(450)]
    with pytest.raises(Exhausted):
        await views.shown(who, "studies", page)
    audit.broken = False
    await views.shown(who, "studies", page)
    await views.shown(who, "series", [*page, Shown("P1", "another issuer")])
    assert audit.written == 451


class _BrokenAudit(AuditLog):
    """A trail that can't be written until it is mended."""

    def __init__(self) -> None:
        self.broken = True
        self.written = 0

    async def record_all(self, records: Sequence[AuditRecord]) -> None:
        if self.broken:
            raise Exhausted("full")
        self.written += len(records)


class _Patient(ArchiveReader):
    """A reader that knows one patient."""

    def __init__(self) -> None:
        pass

    async def patient_of(self, tenant: str, study_uid: str) -> str:
        return "P1"


async def test_a_view_that_cannot_be_audited_is_refused_and_tried_again_next_time() -> None:
    clock, audit = FakeClock(), _BrokenAudit()
    views = ViewAudit(audit, _Patient(), clock, 60.0)
    who = Principal("user", "u1", "demo", Role.SPECIALIST, "U")
    tries = await asyncio.gather(*(views.once(who, "study.view", "1.2") for _ in range(3)), return_exceptions=True)
    assert all(isinstance(one, Exhausted) for one in tries)
    audit.broken = False
    for seconds, written in ((0, 1), (59, 1), (2, 2), (10, 2)):
        clock.advance(seconds)
        await views.once(who, "study.view", "1.2")
        assert audit.written == written
    other = Principal("user", "u2", "demo", Role.SPECIALIST, "V")
    await views.once(other, "study.view", "1.2")
    await views.once(who, "study.view", "1.3")
    assert audit.written == 4
    audit.broken = True
    with pytest.raises(Exhausted):
        await views.study(who, "study.view", "1.2")
