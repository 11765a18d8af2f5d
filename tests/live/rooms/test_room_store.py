"""The rooms' store keeps its promises on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consilium_core.events import EventType
from consilium_core.frame_ref import FrameRef
from consilium_core.site_protocol import PatientContext
from consilium_live.adapters.sql import SqlRoomStore
from consilium_live.domain.capture import Capture, CaptureState
from consilium_live.domain.room import Room, RoomState
from consilium_live.errors import RoomNotFound
from consilium_live.flow.ports import Stored
from consilium_platform.outbox import add_event
from consilium_platform.platform import Platform

AT = datetime(2030, 1, 1, 12, tzinfo=UTC)


def room(room_id: str = "r1", **more: Any) -> Room:
    facts: dict[str, Any] = {
        "tenant": "demo", "title": "心脏超声", "site_id": "s", "site_name": "County", "modality": "US",
        "study_uid": "1.2", "accession_number": "A", "patient": PatientContext(patient_id="P", name="Wang^X=王^小东"),
        "state": RoomState.PLANNED, "wanted": False, "created_at": AT, "created_by": "u",
    }  # fmt: skip
    return Room(id=room_id, **{**facts, **more})


def capture(capture_id: str = "c1", **more: Any) -> Capture:
    facts: dict[str, Any] = {
        "room_id": "r1", "tenant": "demo", "kind": "clip", "state": CaptureState.REQUESTED, "seconds": 10.0,
        "frame": FrameRef(track_id="t", rtp_timestamp=5), "requested_at": AT, "requested_by": "u", "deadline": AT,
    }  # fmt: skip
    return Capture(id=capture_id, **{**facts, **more})


def facts(one: Room) -> dict[str, Any]:
    return {"state": one.state.value}


@pytest.fixture
def store(any_platform: Platform) -> SqlRoomStore:
    return SqlRoomStore(any_platform.database, any_platform.outbox)


async def test_a_room_comes_back_as_it_was_written(store: SqlRoomStore) -> None:
    written = room(consultation_id="C", waiting_since=AT, started_at=AT + timedelta(seconds=1))
    assert await store.create(written, facts) == written
    assert await store.room("r1", "demo") == written
    with pytest.raises(RoomNotFound):
        await store.room("r1", "other")


async def test_the_first_room_of_a_consultation_wins_even_at_once(store: SqlRoomStore) -> None:
    wishes = [room(f"r{number}", consultation_id="C") for number in range(6)]
    made = await asyncio.gather(*(store.create(wish, facts) for wish in wishes))
    assert len({one.id for one in made}) == 1
    assert len(await store.rooms("demo", before=None, limit=10)) == 1


async def test_changes_at_once_all_count(store: SqlRoomStore) -> None:
    await store.create(room(title="0"), facts)

    async def count() -> None:
        await store.change("r1", lambda r: replace(r, title=str(int(r.title) + 1)), facts)

    await asyncio.gather(*(count() for _ in range(10)))
    assert (await store.room("r1")).title == "10"


@pytest.mark.parametrize("page", [1, 2, 3])
async def test_rooms_page_ended_ones_last_then_newest_first_with_equal_times(store: SqlRoomStore, page: int) -> None:
    for number in range(5):
        await store.create(room(f"r{number}", created_at=AT + timedelta(seconds=number // 2)), facts)
    for over in ("r4", "r1"):
        await store.change(over, lambda r: r.ended(AT), facts)
    seen: list[str] = []
    while found := await store.rooms("demo", before=seen[-1] if seen else None, limit=page):
        seen += [one.id for one in found]
    assert seen == ["r3", "r2", "r0", "r4", "r1"]


async def test_captures_come_back_and_change_under_lock(store: SqlRoomStore) -> None:
    await store.create(room(), facts)
    await store.add_capture(capture())
    assert await store.captures("r1") == [capture()]
    assert await store.ordered_captures() == [capture()]
    done = await store.change_capture("c1", lambda c: c.stored("1.2", "1.2.3"))
    assert done is not None
    assert done.state is CaptureState.STORED
    assert await store.ordered_captures() == []
    assert await store.oldest_request() is None
    assert await store.change_capture("nobody", lambda c: c) is None


async def test_captures_that_wait_for_the_archive_keep_no_order_from_being_followed(store: SqlRoomStore) -> None:
    await store.create(room(), facts)
    for number in range(1001):
        made = replace(capture(), id=f"w{number}", requested_at=AT, settled=True, sop_instance_uid=f"1.{number}")
        await store.add_capture(made)
    fresh = replace(capture(), requested_at=AT + timedelta(hours=1))
    await store.add_capture(fresh)
    assert await store.ordered_captures() == [fresh]
    assert await store.oldest_request() == AT
    assert len(await store.overdue_captures(AT + timedelta(seconds=1))) == 500
    assert await store.overdue_captures(AT) == []
    assert await store.awaited_instance("demo", "1.7") == "w7"
    assert await store.awaited_instance("other", "1.7") == ""


async def test_stored_instances_are_found_in_the_outbox(store: SqlRoomStore, any_platform: Platform) -> None:
    async with any_platform.database.write() as session:
        for number in range(3):
            data = {"capture_id": f"c{number}", "study_uid": "1.2"}
            kind = EventType.INSTANCE_STORED if number else EventType.ROOM_CHANGED
            await add_event(session, kind, tenant="demo", subject=f"1.{number}", data=data)
    found = await store.endings_since(0, datetime.now(UTC) - timedelta(minutes=1))
    assert [(s.capture_id, s.sop_instance_uid, s.study_uid) for s in found if isinstance(s, Stored)] == [
        ("c1", "1.1", "1.2"),
        ("c2", "1.2", "1.2"),
    ]
    assert await store.endings_since(found[-1].seq, AT - timedelta(days=9999)) == []
