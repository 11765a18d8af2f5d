"""Which sites are there: polls are heartbeats kept in memory, written in one transaction per sweep (SP-23).

A site that appears or has been silent for ``offline_after_s`` is announced as ``site.changed``. With several gateway processes
the database's ``last_seen`` is the newest that any of them saw.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from consilium_core.events import EventType
from consilium_gateway.adapters.tables import site
from consilium_platform.outbox import add_event
from consilium_platform.platform import Platform


class Presence:
    """Last contact by site."""

    def __init__(self, platform: Platform, offline_after_s: float) -> None:
        self._platform = platform
        self._offline_after = timedelta(seconds=offline_after_s)
        self._seen: dict[str, datetime] = {}
        self._dirty: set[str] = set()
        self._writing = asyncio.Lock()

    def last_seen(self, site_id: str) -> datetime | None:
        """Return this process's newest contact."""
        return self._seen.get(site_id)

    async def touch(self, site_id: str) -> None:
        """Note a contact; a site that was away is announced at once."""
        known = site_id in self._seen
        self._seen[site_id] = self._platform.clock.now()
        self._dirty.add(site_id)
        if not known:
            async with self._writing:  # after a restart all come at once: one transaction takes everybody who waits
                if site_id in self._dirty:
                    await self._write()

    async def sweep(self) -> None:
        """Write what was seen, then announce who has gone."""
        async with self._writing:
            await self._write()
        limit = self._platform.clock.now() - self._offline_after
        silent = select(site.c.id).where(site.c.online.is_(True), site.c.last_seen < limit)
        async with self._platform.database.read() as session:
            if not (gone := list((await session.scalars(silent)).all())):
                return
        async with self._platform.database.write() as session:
            for site_id in gone:
                left = (
                    update(site)
                    .where(site.c.id == site_id, site.c.online.is_(True), site.c.last_seen < limit)
                    .values(online=False)
                )
                if (await session.execute(left)).rowcount:  # type: ignore[attr-defined]  # an UPDATE's result has it
                    await announce(session, site_id)
                self._seen.pop(site_id, None)
        self._platform.outbox.wake()

    async def _write(self) -> None:
        if not self._dirty:
            return
        dirty, self._dirty = sorted(self._dirty), set()
        rows = [{"key": site_id, "seen": self._seen[site_id]} for site_id in dirty if site_id in self._seen]
        try:
            async with self._platform.database.write() as session:
                away = select(site.c.id).where(
                    site.c.id.in_(dirty), site.c.online.is_(False), site.c.state == "enrolled"
                )
                back = sorted((await session.scalars(away)).all())
                statement = update(site).where(site.c.id == bindparam("key")).values(last_seen=bindparam("seen"))
                await (await session.connection()).execute(statement, rows)
                for site_id in back:
                    await session.execute(update(site).where(site.c.id == site_id).values(online=True))
                    await announce(session, site_id)
        except BaseException:
            self._dirty.update(dirty)
            raise
        if back:
            self._platform.outbox.wake()

    def forget(self, site_id: str) -> None:
        """Forget a revoked site."""
        self._seen.pop(site_id, None)
        self._dirty.discard(site_id)


async def announce(session: AsyncSession, site_id: str) -> None:
    """Write ``site.changed`` with the row's present state into the transaction."""
    row = (await session.execute(select(site.c.tenant, site.c.online, site.c.state).where(site.c.id == site_id))).one()
    await add_event(
        session, EventType.SITE_CHANGED, tenant=row.tenant, subject=site_id,
        data={"online": row.online, "state": row.state},
    )  # fmt: skip
