"""What the storage commands do: open database and places from the settings, work, print, return an exit status.

The platform as a whole is not opened: an outbox relay of this process would take events from the one of a running ``consilium up``.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from consilium.ops import system_user
from consilium.state import data_folder
from consilium_archive.care_trail import CareEntry, audited_care
from consilium_archive.drill import DrillAsk, drill
from consilium_archive.reconcile import Reconciler, ReconcileReport
from consilium_archive.removal import remove_doomed
from consilium_archive.retention import LEAST_STAY_DAYS, Retainer
from consilium_archive.scrub import SHARES, Scrubber, ScrubReport
from consilium_archive.storage_status import storage_summary
from consilium_core.clock import Clock, SystemClock
from consilium_core.errors import ConsiliumError, Invalid
from consilium_ingest.storage.settings import StorageSettings
from consilium_platform.audit import AuditLog
from consilium_platform.blobs import BlobStore, Stores, open_stores
from consilium_platform.settings import PlatformSettings
from consilium_platform.sql import Database, open_database
from consilium_platform.telemetry import set_up_logging

__all__ = [
    "DrillAsk", "check_places", "print_status", "run_drill", "run_reconcile", "run_retain", "run_scrub", "set_up_places",
]  # fmt: skip


class NoSecondPlace(Invalid):
    """No place for second copies is set."""

    code = "no-second-place"
    mend = "operator"


@dataclass(frozen=True, slots=True)
class Opened:
    """What a command works with."""

    settings: PlatformSettings
    storage: StorageSettings
    database: Database
    stores: Stores
    clock: Clock

    @property
    def folder(self) -> Path:
        """Return where large objects pass through."""
        folder = self.settings.data_dir / "spool"
        folder.mkdir(parents=True, exist_ok=True)
        return folder


@asynccontextmanager
async def opened(data: Path | None) -> AsyncIterator[Opened]:
    """Open database and places of the environment's settings."""
    settings = PlatformSettings.load()
    if settings.database_url is None:
        settings = PlatformSettings.load(data_dir=data_folder(data))
    set_up_logging(settings.log_format, "warning")
    async with open_database(settings.sql_url) as database, open_stores(settings) as stores:
        yield Opened(settings, StorageSettings.load(), database, stores, SystemClock())


def _run(data: Path | None, work: Callable[[Opened], Awaitable[int]]) -> int:
    async def whole() -> int:
        async with opened(data) as given:
            return await work(given)

    return asyncio.run(whole())


def say(line: str) -> None:
    """Print one line."""
    sys.stdout.write(line + "\n")


def say_json(report: Any) -> None:
    """Print a report as JSON."""
    say(json.dumps(report, indent=2, ensure_ascii=False, default=str))


def seconds(text: str) -> float:
    """Return seconds of ``30m``, ``24h`` or ``7d``."""
    match = re.fullmatch(r"(\d+)([smhd])", text.strip())
    if match is None:
        raise Invalid(f"{text} is no length of time: write 30m, 24h or 7d.")
    return int(match[1]) * {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}[match[2]]


# -- places --------------------------------------------------------------------------------------------------------


async def _place(store: BlobStore) -> list[str]:
    """Return what is wrong with one place, one sentence each."""
    try:
        await store.ping()
        return await _drift(store)
    except ConsiliumError as problem:
        return [problem.detail]


async def _drift(store: BlobStore) -> list[str]:
    from consilium_platform import blobs_bucket
    from consilium_platform.blobs_s3 import S3Blobs

    return await store.administer(blobs_bucket.drift) if isinstance(store, S3Blobs) else []


def check_places(data: Path | None, *, as_json: bool) -> int:
    """Print each place and what is wrong with it; return 1 if anything is."""

    async def work(given: Opened) -> int:
        places: list[tuple[str, str, BlobStore]] = [("first", given.settings.blob_store, given.stores.first)]
        if given.stores.copy is not None:
            places.append(("copy", given.settings.copy_store, given.stores.copy))
        problems = [await _place(store) for _, _, store in places]
        if as_json:
            named = [{"place": place, "kind": kind} for place, kind, _ in places]
            say_json([{**one, "problems": wrong} for one, wrong in zip(named, problems, strict=True)])
        else:
            for (place, kind, _), wrong in zip(places, problems, strict=True):
                say(f"{place:<6} {kind:<7} {'; '.join(wrong) or 'stands as asked'}")
            if given.stores.copy is None:
                say("No second place is set (CONSILIUM_PLATFORM_COPY_STORE).")
        return int(any(problems))

    return _run(data, work)


def set_up_places(data: Path | None) -> int:
    """Bring each bucket to what the settings ask; return 1 if something still differs."""

    async def work(given: Opened) -> int:
        from consilium_platform import blobs_bucket
        from consilium_platform.blobs_s3 import S3Blobs

        left = 0
        for store in (given.stores.first, given.stores.copy):
            if isinstance(store, S3Blobs):
                await store.administer(blobs_bucket.apply)
                drift = await store.administer(blobs_bucket.drift)
                say(f"{store.place.bucket}: {'; '.join(drift) or 'stands as asked'}")
                left += len(drift)
        return int(left > 0)

    return _run(data, work)


