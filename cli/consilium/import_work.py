"""What ``consilium import`` does: open the target, walk, store or preview, show progress, write the report, return an exit status.

Into a data folder it holds the folder's lock, as ``consilium up`` does, and opens database and store without the platform's relay:
events wait in the outbox for the next start. Into a server it opens only an HTTP client.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from consilium.import_server import open_server
from consilium.ops import system_user
from consilium.state import data_folder
from consilium.up import FolderTaken, check_folder, hold_folder
from consilium_archive.writer import WriterLimits, open_writer
from consilium_core.errors import ConsiliumError, Unauthenticated
from consilium_dicom.policy import parse_policy
from consilium_ingest.importing.here import StoreHere
from consilium_ingest.importing.journal import journal_name, open_journal
from consilium_ingest.importing.outcomes import Tally
from consilium_ingest.importing.preview import Judging, Known, KnownHere, Preview
from consilium_ingest.importing.run import Sink, run_import
from consilium_ingest.importing.sources import Walker, measure
from consilium_ingest.importing.zips import ZipLimits
from consilium_ingest.settings import IngestSettings
from consilium_ingest.storage.settings import StorageSettings
from consilium_platform.audit import AuditLog
from consilium_platform.blobs import open_stores
from consilium_platform.bus import open_bus
from consilium_platform.migrate import upgrade
from consilium_platform.outbox import OutboxRelay
from consilium_platform.settings import PlatformSettings
from consilium_platform.sql import open_database
from consilium_platform.telemetry import set_up_logging

_SHOWN = 200
_PIPED_COLUMNS = 4096  # a line per study, however long its names are: the longest are 64 and some characters


@dataclass(frozen=True, slots=True)
class Ask:
    """What the command line chose."""

    paths: tuple[Path, ...]
    data: Path | None
    server: str | None
    tenant: str
    jobs: int
    preview: bool
    as_json: bool
    report: Path | None


@dataclass(frozen=True, slots=True)
class Target:
    """Where files go, what a preview asks, and where journal, report and copies of ZIP members lie."""

    sink: Sink | None
    known: Known
    name: str
    tenant: str
    folder: Path
    reports: Path
    work: Path


def run_import_command(ask: Ask) -> int:
    """Run it; return 0 when everything is in, 1 when something is not, 130 after Ctrl-C."""
    set_up_logging("console", "warning")
    started = datetime.now(UTC)
    tally = Tally()
    try:
        return asyncio.run(_import(ask, tally, started))
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. Run the same command again: it goes on where it stood.\n")
        return 130


async def _import(ask: Ask, tally: Tally, started: datetime) -> int:
    async with AsyncExitStack() as stack:
        opened = _open_there(ask) if ask.server is not None else _open_here(ask)
        target = await stack.enter_async_context(opened)
        settings = IngestSettings.load()
        judging = Judging(
            target.tenant,
            settings.decode_frames,
            parse_policy(settings.quarantine_findings),
            settings.max_object_bytes,
            ask.jobs,
        )
        preview = Preview(judging, target.known) if ask.preview or target.sink is None else None
        sink = preview or target.sink
        if sink is None:
            raise ValueError("there is nowhere to store")
        walker = Walker(target.work, ZipLimits(member_bytes=settings.max_object_bytes))
        place = target.folder / journal_name(target.tenant, target.name)
        journal = None if preview else stack.enter_context(open_journal(place))
        complete, stopped = False, ""
        try:
            with _progress(ask, await asyncio.to_thread(measure, ask.paths), walker, tally) as told:
                await run_import(walker, walker.walk(ask.paths), sink, journal, tally, told)
            complete = True
        except ConsiliumError as problem:
            stopped = problem.detail
            raise
        finally:
            said: dict[str, Any] = {
                "target": target.name,
                "tenant": target.tenant,
                "preview": ask.preview,
                "complete": complete,
            }
            said |= {"stopped": stopped, "started": started.isoformat(), "ended": datetime.now(UTC).isoformat()}
            report = said | tally.wire() | ({"patients": preview.wire()} if preview else {})
            where = _write_report(ask, target, report, started)
        if journal is not None and not tally.counts["failed"]:
            journal.remove()
    _say(ask, tally, preview, report, where)
    return 0 if tally.all_in and tally.counts.total() else 1


# -- targets -------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _open_there(ask: Ask) -> AsyncIterator[Target]:
    token = os.environ.get("CONSILIUM_TOKEN", "").strip()
    if not token or ask.server is None:
        raise Unauthenticated(
            "Set CONSILIUM_TOKEN to a bearer token of someone who may store: `consilium token --user operator`."
        )
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    with tempfile.TemporaryDirectory(prefix="consilium-import-") as work:
        async with open_server(ask.server, token, ask.jobs) as there:
            yield Target(there, there, ask.server, "", Path(base) / "consilium", Path.cwd(), Path(work))


@asynccontextmanager
async def _open_here(ask: Ask) -> AsyncIterator[Target]:
    settings = PlatformSettings.load()
    async with AsyncExitStack() as stack:
        if settings.database_url is None:
            # a folder that is named is made when it is not there, as `consilium up` does
            settings = PlatformSettings.load(data_dir=ask.data if ask.data is not None else data_folder(None))
            check_folder(settings.data_dir)
            if not ask.preview:
                stack.enter_context(_locked(settings.data_dir))
            if not ask.preview or not (settings.data_dir / "consilium.db").exists():
                await upgrade(settings.sql_url)
        folder = settings.data_dir / "imports"
        folder.mkdir(parents=True, exist_ok=True)
        if settings.database_url is None and not ask.preview:
            for left in folder.glob("work-*"):  # a killed import's: ours is the only one, by the lock
                shutil.rmtree(left, ignore_errors=True)
        prefix = "preview-" if ask.preview else "work-"
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix, dir=folder)))
        database = await stack.enter_async_context(open_database(settings.sql_url))
        known = KnownHere(database, ask.tenant)
        where = settings.data_dir.resolve()
        target = Target(None, known, str(where), ask.tenant, folder, folder, work)
        if ask.preview:
            yield target
            return
        stores = await stack.enter_async_context(open_stores(settings))
        bus = await stack.enter_async_context(open_bus(None))
        ingest, storage = IngestSettings.load(), StorageSettings.load()
        limits = WriterLimits(
            threads=ask.jobs,
            decode=ingest.decode_frames,
            policy=parse_policy(ingest.quarantine_findings),
            resend=storage.resend,
        )
        outbox = OutboxRelay(database, bus)  # not running: the next start announces what was stored
        writer = await stack.enter_async_context(open_writer(database, stores.first, outbox, limits))
        actor = f"command line of {system_user()}"
        sink = StoreHere(writer, AuditLog(database), ask.tenant, actor, ask.jobs, ingest.max_object_bytes)
        yield replace(target, sink=sink)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the data folder, or say how to import while a server runs on it."""
    with ExitStack() as stack:
        try:
            stack.enter_context(hold_folder(folder))
        except FolderTaken as taken:
            raise FolderTaken(
                f"Another consilium is running on the data folder {folder}: import through it with --server URL and a token "
                "in CONSILIUM_TOKEN, or stop it first."
            ) from taken
        yield


