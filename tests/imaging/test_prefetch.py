"""Priors are hot before the expert opens them, with the reason shown: in both worlds, whatever the bus lost, for nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx2
import pytest
import pytest_asyncio
from fastapi import FastAPI
from starlette.responses import JSONResponse, Response

from consilium_archive.errors import OriginalArchived
from consilium_archive.prior_rule import Bounds
from consilium_archive.reader import ArchiveReader, Scope
from consilium_consult.app import open_service as open_consult
from consilium_core.clock import FakeClock
from consilium_core.errors import ConsiliumError
from consilium_core.events import EventType
from consilium_core.ids import new_uid
from consilium_core.roles import PERMISSIONS, Permission, Role
from consilium_imaging import prefetch, retries
from consilium_imaging.bookings import Booking, Bookings, Told
from consilium_imaging.prefetch import Prefetch, PrefetchDesk, PrefetchRule
from consilium_imaging.retries import Problem, Retries
from consilium_imaging.settings import ImagingSettings
from consilium_platform.blobs import BlobsUnavailable
from consilium_platform.outbox import add_event
from consilium_platform.platform import Platform
from consilium_testkit.archive_rooms import archive_door, door_client
from consilium_testkit.instances import ct_instance, uids_of
from consilium_testkit.platforms import TENANT, bearer

from .test_retrieve import store

WANG = {
    "patient_id": "P1", "issuer": "", "name": "Wang^Xiaodong=王^小东", "birth_date": "19600203", "sex": "M",
}  # fmt: skip


@dataclass
class Booked:
    """Imaging behind its door, with a consult of the test's."""

    platform: Platform
    folder: Path
    again_s: float = 3600.0
    consultations: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    client: httpx2.AsyncClient = field(init=False)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Booked]:
        settings = ImagingSettings.load(
            hot_dir=self.folder, prefetch_studies=2, prefetch_bytes=1 << 20, prefetch_again_s=self.again_s
        )
        async with (
            archive_door(self.platform, imaging=settings) as door,
            door_client(door, bearer(self.platform, Role.ADMIN)) as client,
        ):
            self.client = client
            yield self

    async def tell(self, consultation: str, state: str, **facts: Any) -> None:
        known = self.consultations.setdefault(
            consultation, {"id": consultation, "study_uid": new_uid(), "patient": WANG}
        )
        known.update(facts, state=state)
        async with self.platform.database.write() as session:
            await add_event(
                session, EventType.CONSULTATION_CHANGED, tenant=TENANT, subject=consultation, data={"state": state}
            )
        self.platform.outbox.wake()

    async def priors(self, consultation: str) -> dict[str, Any]:
        study = self.consultations[consultation]["study_uid"]
        return dict((await self.client.get(f"/api/v1/imaging/studies/{study}/priors")).json())

    async def until(self, consultation: str, wanted: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """Return the priors once they are as wanted."""
        async with asyncio.timeout(20):
            while not wanted(items := (await self.priors(consultation)).get("items", [])):
                await asyncio.sleep(0.02)
        return list(items)


def all_hot(items: list[dict[str, Any]]) -> bool:
    return bool(items) and all(one["state"] == "hot" and one["hot_at"] for one in items)


@pytest_asyncio.fixture
async def booked(any_platform: Platform, tmp_path: Path) -> AsyncIterator[Booked]:
    """Yield an imaging that is not open yet."""
    found = Booked(any_platform, tmp_path / "hot")
    consult = FastAPI()

    @consult.get("/internal/v1/consultations/{consultation}")
    async def get(consultation: str) -> Response:
        found.asked.append(consultation)
        known = found.consultations[consultation]
        status, code = known.get("down", (200, None))
        return JSONResponse(known if code is None else {"code": code}, status)

    any_platform.services.register("consult", consult)
    yield found


def study_of(day: str, **more: Any) -> list[bytes]:
    study = new_uid()
    return [
        ct_instance(side=16, StudyInstanceUID=study, StudyDate=day, InstanceNumber=n, **more) for n in range(3)
    ]  # fmt: skip


async def test_the_prior_is_hot_before_it_is_opened_and_says_why(booked: Booked, world: str) -> None:
    async with booked.open():
        current = study_of("20240301")
        alike, newer = study_of("20200101"), study_of("20230101", Modality="MR", BodyPartExamined="HEAD")
        oldest = study_of("20190101", Modality="MR", BodyPartExamined="HEAD")
        other = study_of("20240101", PatientBirthDate="19990101")  # the same number, another person
        await store(booked.client, *current, *alike, *newer, *oldest, *other)
        await booked.tell("c1", "requested", study_uid=_study(current))
        items = await booked.until("c1", all_hot)
        assert [(one["study_uid"], one["reason"]["code"]) for one in items] == [
            (_study(alike), "same-modality-and-body-part"), (_study(newer), "newest"),
        ]  # fmt: skip
        assert items[0]["reason"]["text_zh"] == "设备类型和检查部位都相同"
        assert (items[0]["instances"], items[0]["hot_bytes"]) == (3, sum(map(len, alike)))
        if world == "servers":
            for key in await booked.platform.blobs.list("originals/"):
                await booked.platform.blobs.delete(key)
            series = f"/dicomweb/studies/{_study(alike)}"
            got = await booked.client.get(series, headers={"Accept": 'multipart/related; type="application/dicom"'})
            assert got.status_code == 200, "nothing of it is asked of the bucket"
        trail = await booked.platform.audit.search(TENANT, actor="admin", action="study.list")
        assert {(one["subject"], one["patient_id"]) for one in trail} == {("patient of priors", "P1")}


def _study(files: list[bytes]) -> str:
    return uids_of(files[0])[0]


async def test_what_the_bus_lost_is_found_in_the_outbox_and_chosen_once_by_many(booked: Booked, tmp_path: Path) -> None:
    async with booked.open():
        await store(booked.client, *study_of("20200101"))
    await booked.tell("c1", "accepted")  # nobody is there to hear it
    await booked.platform.outbox.relay_once()
    second = Booked(booked.platform, tmp_path / "other disk", consultations=booked.consultations)
    async with booked.open(), second.open():
        for replica in (booked, second):
            await replica.until("c1", all_hot)
    asked = len(booked.asked)
    assert asked in (1, 2), "both may have asked at the same moment"
    async with booked.open():
        await booked.until("c1", all_hot)
        await booked.tell("over", "rejected")
        await booked.tell("other", "requested")
        await wait_for(lambda: booked.asked.count("other") >= 1)
    assert "over" not in booked.asked, "nothing was chosen for it, nothing is asked about it"
    assert booked.asked.count("c1") == asked, "the choice stands"
    assert all_hot(await _rows(booked))


async def _rows(booked: Booked) -> list[dict[str, Any]]:
    async with booked.open():
        return list((await booked.priors("c1"))["items"])


@pytest.mark.parametrize(
    ("status", "code"), [(503, "x"), (404, "not-found"), (403, "denied"), (200, "")], ids=["out", "no such route", "refused", "changed"]
)  # fmt: skip
async def test_a_consultation_that_failed_is_tried_again_and_a_cancelled_one_is_left(
    booked: Booked, monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> None:
    monkeypatch.setattr(retries, "FIRST_S", 0.01)
    monkeypatch.setattr(prefetch, "FIRST_S", 0.01)
    async with booked.open():
        await store(booked.client, *study_of("20200101"))
        await booked.tell("c1", "requested", down=(status, code))
        await wait_for(lambda: booked.asked.count("c1") >= 2)
        del booked.consultations["c1"]["down"]
        await booked.until("c1", all_hot)
        assert (await booked.priors("c1"))["fetching"] is True
        study = booked.consultations["c1"]["study_uid"]
        await booked.tell("c1", "cancelled")

        async def gone() -> bool:
            found = await booked.client.get(f"/api/v1/imaging/studies/{study}/priors")
            return found.json()["consultation_id"] is None

        await wait_for(gone)


async def test_a_consultation_that_consult_does_not_know_is_not_asked_about_again(
    booked: Booked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "FIRST_S", 0.0)
    monkeypatch.setattr(prefetch, "FIRST_S", 0.0)
    async with booked.open():
        await store(booked.client, *study_of("20200101"))
        await booked.tell("c1", "requested", down=(404, "consultation-not-found"))
        await booked.tell("c2", "requested")
        await booked.until("c2", all_hot)
        for state, fetching in (("reporting", True), ("closed", False)):
            await booked.tell("c2", state)

            async def told(wanted: bool = fetching) -> bool:
                return bool((await booked.priors("c2"))["fetching"] is wanted)

            await wait_for(told)
    assert booked.asked.count("c1") == 1


def test_what_fails_is_tried_again_after_longer_and_longer_pauses() -> None:
    clock, one = FakeClock(), Told(TENANT, "c1", 7)
    silent, refused = Retries(clock.monotonic, 86_400.0), Retries(clock.monotonic, 86_400.0)
    assert [silent.failed(one, lasting=False) for _ in range(7)] == [10, 20, 40, 80, 160, 300, 300]
    assert [refused.failed(one, lasting=True) for _ in range(11)][7:] == [1280, 2560, 3600, 3600]
    assert silent.due() == []
    assert silent.holds(Told(TENANT, "c1", 6))
    assert not silent.holds(Told(TENANT, "c1", 8)), "a new event may have mended it"
    clock.advance(300)
    assert (silent.due(), silent.due(), refused.due()) == ([one], [], [])
    silent.done(Told(TENANT, "c1", 6))
    assert silent
    silent.done(one)
    assert not silent
    clock.advance(86_400)
    assert refused.failed(one, lasting=True) is None, "nobody would keep its priors any more"
    assert not refused


class Cold:
    """A reader whose originals are all in the archive."""

    def __init__(self) -> None:
        self.asked = 0

    async def places(self, tenant: str, scope: Scope) -> list[Any]:
        return [SimpleNamespace(key="a"), SimpleNamespace(key="b")]

    async def hot(self, places: Any) -> set[str]:
        return set()

    async def warm(self, place: Any) -> bool:
        self.asked += 1
        raise OriginalArchived("cold", retry_after_s=3600.0 if place.key == "a" else 60.0, restoring=True)


async def test_what_is_being_restored_is_left_alone_until_it_should_be_back(platform: Platform) -> None:
    reader, clock = Cold(), FakeClock()
    nothing: Any = None
    desk = PrefetchDesk(platform.database, cast(Any, reader), nothing, nothing, nothing, clock)
    fetching = Prefetch(desk, PrefetchRule(Bounds(1, 1)))
    seen = []
    for later in (0, 3599, 1):
        clock.advance(later)
        seen.append((await fetching._warm_study(TENANT, "1.2", fresh=True), reader.asked))
    assert seen == [("failed", 2), ("archived", 2), ("failed", 4)]
    assert fetching.problem_of(TENANT, "1.2") == Problem("original-archived", clock.now() + timedelta(hours=1))


async def test_a_new_process_looks_back_as_long_as_priors_are_kept(any_platform: Platform) -> None:
    async with any_platform.database.write() as session:
        for state in ("requested", "closed"):
            await add_event(session, EventType.CONSULTATION_CHANGED, tenant=TENANT, subject="c", data={"state": state})
    rows, now = Bookings(any_platform.database), datetime.now(UTC)
    [told] = await rows.told(0, now - timedelta(days=7))
    assert (told.consultation_id, told.is_over) == ("c", True)
    assert await rows.told(told.seq, now - timedelta(days=7)) == []
    assert await rows.told(0, now + timedelta(minutes=1)) == []


async def test_cancelling_stops_what_is_being_fetched(booked: Booked, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, never = asyncio.Event(), asyncio.Event()

    async def stuck(reader: ArchiveReader, places: Any) -> set[str]:
        begun.set()
        await never.wait()
        return set()

    async with booked.open():
        await store(booked.client, *study_of("20200101"))
        with monkeypatch.context() as patched:
            patched.setattr(ArchiveReader, "hot", stuck)
            await booked.tell("c1", "requested")
            async with asyncio.timeout(20):
                await begun.wait()
        await booked.tell("c1", "cancelled")
        await booked.tell("c2", "requested")  # one at a time: it is served only when the first has been let go
        await booked.until("c2", all_hot)


@pytest.mark.parametrize(
    ("problem", "kept", "state"),
    [
        (OriginalArchived("cold", retry_after_s=60, restoring=True), 0, "waiting"), (BlobsUnavailable("out"), 0, "failed"),
        (BlobsUnavailable("out"), 1, "failed"), (OriginalArchived("cold", retry_after_s=60, restoring=True), 1, "partly"),
        (None, 0, "failed"),
    ],
    ids=["archived", "out", "out half way", "archived half way", "no room"],
)  # fmt: skip
@pytest.mark.parametrize("world", ["embedded"])
async def test_what_keeps_a_prior_from_being_hot_is_said(
    booked: Booked, monkeypatch: pytest.MonkeyPatch, problem: ConsiliumError | None, kept: int, state: str
) -> None:
    async def warm(reader: ArchiveReader, place: Any) -> bool:
        if problem is not None:
            raise problem
        return False

    async def hot(reader: ArchiveReader, places: Any) -> set[str]:
        return {place.key for place in places[:kept]}

    monkeypatch.setattr(ArchiveReader, "warm", warm)
    monkeypatch.setattr(ArchiveReader, "hot", hot)
    async with booked.open():
        await store(booked.client, *study_of("20200101"))
        await booked.tell("c1", "requested")
        [prior] = await booked.until("c1", lambda items: bool(items) and items[0]["problem"] is not None)
        code = "hot-tier-full" if problem is None else problem.code
        assert (prior["state"], prior["problem"], prior["hot_at"]) == (state, code, None)
        assert (prior["again_at"] is not None) is isinstance(problem, OriginalArchived)
        assert (0 < prior["hot_bytes"] < prior["size_bytes"]) is bool(kept)


async def test_only_who_may_read_studies_of_this_hospital_sees_priors(booked: Booked) -> None:
    async with booked.open():
        await store(booked.client, *study_of("20200101"))
        await booked.tell("c1", "requested")
        await booked.until("c1", all_hot)
        path = f"/api/v1/imaging/studies/{booked.consultations['c1']['study_uid']}/priors"
        for role in Role:
            seen = await booked.client.get(path, headers=bearer(booked.platform, role))
            assert seen.status_code == (200 if role in PERMISSIONS[Permission.STUDY_READ] else 403), role
        nothing = {"items": [], "next_cursor": None, "consultation_id": None, "fetching": False}
        foreign = await booked.client.get(path, headers=bearer(booked.platform, Role.ADMIN, tenant="other"))
        unknown = await booked.client.get("/api/v1/imaging/studies/1.2.3/priors")
        assert (foreign.json(), unknown.json()) == (nothing, nothing), "one can't be told from the other"
        del booked.client.headers["Authorization"]
        assert (await booked.client.get(path)).status_code == 401


async def test_a_consultation_that_is_booked_at_consult_makes_the_patients_priors_hot(
    platform: Platform, tmp_path: Path
) -> None:
    """Both rooms are real here: what consult says and what imaging understands is one thing."""
    room = Booked(platform, tmp_path / "hot")
    async with open_consult(platform) as consult, room.open():
        platform.services.register("consult", consult)
        transport = httpx2.ASGITransport(consult, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://consult") as people:
            await store(room.client, *study_of("20200101"), *study_of("20210101", PatientID="P2"))
            operator = bearer(platform, Role.OPERATOR)
            name = {"family": "Wang", "given": "Xiaodong", "ideographic": "王^小东"}
            person = {"patient_id": "P1", "issuer": "H1", "name": name, "birth_date": "19600203", "sex": "M"}
            patient = (await people.post("/api/v1/patients", json=person, headers=operator)).json()
            asked = {"patient_id": patient["id"], "question": "Is it worse?"}
            booked = (await people.post("/api/v1/consultations", json=asked, headers=operator)).json()
            room.consultations[booked["id"]] = booked
            items = await room.until(booked["id"], all_hot)
            assert [(one["study_date"], one["reason"]["code"]) for one in items] == [("20200101", "newest")]


async def test_an_older_event_does_not_undo_a_newer_choice(any_platform: Platform) -> None:
    rows, now = Bookings(any_platform.database), any_platform.clock.now()
    newer, older = (Booking(TENANT, "c1", "1.2", state, seq) for state, seq in (("accepted", 5), ("requested", 4)))
    assert await rows.choose(newer, [], now)
    assert not await rows.choose(older, [], now)
    assert not await rows.choose(newer, [], now)
    assert await rows.find(TENANT, "c1") == newer


async def wait_for(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while True:
            found = condition()
            if found is True or (not isinstance(found, bool) and await found):
                return
            await asyncio.sleep(0.02)