def print_status(tenant: str, data: Path | None) -> int:
    """Print the tenant's sums as JSON."""

    async def work(given: Opened) -> int:
        say_json(await storage_summary(given.database, tenant, copies=given.stores.copy is not None))
        return 0

    return _run(data, work)


def run_drill(ask: DrillAsk, data: Path | None, *, as_json: bool) -> int:
    """Read from the copy alone; return 1 if something did not come back whole."""

    async def work(given: Opened) -> int:
        if given.stores.copy is None:
            raise NoSecondPlace(
                "No second place is set: there is nothing to read from (CONSILIUM_PLATFORM_COPY_STORE)."
            )
        report = await drill(given.database, given.stores.copy, given.clock, ask)
        if as_json:
            say_json(report.wire())
        else:
            say(
                f"{report.instances} instances of {report.studies} studies, {report.bytes} bytes in {report.seconds:.1f} s "
                f"from the second place; {len(report.failed)} failed, {report.not_copied} not copied yet."
            )
            for one in report.failed[:20]:
                say(f"  {one['sop_instance_uid']} {one['problem']}")
        return int(not report.passed)

    return _run(data, work)


# -- retention, scrubbing, reconciliation --------------------------------------------------------------------------


def _actor() -> str:
    return f"command line of {system_user()}"


def run_retain(tenant: str, data: Path | None, *, apply: bool, as_json: bool) -> int:
    """List or remove what is past its rule."""

    async def work(given: Opened) -> int:
        retainer = Retainer(given.database, AuditLog(given.database), given.clock, given.storage.retention, _actor())
        found = [one async for one in (retainer.apply(tenant) if apply else retainer.due(tenant))]
        removed = await remove_doomed(given.database, given.stores, given.clock) if apply else None
        recent = await retainer.recent(tenant)
        if as_json:
            due = [asdict(one) for one in found]
            say_json({"applied": apply, "due": due, "recent": recent, "bytes": asdict(removed) if removed else None})
            return 0
        for one in found:
            what = "held" if one.held else "removed" if one.removed else "due"
            say(f"{one.tenant} {one.study_uid} {one.rule}: {one.instances} instances, {one.size_bytes} bytes, {what}")
        free = [one for one in found if not one.held]
        say(
            f"{sum(one.instances for one in free)} instances {'removed' if apply else 'to remove (--apply does it)'}, "
            f"{len(found) - len(free)} studies held."
        )
        if recent:
            say(
                f"{recent} studies are past their rule by study date, but stay until nothing has come to them "
                f"for {LEAST_STAY_DAYS} days."
            )
        return 0

    return _run(data, work)


def run_scrub(data: Path | None, *, everything: bool, damaged: bool, as_json: bool) -> int:
    """Read back and repair; return 1 if damage is left."""

    async def work(given: Opened) -> int:
        scrubber = Scrubber(given.database, given.stores, given.folder, given.clock)
        report, shares = ScrubReport(), 1 if everything else SHARES
        which = "what is damaged" if damaged else "everything" if everything else "a thirtieth"
        async with audited_care(given.database, CareEntry(_actor(), "storage.scrub", which, lambda: report.words)):
            await (scrubber.run_damaged(report) if damaged else scrubber.run(shares=shares, report=report))
        if as_json:
            say_json({"sound": report.sound, **report.wire()})
        else:
            say(f"{report.words}.")
            for one in report.open[:20]:
                say(f"  {one['kind']} in the {one['place']} place: {one['tenant']} {one['sha256']}")
        return int(not report.sound)

    return _run(data, work)


def run_reconcile(safe_age: str, data: Path | None, *, apply: bool, as_json: bool) -> int:
    """Compare index and store; return 2 for damage, 1 for any other difference, 0 for none."""
    age_s = seconds(safe_age)

    async def work(given: Opened) -> int:
        reconciler = Reconciler(given.database, given.stores, given.clock, safe_age_s=age_s)
        report, removed = ReconcileReport(apply), None
        if apply:
            entry = CareEntry(_actor(), "storage.reconcile", f"safe age {safe_age}", lambda: report.words)
            async with audited_care(given.database, entry):
                await reconciler.run(apply=True, report=report)
            removed = await remove_doomed(given.database, given.stores, given.clock)
        else:
            await reconciler.run(apply=False, report=report)
        if as_json:
            say_json({**report.wire(), "bytes": asdict(removed) if removed else None})
        else:
            held = {f"{name}, held objects": place for name, place in report.held.items()}
            for name, place in (report.places | held).items():
                say(
                    f"{name}: {place.rows} rows, {place.objects} objects: {place.missing_count} missing, "
                    f"{place.wrong_size_count} of another size, {place.orphan_count} orphans, {place.young} young"
                )
            say(f"{len(report.wrong_counts)} studies with wrong counts, {report.lost_segments} lost upload segments.")
        return 2 if report.damaged else int(not report.clean)

    return _run(data, work)
