"""Retention, holds, tombstones and the removal of bytes (on both worlds)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, get_args

import pytest
from pydantic import ValidationError
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import DBAPIError

from consilium_archive.burial import Burial, bury
from consilium_archive.errors import NotArchived
from consilium_archive.holds import HoldAsk, HoldNotFound, HoldReleased, list_holds, place_hold, release_hold
from consilium_archive.query import Level, PageRule, parse_query
from consilium_archive.reader import ArchiveReader, Scope
from consilium_archive.removal import GRACE_S, InstanceTombstoned, RemovalUnderWay, doom, remove_doomed
from consilium_archive.retention import DEFAULT_RULES, Due, Retainer, RetentionRule
from consilium_archive.stages import Indexed, Origin, OriginKind, Received, original_key
from consilium_archive.storage_tables import removal, tombstone
from consilium_archive.tables import item, series, study
from consilium_archive.writer import ArchiveWriter, WriterLimits, open_writer
from consilium_core.clock import FakeClock
from consilium_core.errors import Invalid
from consilium_core.ids import new_uid
from consilium_core.roles import Principal, Role
from consilium_platform.blobs import BlobNotFound, BlobsUnavailable, Stores
from consilium_platform.platform import Platform
from consilium_testkit.instances import ct_instance

Put = Callable[..., Awaitable[Indexed]]
QC = Principal("user", "quality", "demo", Role.QC, "Quality")
EXAM = RetentionRule(name="exam", days=100)


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock 200 days ahead."""
    return FakeClock(datetime.now(UTC) + timedelta(days=200))


def retainer(platform: Platform, clock: FakeClock, *rules: RetentionRule) -> Retainer:
    return Retainer(platform.database, platform.audit, clock, rules or (EXAM,), "command line of test")


async def all_of(found: AsyncIterator[Due]) -> list[Due]:
    return [one async for one in found]


async def rows_of(platform: Platform, table: Any) -> list[Any]:
    async with platform.database.read() as session:
        return list((await session.execute(select(table))).mappings().all())


async def removed(platform: Platform, stores: Stores, clock: FakeClock) -> int:
    clock.advance(GRACE_S + 1)
    return (await remove_doomed(platform.database, stores, clock)).purged


async def test_what_is_past_its_rule_goes_with_a_tombstone_and_an_audit_entry_and_the_bytes_follow(
    any_platform: Platform, put: Put, reader: ArchiveReader, stores: Stores, clock: FakeClock
) -> None:
    old, young, study_uid = await put(PatientID="P7"), await put(), new_uid()
    async with any_platform.database.write() as session:
        later = clock.now() - timedelta(days=50)
        await session.execute(
            update(study).where(study.c.study_uid == young.study_uid).values(updated_at=later, study_uid=study_uid)
        )
        for one in (old, young):
            row = {"tenant_id": "demo", "study_uid": one.study_uid, "series_uid": one.series_uid}
            await session.execute(insert(item).values(**row, path="00400275.00400007", number=1, value="Chest of P7"))
    key = original_key("demo", old.sha256)
    assert stores.copy is not None
    await stores.copy.put(key, b"the copy")
    keeper = retainer(any_platform, clock)
    due = Due("demo", old.study_uid, "exam", 1, old.size_bytes, held=False)
    assert await all_of(keeper.due()) == [due]
    assert await reader.places("demo", Scope(old.study_uid))  # a dry run changes nothing
    [done] = await all_of(keeper.apply())
    assert (done.study_uid, done.instances, done.removed) == (old.study_uid, 1, True)
    with pytest.raises(NotArchived):
        await reader.places("demo", Scope(old.study_uid))
    assert [row["series_uid"] for row in await rows_of(any_platform, item)] == [young.series_uid]
    [stone] = await rows_of(any_platform, tombstone)
    assert {name: stone[name] for name in ("sop_instance_uid", "sha256", "rule", "actor")} == {
        "sop_instance_uid": old.sop_instance_uid, "sha256": old.sha256, "rule": "exam", "actor": "command line of test",
    }  # fmt: skip
    [entry] = await any_platform.audit.search("demo", action="study.remove")
    assert (entry["subject"], entry["patient_id"]) == (old.study_uid, "P7")
    assert (await any_platform.audit.verify("demo")).ok
    just_now = FakeClock(datetime.now(UTC))
    assert (await remove_doomed(any_platform.database, stores, just_now)).purged == 0  # the grace runs
    assert await stores.first.size(key) == old.size_bytes
    assert await removed(any_platform, stores, clock) == 1
    for store in (stores.first, stores.copy):
        with pytest.raises(BlobNotFound):
            await store.get(key)
    assert await all_of(keeper.apply()) == []


