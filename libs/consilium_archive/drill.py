"""The failover drill: originals are read from the second place alone, as if the first were gone, and checked against their SHA-256."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from consilium_archive.stages import original_key
from consilium_archive.storage_tables import copy
from consilium_archive.tables import instance
from consilium_core.clock import Clock
from consilium_core.errors import ConsiliumError, Unavailable
from consilium_platform.blobs import BlobNotFound, BlobStore
from consilium_platform.sql import Database


@dataclass(slots=True)
class DrillReport:
    """What the copy could serve. ``not_copied``: originals that have no copy yet; ``ended_early``: the time was over."""

    studies: int = 0
    instances: int = 0
    bytes: int = 0
    not_copied: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    slowest_s: float = 0.0
    ended_early: bool = False

    @property
    def passed(self) -> bool:
        """Tell whether everything that was asked for came back whole from the copy."""
        return not self.failed and not self.not_copied

    def wire(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {"passed": self.passed, **asdict(self)}


@dataclass(frozen=True, slots=True)
class DrillAsk:
    """What to read: one study, or the tenant's newest instances, for so long at most."""

    tenant: str
    study_uid: str = ""
    count: int = 500
    seconds: float = 600.0


async def drill(database: Database, second: BlobStore, clock: Clock, ask: DrillAsk) -> DrillReport:
    """Read what is asked for from the second place, one original after the other; return what came back."""
    rows = await database.query(partial(_chosen, ask=ask))
    report, began = DrillReport(), clock.monotonic()
    studies: set[str] = set()
    for row in rows:
        started = clock.monotonic()
        if started - began > ask.seconds:
            report.ended_early = True
            break
        studies.add(row.study_uid)
        report.instances += 1
        if row.state != "copied":
            report.not_copied += 1
            continue
        problem = await _read(second, original_key(ask.tenant, row.sha256), row.sha256)
        report.bytes += row.size_bytes
        report.slowest_s = max(report.slowest_s, clock.monotonic() - started)
        if problem:
            report.failed.append({"sop_instance_uid": row.sop_instance_uid, "problem": problem})
    report.studies, report.seconds = len(studies), clock.monotonic() - began
    return report


async def _read(store: BlobStore, key: str, sha256: str) -> str:
    """Read one original; return what is wrong with it, empty when it is whole."""
    digest = hashlib.sha256()
    try:
        async with aclosing(store.get_stream(key)) as chunks:
            async for chunk in chunks:
                await asyncio.to_thread(digest.update, chunk)
    except (BlobNotFound, Unavailable, TimeoutError) as problem:
        return problem.code if isinstance(problem, ConsiliumError) else "timeout"
    return "" if digest.hexdigest() == sha256 else "original-corrupt"


def _chosen(session: Session, ask: DrillAsk) -> list[Any]:
    same = (copy.c.tenant_id == instance.c.tenant_id) & (copy.c.sha256 == instance.c.sha256)
    asked = (
        select(
            instance.c.study_uid,
            instance.c.sop_instance_uid,
            instance.c.sha256,
            instance.c.size_bytes,
            copy.c.state,
        )
        .select_from(instance.outerjoin(copy, same))
        .where(instance.c.tenant_id == ask.tenant)
    )
    if ask.study_uid:
        asked = asked.where(instance.c.study_uid == ask.study_uid)
    return list(session.execute(asked.order_by(instance.c.id.desc()).limit(ask.count)).all())