# -- what people see -----------------------------------------------------------------------------------------------


@contextmanager
def _progress(ask: Ask, total: int, walker: Walker, tally: Tally) -> Iterator[Callable[[], None]]:
    """Show how far it is, on a terminal's standard error; yield what moves it on. No name of a file or a patient is shown."""
    columns = (TextColumn("{task.description}"), BarColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=ask.as_json or not sys.stderr.isatty()) as bar:
        task = bar.add_task("0 files", total=total or None)

        def told() -> None:
            words = f"{sum(tally.counts.values())} files, {len(tally.missing)} not in"
            bar.update(task, completed=min(walker.read_bytes, total), description=words)

        yield told


def _write_report(ask: Ask, target: Target, report: dict[str, Any], started: datetime) -> Path:
    """Write the report whole or not at all; return where it is."""
    where = ask.report or target.reports / f"consilium-import-{started:%Y%m%dT%H%M%S%f}.json"
    where.parent.mkdir(parents=True, exist_ok=True)
    partial = where.with_name(where.name + ".part")
    partial.write_text(json.dumps(report, indent=2))
    partial.replace(where)
    return where


def _say(ask: Ask, tally: Tally, preview: Preview | None, report: dict[str, Any], where: Path) -> None:
    if ask.as_json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
        return
    console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else _PIPED_COLUMNS)
    if preview is not None:
        console.print(_studies(preview))
    for line in _not_in(tally):
        console.print(line)
    counts = tally.counts
    words = "would be stored" if preview is not None else "stored"
    there = counts["already"] + counts["resumed"]
    console.print(
        Text(
            f"{counts['stored']} {words}, {there} already in, {counts['held']} held, {counts['refused']} refused, "
            f"{counts['failed']} without an answer; {tally.not_dicom} files are not DICOM. Report: {where}"
        )
    )


def _studies(preview: Preview) -> Table:
    table = Table()
    for name in (
        "Patient ID",
        "Name",
        "Study",
        "Description",
        "Series",
        "Instances",
        "Already in",
        "Not taken",
        "Size",
    ):
        table.add_column(name, overflow="fold")  # on as many lines as it needs: nothing of a name or an id is left out
    for patient in preview.wire():
        for one in patient["studies"]:
            series = one["series"]
            sums = [sum(each[name] for each in series) for name in ("instances", "already", "not_taken")]
            kinds = ", ".join(sorted({each["modality"] for each in series}))
            size = f"{sum(each['size_bytes'] for each in series) / 1e6:.1f} MB"
            words = [
                one["patient_id"],
                one["patient_name"],
                one["date"],
                one["description"],
                f"{len(series)} ({kinds})",
            ]
            table.add_row(*(Text(_printable(str(word))) for word in [*words, *sums, size]))
    return table


def _not_in(tally: Tally) -> Iterator[Text]:
    for one in tally.missing[:_SHOWN]:
        codes = ", ".join(dict.fromkeys([one.code, *(str(found["code"]) for found in one.findings)]))
        yield Text(_printable(f"{one.ending}: {one.name}"))
        yield Text(_printable(f"    {one.detail} [{codes}; mended by: {one.mend}]"))
    if len(tally.missing) > _SHOWN:
        yield Text(f"and {len(tally.missing) - _SHOWN} more: the report has them all")


def _printable(text: str) -> str:
    """Return what a terminal can show of a stranger's text: no control characters, no half characters."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
