"""One place against the index: both are walked in the order of their keys and merged, so memory does not grow with the archive.

The archive goes on working meanwhile, so what looks wrong is looked at again before it is called so.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import ClassVar

from sqlalchemy import collate, select
from sqlalchemy.orm import Session

from consilium_archive.damage import Kind, Place, mark_damage
from consilium_archive.removal import doom
from consilium_archive.stages import original_key
from consilium_archive.storage_tables import copy, removal
from consilium_archive.tables import instance, study
from consilium_core.clock import Clock
from consilium_core.errors import ConsiliumError
from consilium_dicom.header import read_header
from consilium_platform.blobs import BlobNotFound, BlobStore, Entry
from consilium_platform.sql import Database

ORIGINALS = "originals/"
_HEAD_BYTES = 256 << 10
_SHA256 = re.compile(r"^[0-9a-f]{64}$")
_SHOWN = 1000
_PAGE = 1000


@dataclass(slots=True)
class PlaceReport:
    """What differs; lists hold the first 1,000. ``young``: objects without a row that may still get one; ``doomed``: removed anew."""

    objects: int = 0
    rows: int = 0
    missing: list[dict[str, str]] = field(default_factory=list)
    wrong_size: list[dict[str, str]] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    missing_count: int = 0
    wrong_size_count: int = 0
    orphan_count: int = 0
    doomed: int = 0
    young: int = 0


@dataclass(frozen=True, slots=True)
class ExpectedRow:
    """One original as the index names it."""

    tenant: str
    sha256: str
    size_bytes: int
    sop_instance_uid: str


@dataclass(slots=True)
class PlaceCompare:
    """One comparison; ``apply``: damage is marked and orphans are doomed."""

    database: Database
    place: Place
    store: BlobStore
    clock: Clock
    safe_age_s: float
    apply: bool
    found: PlaceReport = field(default_factory=PlaceReport)
    prefix: ClassVar[str] = ORIGINALS

    @staticmethod
    def tenants(session: Session) -> list[str]:
        """Return the tenants that the index knows."""
        return list(session.scalars(select(study.c.tenant_id).distinct().order_by(study.c.tenant_id)))

    @staticmethod
    def key(row: ExpectedRow) -> str:
        """Return where a row's object is to lie."""
        return original_key(row.tenant, row.sha256)

    async def run(self) -> PlaceReport:
        """Compare every tenant that the store or the index knows."""
        seen: set[str] = set()
        async with aclosing(self.store.entries(self.prefix)) as entries:
            entry = await anext(entries, None)
            while entry is not None:
                tenant = _named(entry.key)[0]
                seen.add(tenant)
                entry = await self._tenant(tenant, entry, entries)
        for tenant in await self.database.query(self.tenants):
            if tenant not in seen:
                async with aclosing(self.rows(tenant)) as rows:
                    async for row in rows:
                        await self._absent(row)
        return self.found

    async def _tenant(self, tenant: str, entry: Entry | None, entries: AsyncGenerator[Entry]) -> Entry | None:
        """Merge one tenant's objects and rows; return the first object of the next tenant."""
        async with aclosing(self.rows(tenant)) as rows:
            row = await anext(rows, None)
            while entry is not None and _named(entry.key)[0] == tenant:
                self.found.objects += 1
                sha256 = _named(entry.key)[1]
                while row is not None and row.sha256 < sha256:
                    await self._absent(row)
                    row = await anext(rows, None)
                if row is not None and row.sha256 == sha256:
                    self.found.rows += 1
                    if entry.size_bytes != row.size_bytes:
                        await self.bad(row, "corrupt")
                    row = await anext(rows, None)
                else:
                    await self.stray(entry, tenant, sha256)
                entry = await anext(entries, None)
            while row is not None:
                await self._absent(row)
                row = await anext(rows, None)
        return entry

    async def rows(self, tenant: str) -> AsyncGenerator[ExpectedRow]:
        """Yield the tenant's originals that are to be in the place, in the order of their keys; the database sorts."""
        name = instance.c.sha256 if self.database.is_sqlite else collate(instance.c.sha256, "C")
        asked = select(instance.c.sha256, instance.c.size_bytes, instance.c.sop_instance_uid)
        asked = asked.where(instance.c.tenant_id == tenant)
        if self.place == "copy":
            same = (copy.c.tenant_id == instance.c.tenant_id) & (copy.c.sha256 == instance.c.sha256)
            asked = asked.join(copy, same).where(copy.c.state == "copied")
        async with self.database.read() as session:
            result = await session.stream(asked.order_by(name), execution_options={"yield_per": _PAGE})
            async for one in result:
                yield ExpectedRow(tenant, one.sha256, one.size_bytes, one.sop_instance_uid)

    async def _absent(self, row: ExpectedRow) -> None:
        """A row whose object was not listed: look again, at the object and at the row."""
        self.found.rows += 1
        try:
            size = await self.store.size(self.key(row))
        except BlobNotFound:
            await self.bad(row, "missing")
        else:
            if size != row.size_bytes:
                await self.bad(row, "corrupt")

    async def bad(self, row: ExpectedRow, kind: Kind) -> None:
        """A row whose object is missing or of another size."""
        named = partial(_indexed, tenant=row.tenant, uid=row.sop_instance_uid, sha256=row.sha256)
        if not await self.database.query(named):
            return  # removed under a retention rule meanwhile
        self.count(row, kind)
        if self.apply:
            await self.database.transact(
                partial(mark_damage, tenant=row.tenant, sha256=row.sha256, place=self.place, kind=kind)
            )

    def count(self, row: ExpectedRow, kind: Kind) -> None:
        """Name a row without a whole object."""
        shown = self.found.missing if kind == "missing" else self.found.wrong_size
        if len(shown) < _SHOWN:
            shown.append({"tenant": row.tenant, "sop_instance_uid": row.sop_instance_uid, "sha256": row.sha256})
        self.found.missing_count += kind == "missing"
        self.found.wrong_size_count += kind == "corrupt"

    async def stray(self, entry: Entry, tenant: str, sha256: str) -> None:
        """An object that no row names: on its way, being removed, or an orphan."""
        if entry.modified > self.clock.now() - timedelta(seconds=self.safe_age_s):
            self.found.young += 1
            return
        if not _SHA256.match(sha256) or entry.key != original_key(tenant, sha256):
            await self._strange(entry.key)  # no row can name it
            return
        if await self.database.query(partial(_doomed, tenant=tenant, sha256=sha256)):
            return
        uid = await self._instance_of(entry.key)
        if await self.database.query(partial(_indexed, tenant=tenant, uid=uid, sha256=sha256)):
            self.found.young += 1  # indexed since the rows were read, or a copy that is not marked yet
            return
        self.tell(entry.key)
        if self.apply:
            await self.database.transact(
                partial(doom, tenant=tenant, sha256=sha256, sop_instance_uid=uid, cause="orphan")
            )
            self.found.doomed += 1

    async def _strange(self, key: str) -> None:
        self.tell(key)
        if self.apply:
            await self.store.purge(key)

    def tell(self, key: str) -> None:
        """Name an orphan."""
        self.found.orphan_count += 1
        if len(self.found.orphans) < _SHOWN:
            self.found.orphans.append(key)

    async def _instance_of(self, key: str) -> str:
        """Return which instance an object holds, so that its row is found by it; empty for what can't be read from its beginning."""
        try:
            return read_header(await self.store.get_range(key, 0, _HEAD_BYTES)).sop_instance_uid
        except BlobNotFound:
            return ""
        except ConsiliumError as problem:
            if problem.mend != "caller":  # the store, not the object
                raise
            return ""


def _named(key: str) -> tuple[str, str]:
    """Return (tenant, SHA-256) of an original's key; what is no such key names no row."""
    parts = key.split("/")
    return parts[1], parts[-1].removesuffix(".dcm")


def _indexed(session: Session, tenant: str, uid: str, sha256: str) -> bool:
    """Tell whether a row names these bytes; without a UID every row of the tenant has to be looked at."""
    asked = select(instance.c.id).where(instance.c.tenant_id == tenant, instance.c.sha256 == sha256)
    return session.scalar(asked.where(instance.c.sop_instance_uid == uid) if uid else asked) is not None


def _doomed(session: Session, tenant: str, sha256: str) -> bool:
    asked = select(removal.c.doomed_at).where(removal.c.tenant_id == tenant, removal.c.sha256 == sha256)
    return session.scalar(asked.where(removal.c.removed_at.is_(None))) is not None
