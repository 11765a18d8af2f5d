"""The storage commands on a data folder: what they print, what they change, how they end."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from consilium import storage_work
from consilium_archive.care import StorageCare
from consilium_archive.stages import Received, original_key
from consilium_archive.writer import open_writer
from consilium_core.clock import SystemClock
from consilium_core.errors import Invalid
from consilium_platform.audit import AuditLog
from consilium_platform.platform import Platform, open_platform
from consilium_platform.settings import PlatformSettings
from consilium_platform.sql import open_database
from consilium_testkit.instances import ct_instance

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def data(tmp_path: Path, migrated_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the data folder of an embedded world with a folder of second copies."""
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.copyfile(migrated_file, folder / "consilium.db")
    monkeypatch.setenv("CONSILIUM_PLATFORM_COPY_STORE", "folder")
    monkeypatch.setenv("CONSILIUM_PLATFORM_COPY_DIR", str(tmp_path / "copies"))
    return folder


def within(data: Path, work: Callable[[Platform], Awaitable[Any]]) -> Any:
    """Run something with the folder's platform, as a service would."""

    async def whole() -> Any:
        async with open_platform(PlatformSettings.load(data_dir=data), migrate=False) as platform:
            return await work(platform)

    return asyncio.run(whole())


def fill(data: Path, count: int, *, copied: bool = True) -> list[str]:
    """Store instances, with their copies; return their keys."""

    async def work(platform: Platform) -> list[str]:
        async with open_writer(platform.database, platform.blobs, platform.outbox) as writer:
            stored = [await writer.store(Received("demo", ct_instance(side=8))) for _ in range(count)]
        if copied:
            await StorageCare(platform.database, platform.stores, data, SystemClock()).turn()
        return [original_key("demo", one.sha256) for one in stored]

    found: list[str] = within(data, work)
    return found


def age(data: Path, days: int) -> None:
    async def work() -> None:
        async with open_database(PlatformSettings.load(data_dir=data).sql_url) as database, database.write() as session:
            await session.execute(text(f"UPDATE archive_study SET updated_at = datetime(updated_at, '-{days} days')"))

    asyncio.run(work())


def printed(capsys: Capture) -> Any:
    return json.loads(capsys.readouterr().out)


def test_check_names_both_places(data: Path, capsys: Capture) -> None:
    assert storage_work.check_places(data, as_json=False) == 0
    assert capsys.readouterr().out.split("\n")[:2] == [
        "first  folder  stands as asked", "copy   folder  stands as asked",
    ]  # fmt: skip
    assert storage_work.set_up_places(data) == 0


def test_a_drill_reads_everything_from_the_second_place_while_the_first_is_gone(data: Path, capsys: Capture) -> None:
    keys = fill(data, 3)
    shutil.rmtree(data / "objects" / "originals")
    ask = storage_work.DrillAsk("demo")
    assert storage_work.run_drill(ask, data, as_json=True) == 0
    report = printed(capsys)
    assert (report["passed"], report["instances"], report["studies"]) == (True, 3, 3)
    (data.parent / "copies" / keys[0]).write_bytes(b"rotten")
    (data.parent / "copies" / keys[1]).unlink()
    assert storage_work.run_drill(ask, data, as_json=True) == 1
    assert sorted(one["problem"] for one in printed(capsys)["failed"]) == ["blob-not-found", "original-corrupt"]


