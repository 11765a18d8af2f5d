"""Held objects of one place against the quarantine's rows, merged as originals are with the index's.

An object without an entry comes from a kill between its bytes and its row; its sender was told nothing, and the same object sent again
makes the entry. It is named and left alone: while somebody sends it, nobody can tell it from one that is being entered just now.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import ClassVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from consilium_archive.copies import Wanted
from consilium_archive.damage import Kind
from consilium_archive.quarantine_copies import held_rows, held_tenants, is_expired, mark_held
from consilium_archive.quarantine_table import quarantine
from consilium_archive.reconcile_place import ExpectedRow, PlaceCompare
from consilium_archive.stages import quarantine_key
from consilium_platform.blobs import Entry


@dataclass(slots=True)
class HeldCompare(PlaceCompare):
    """One comparison; ``apply``: damage is marked."""

    prefix: ClassVar[str] = "quarantine/"

    @staticmethod
    def tenants(session: Session) -> list[str]:
        """Return the tenants that the quarantine knows."""
        return held_tenants(session)

    @staticmethod
    def key(row: ExpectedRow) -> str:
        """Return where a held object is to lie."""
        return quarantine_key(row.tenant, row.sha256)

    async def rows(self, tenant: str) -> AsyncGenerator[ExpectedRow]:
        """Yield what is to be in the place; not what the place has been told to expire by now."""
        now = self.clock.now()
        async with aclosing(held_rows(self.database, tenant, self.place)) as rows:
            async for row in rows:
                if not is_expired(self.store, row.held_at, now):
                    yield ExpectedRow(tenant, row.sha256, row.size_bytes, row.sop_instance_uid)

    async def bad(self, row: ExpectedRow, kind: Kind) -> None:
        """An entry whose object is missing or of another size."""
        self.count(row, kind)
        if self.apply:
            wanted = Wanted(row.tenant, row.sha256, row.size_bytes, 0, held=True)
            await self.database.transact(partial(mark_held, wanted=wanted, place=self.place, kind=kind))

    async def stray(self, entry: Entry, tenant: str, sha256: str) -> None:
        """An object that no entry names: on its way, past its time, a copy that is not marked yet, or an orphan."""
        young = entry.modified > self.clock.now() - timedelta(seconds=self.safe_age_s)
        if young or await self.database.query(partial(_entered, tenant=tenant, sha256=sha256)):
            self.found.young += 1
        else:
            self.tell(entry.key)


def _entered(session: Session, tenant: str, sha256: str) -> bool:
    asked = select(quarantine.c.id).where(quarantine.c.tenant_id == tenant, quarantine.c.sha256 == sha256)
    return session.scalar(asked) is not None
