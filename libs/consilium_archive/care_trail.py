"""The audit entries of what the command line does to the whole store: scrubbing and reconciliation know no tenant, so each tenant's trail has one.

An entry tells of the run as a whole, in numbers; what is damaged in which tenant stands in the storage addresses.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy import select, union
from sqlalchemy.orm import Session

from consilium_archive.quarantine_table import quarantine
from consilium_archive.storage_tables import copy
from consilium_archive.tables import study
from consilium_core.errors import ConsiliumError
from consilium_platform.audit import AuditLog, AuditRecord, Outcome
from consilium_platform.sql import Database

ROLE = "command-line"


@dataclass
class CareEntry:
    """What is written when the block ends: ``subject`` names the way of the run, ``said`` its numbers."""

    actor: str
    action: str
    subject: str
    said: Callable[[], str] = field(default=lambda: "nothing was looked at")


@asynccontextmanager
async def audited_care(database: Database, entry: CareEntry) -> AsyncIterator[CareEntry]:
    """Write the entry into every tenant's trail at the end of the block: a failure if it raised, and how far it had come."""
    try:
        yield entry
    except ConsiliumError as problem:
        await _write(database, entry, "failure", f"broke off ({problem.code}): {entry.said()}")
        raise
    except Exception as problem:
        await _write(database, entry, "failure", f"broke off ({type(problem).__name__}): {entry.said()}")
        raise
    await _write(database, entry, "success", entry.said())


async def _write(database: Database, entry: CareEntry, outcome: Outcome, detail: str) -> None:
    await database.transact(partial(_append, audit=AuditLog(database), entry=entry, outcome=outcome, detail=detail))


def _append(session: Session, audit: AuditLog, entry: CareEntry, outcome: Outcome, detail: str) -> None:
    tenants = sorted(session.scalars(union(*(select(table.c.tenant_id) for table in (study, quarantine, copy)))))
    written = f"{detail} (all tenants)"
    records = [
        AuditRecord(tenant, entry.actor, ROLE, entry.action, outcome, entry.subject, detail=written)
        for tenant in tenants
    ]
    if records:
        audit.append(session, records)