def test_a_drill_without_a_second_place_says_so(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSILIUM_PLATFORM_COPY_STORE", "none")
    with pytest.raises(Invalid, match="No second place"):
        storage_work.run_drill(storage_work.DrillAsk("demo"), data, as_json=False)


def test_retain_lists_and_with_apply_removes_in_the_name_of_who_called_it(
    data: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(data, 2)
    assert storage_work.run_retain("", data, apply=False, as_json=False) == 0
    assert capsys.readouterr().out == "0 instances to remove (--apply does it), 0 studies held.\n"
    age(data, 15 * 366)
    storage_work.run_retain("", data, apply=False, as_json=False)
    assert capsys.readouterr().out.splitlines()[-1] == "2 instances to remove (--apply does it), 0 studies held."
    storage_work.run_retain("", data, apply=True, as_json=True)
    report = printed(capsys)
    assert [(one["rule"], one["removed"]) for one in report["due"]] == [("exam", True), ("exam", True)]
    assert report["bytes"]["purged"] == 0  # the grace runs; the service's care finishes it

    async def trail(platform: Platform) -> list[dict[str, Any]]:
        assert (await AuditLog(platform.database).verify("demo")).ok
        return await platform.audit.search("demo", action="study.remove")

    entries = within(data, trail)
    assert len(entries) == 2
    fill(data, 1)
    rules = '[{"name":"old","days":1,"since":"study-date"}]'
    monkeypatch.setenv("CONSILIUM_INGEST_STORAGE_RETENTION", rules)
    storage_work.run_retain("", data, apply=False, as_json=False)
    assert "1 studies are past their rule by study date, but stay" in capsys.readouterr().out
    assert entries[0]["actor"].startswith("command line of ")
    storage_work.print_status("demo", data)
    assert printed(capsys)["removals_under_way"] == 2


def test_retention_rules_come_from_the_settings(data: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(data, 1)
    age(data, 11)
    monkeypatch.setenv("CONSILIUM_INGEST_STORAGE_RETENTION", '[{"name": "ct", "days": 10, "modalities": ["CT"]}]')
    storage_work.run_retain("demo", data, apply=False, as_json=True)
    assert [one["rule"] for one in printed(capsys)["due"]] == ["ct"]
    monkeypatch.setenv("CONSILIUM_INGEST_STORAGE_RETENTION", '[{"name": "ct", "days": 10, "modality": "CT"}]')
    with pytest.raises(Invalid, match="CONSILIUM_INGEST_STORAGE_RETENTION"):
        storage_work.run_retain("demo", data, apply=False, as_json=True)


def test_reconcile_and_scrub_find_repair_and_say_so_by_their_exit_status(data: Path, capsys: Capture) -> None:
    keys = fill(data, 3)
    assert storage_work.run_reconcile("24h", data, apply=False, as_json=True) == 0
    assert printed(capsys)["clean"] is True
    lost, rotten = data / "objects" / keys[0], data / "objects" / keys[1]
    lost.unlink()
    assert storage_work.run_reconcile("24h", data, apply=True, as_json=True) == 2
    assert printed(capsys)["places"]["first"]["missing_count"] == 1
    assert storage_work.run_scrub(data, everything=False, damaged=True, as_json=True) == 0
    assert (printed(capsys)["repaired"], lost.exists()) == (1, True)
    rotten.write_bytes(b"x" * rotten.stat().st_size)  # the size is right: only reading it back tells
    assert storage_work.run_reconcile("24h", data, apply=True, as_json=False) == 0
    capsys.readouterr()
    assert storage_work.run_scrub(data, everything=True, damaged=False, as_json=True) == 0
    report = printed(capsys)
    assert (report["objects"], report["corrupt"], report["repaired"], report["sound"]) == (3, 1, 1, True)
    orphan = data / "objects" / "originals" / "demo" / "ff" / f"{'f' * 64}.dcm"
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"no row names me")
    assert storage_work.run_reconcile("24h", data, apply=True, as_json=False) == 0
    assert "0 orphans, 1 young" in capsys.readouterr().out
    assert storage_work.run_reconcile("0s", data, apply=True, as_json=False) == 1
    assert storage_work.run_reconcile("0s", data, apply=True, as_json=False) == 0  # doomed: it goes by itself
    with pytest.raises(Invalid):
        storage_work.run_reconcile("soon", data, apply=False, as_json=False)

    async def trail(platform: Platform) -> list[dict[str, Any]]:
        assert (await AuditLog(platform.database).verify("demo")).ok
        return await platform.audit.search("demo")

    said = [
        (one["action"], one["subject"], one["detail"]) for one in within(data, trail) if "storage." in one["action"]
    ]
    assert [action for action, *_ in reversed(said)] == [
        "storage.reconcile", "storage.scrub", "storage.reconcile", "storage.scrub", *["storage.reconcile"] * 3,
    ], "a run that only reports leaves none"  # fmt: skip
    assert said[-1][2].startswith("1 missing and 0 of another size marked")
    assert said[-2][1:] == ("what is damaged", f"1 originals and held objects, {lost.stat().st_size} bytes: 1 missing, "
                            "0 corrupt, 1 repaired (all tenants)")  # fmt: skip


def test_damage_that_can_not_be_repaired_makes_scrub_fail(data: Path, capsys: Capture) -> None:
    [key] = fill(data, 1, copied=False)
    (data / "objects" / key).write_bytes(b"rotten")
    assert storage_work.run_scrub(data, everything=True, damaged=False, as_json=False) == 1
    assert "corrupt in the first place: demo" in capsys.readouterr().out