async def test_a_tombstone_can_be_neither_changed_nor_removed(
    any_platform: Platform, put: Put, clock: FakeClock
) -> None:
    await put()
    await all_of(retainer(any_platform, clock).apply())
    for act in (delete(tombstone), update(tombstone).values(actor="nobody")):
        with pytest.raises(DBAPIError):
            async with any_platform.database.write() as session:
                await session.execute(act)


async def test_what_is_under_a_hold_stays_until_the_hold_is_released(
    any_platform: Platform, put: Put, reader: ArchiveReader, clock: FakeClock
) -> None:
    by_study, by_patient, free = await put(PatientID="A"), await put(PatientID="B"), await put(PatientID="C")
    holds = [
        await place_hold(any_platform.database, any_platform.audit, QC, ask)
        for ask in (HoldAsk("a lawsuit", study_uid=by_study.study_uid), HoldAsk("a lawsuit", patient_id="B"))
    ]
    assert [hold.studies for hold in holds] == [1, 1]
    keeper = retainer(any_platform, clock)
    outcome = {one.study_uid: (one.held, one.removed) for one in await all_of(keeper.apply())}
    assert outcome == {
        by_study.study_uid: (True, False), by_patient.study_uid: (True, False), free.study_uid: (False, True),
    }  # fmt: skip
    assert [hold.id for hold in await list_holds(any_platform.database, "demo")] == [holds[1].id, holds[0].id]
    ended = await release_hold(any_platform.database, any_platform.audit, QC, holds[1].id)
    assert ended.released_by == "quality"
    with pytest.raises(HoldReleased):
        await release_hold(any_platform.database, any_platform.audit, QC, holds[1].id)
    assert [one.study_uid for one in await all_of(keeper.apply()) if one.removed] == [by_patient.study_uid]
    assert await reader.places("demo", Scope(by_study.study_uid))
    entries = await any_platform.audit.search("demo", actor="quality")
    assert [(one["action"], one["patient_id"]) for one in entries] == [
        ("hold.release", "B"), ("hold.place", "B"), ("hold.place", "A"),
    ]  # fmt: skip


async def test_a_hold_is_one_tenants_and_names_one_thing_that_is_there(any_platform: Platform, put: Put) -> None:
    stored = await put()
    other = Principal("user", "quality", "other", Role.QC, "Quality")
    with pytest.raises(NotArchived):
        await place_hold(any_platform.database, any_platform.audit, other, HoldAsk("x", study_uid=stored.study_uid))
    for ask in (HoldAsk("x"), HoldAsk("x", study_uid=stored.study_uid, patient_id="P1")):
        with pytest.raises(Invalid):
            await place_hold(any_platform.database, any_platform.audit, QC, ask)
    hold = await place_hold(any_platform.database, any_platform.audit, QC, HoldAsk("x", study_uid=stored.study_uid))
    with pytest.raises(HoldNotFound):
        await release_hold(any_platform.database, any_platform.audit, other, hold.id)
    assert await list_holds(any_platform.database, "other") == []


async def test_a_hold_that_is_placed_between_the_look_and_the_removal_wins(
    any_platform: Platform, put: Put, reader: ArchiveReader, clock: FakeClock
) -> None:
    stored = await put()
    looked = retainer(any_platform, clock)._due("")
    found, which = await anext(looked)
    assert not found.held
    await place_hold(any_platform.database, any_platform.audit, QC, HoldAsk("late", study_uid=stored.study_uid))
    burial = Burial("demo", stored.study_uid, "exam", "test", which)
    done = await any_platform.database.transact(partial(bury, burial=burial, audit=any_platform.audit))
    assert (done.held, done.instances) == (True, 0)
    assert await reader.places("demo", Scope(stored.study_uid))
    await looked.aclose()  # type: ignore[attr-defined]


async def test_the_first_rule_that_fits_decides_and_the_rest_of_the_study_is_recounted(
    any_platform: Platform, writer: ArchiveWriter, reader: ArchiveReader, clock: FakeClock
) -> None:
    study_uid = new_uid()
    exam = await writer.store(Received("demo", ct_instance(side=8, StudyInstanceUID=study_uid)))
    raw = ct_instance(side=8, StudyInstanceUID=study_uid, Modality="ES")
    recording = await writer.store(Received("demo", raw, origin=Origin("capture")))
    rules = (
        RetentionRule(name="elsewhere", days=1, tenants=("other",)),
        RetentionRule(name="raw", days=30, origins=("capture",)),
        RetentionRule(name="exam", days=5000),
    )
    [done] = await all_of(retainer(any_platform, clock, *rules).apply())
    assert (done.rule, done.instances, done.removed) == ("raw", 1, True)
    [left] = await reader.places("demo", Scope(study_uid))
    assert left.sop_instance_uid == exam.sop_instance_uid
    [known] = await rows_of(any_platform, study)
    assert (known["series_count"], known["instance_count"], known["modalities"]) == (1, 1, "\\CT\\")
    assert [row["series_uid"] for row in await rows_of(any_platform, series)] == [exam.series_uid]
    [stone] = await rows_of(any_platform, tombstone)
    assert (stone["sop_instance_uid"], stone["rule"]) == (recording.sop_instance_uid, "raw")


async def test_a_study_that_is_still_added_to_stays_whole(any_platform: Platform, put: Put, clock: FakeClock) -> None:
    study_uid = new_uid()
    await put(StudyInstanceUID=study_uid)
    await put(StudyInstanceUID=study_uid)
    async with any_platform.database.write() as session:
        await session.execute(update(study).values(updated_at=clock.now() - timedelta(days=99)))
    assert await all_of(retainer(any_platform, clock).due()) == []


async def test_a_rule_may_count_from_the_study_date_but_not_for_what_has_just_come(
    any_platform: Platform, put: Put
) -> None:
    await put(StudyDate="19990101")
    await put(StudyDate="")
    await put(StudyDate="20260101")
    rule = RetentionRule(name="exam", days=3650, since="study-date")
    now = datetime.now(UTC)
    assert await all_of(retainer(any_platform, FakeClock(now + timedelta(days=29)), rule).due()) == []
    assert len(await all_of(retainer(any_platform, FakeClock(now + timedelta(days=31)), rule).due())) == 1


async def test_the_defaults_keep_everything_15_years_from_its_last_arrival(any_platform: Platform, put: Put) -> None:
    await put()
    now = datetime.now(UTC)
    for days, expected in ((31, []), (15 * 365, []), (15 * 366 + 1, ["exam"])):
        found = await all_of(retainer(any_platform, FakeClock(now + timedelta(days=days)), *DEFAULT_RULES).due())
        assert [one.rule for one in found] == expected


@pytest.mark.parametrize("origin", get_args(OriginKind))
async def test_a_rule_fits_every_origin_that_there_is_by_its_name(
    any_platform: Platform, writer: ArchiveWriter, clock: FakeClock, origin: OriginKind
) -> None:
    for kind in get_args(OriginKind):
        await writer.store(Received("demo", ct_instance(side=8), origin=Origin(kind)))
    rule = RetentionRule(name="one-door", days=1, origins=(origin,))
    assert [one.instances for one in await all_of(retainer(any_platform, clock, rule).due())] == [1]


def test_a_rule_of_an_origin_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValidationError, match="origins"):
        RetentionRule.model_validate({"name": "raw-recording", "days": 30, "origins": ["recording"]})


async def test_a_run_counts_what_stays_only_for_having_come_lately(any_platform: Platform, put: Put) -> None:
    for date in ("20100101", "20100102", "20991231"):
        await put(StudyDate=date)
    now, rule = datetime.now(UTC), RetentionRule(name="old", days=3650, since="study-date")
    young, later = (retainer(any_platform, FakeClock(now + timedelta(days=days)), rule) for days in (1, 31))
    assert (await all_of(young.due()), await young.recent(), await young.recent("other")) == ([], 2, 0)
    assert (len(await all_of(later.due())), await later.recent()) == (2, 0)
    ever = retainer(any_platform, FakeClock(now), RetentionRule(name="all", days=1), rule)
    assert await ever.recent() == 0, "an earlier rule has them"


async def test_an_instance_with_a_tombstone_is_refused_and_its_bytes_do_not_stay(
    any_platform: Platform, writer: ArchiveWriter, stores: Stores, clock: FakeClock
) -> None:
    data, good = ct_instance(side=8), ct_instance(side=8)
    stored = await writer.store(Received("demo", data))
    await all_of(retainer(any_platform, clock).apply())
    assert await removed(any_platform, stores, clock) == 1
    outcomes = await asyncio.gather(
        *(writer.store(Received("demo", one)) for one in (data, good)), return_exceptions=True
    )
    assert isinstance(outcomes[0], InstanceTombstoned)
    assert isinstance(outcomes[1], Indexed)
    assert isinstance(await writer.store(Received("other", data)), Indexed)  # a tombstone is one tenant's
    assert await stores.first.size(original_key("demo", stored.sha256)) > 0
    assert await removed(any_platform, stores, clock) == 1
    assert await stores.first.list("originals/demo/") == [original_key("demo", outcomes[1].sha256)]


async def test_where_it_is_allowed_a_removed_instance_may_come_back_once_its_bytes_are_gone(
    any_platform: Platform, stores: Stores, clock: FakeClock
) -> None:
    data = ct_instance(side=8)
    limits = WriterLimits(resend="accept")
    async with open_writer(any_platform.database, any_platform.blobs, any_platform.outbox, limits) as writer:
        first = await writer.store(Received("demo", data))
        await all_of(retainer(any_platform, clock).apply())
        with pytest.raises(RemovalUnderWay):
            await writer.store(Received("demo", data))
        await removed(any_platform, stores, clock)
        with pytest.raises(RemovalUnderWay):  # it was put before the bytes were purged, as far as the clocks tell
            await writer.store(Received("demo", data))
        async with any_platform.database.write() as session:
            await session.execute(update(removal).values(removed_at=datetime.now(UTC) - timedelta(minutes=5)))
        again = await writer.store(Received("demo", data))
        assert (again.sha256, again.fresh) == (first.sha256, True)
        assert await rows_of(any_platform, removal) == []
        assert await stores.first.size(original_key("demo", again.sha256)) == again.size_bytes


async def test_bytes_that_an_index_row_names_are_never_removed(
    any_platform: Platform, put: Put, stores: Stores, clock: FakeClock
) -> None:
    stored = await put()
    work = partial(doom, tenant="demo", sha256=stored.sha256, sop_instance_uid=stored.sop_instance_uid, cause="orphan")
    await any_platform.database.transact(work)
    clock.advance(GRACE_S + 1)
    done = await remove_doomed(any_platform.database, stores, clock)
    assert (done.purged, done.lifted) == (0, 1)
    assert await stores.first.size(original_key("demo", stored.sha256)) == stored.size_bytes
    assert await rows_of(any_platform, removal) == []


async def test_a_removal_that_fails_or_is_killed_half_way_is_finished_later(
    any_platform: Platform, put: Put, stores: Stores, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await put()
    key = original_key("demo", stored.sha256)
    assert stores.copy is not None
    await stores.copy.put(key, b"the copy")
    await all_of(retainer(any_platform, clock).apply())
    clock.advance(GRACE_S + 1)

    async def out(_key: str) -> None:
        raise BlobsUnavailable("The object store does not answer.")

    with monkeypatch.context() as patched:
        patched.setattr(stores.first, "purge", out)
        assert (await remove_doomed(any_platform.database, stores, clock)).failed == 1
    [waiting] = await rows_of(any_platform, removal)
    assert (waiting["removed_at"], waiting["problem"]) == (None, "blobs-unavailable")
    assert (await stores.copy.list(""), await stores.first.list("originals/")) == ([], [key])
    assert (await remove_doomed(any_platform.database, stores, clock)).purged == 1
    assert await stores.first.list("originals/") == []
    clock.advance(2 * 86_400)
    await remove_doomed(any_platform.database, stores, clock)
    assert await rows_of(any_platform, removal) == []


async def test_a_kill_inside_the_burial_changes_nothing(
    any_platform: Platform, put: Put, reader: ArchiveReader, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await put()

    class Killed(BaseException):
        """Stands for the end of the process."""

    def killed(*_given: object) -> None:
        raise Killed

    monkeypatch.setattr(any_platform.audit, "append", killed)
    with pytest.raises(Killed):
        await all_of(retainer(any_platform, clock).apply())
    assert await reader.places("demo", Scope(stored.study_uid))
    assert await rows_of(any_platform, tombstone) == []
    assert await rows_of(any_platform, removal) == []
    found = await reader.search("demo", parse_query(Level.STUDY, [], PageRule()), Scope(), "")
    assert found.total == 1
