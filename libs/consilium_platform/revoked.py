"""Which sites are revoked: a token outlives the revocation by minutes, so rooms that only verify tokens ask here too.

A small set in memory, fed by ``site.changed``, read from the shared table ``site`` at the start and every minute (the bus may lose
an event). Before a caller is refused the table is asked: a site that enrolled anew a moment ago is not turned away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from sqlalchemy import String, column, select, table
from sqlalchemy.orm import Session

from consilium_core.events import Event, EventType
from consilium_platform.bus import EventBus
from consilium_platform.sql import Database
from consilium_platform.tasks import end_task

log = structlog.get_logger()
RELOAD_S = 60.0
_site = table("site", column("id", String), column("state", String))  # the gateway's (migration 0003_gateway)
_REVOKED = "revoked"


class RevokedSites:
    """The revoked sites of all tenants (ids are unique over them); open with ``open_revoked``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ids: frozenset[str] = frozenset()

    def holds(self, site_id: str) -> bool:
        """Say whether the site was revoked, as far as this process has heard; never waits."""
        return site_id in self._ids

    async def confirmed(self, site_id: str) -> bool:
        """Say whether the site is revoked; the table is asked only for those that this process takes for revoked."""
        if site_id not in self._ids:
            return False

        def look(session: Session) -> str | None:
            return session.scalar(select(_site.c.state).where(_site.c.id == site_id))

        if await self._database.query(look) == _REVOKED:
            return True
        self._ids -= {site_id}
        return False

    async def load(self) -> None:
        """Read the table."""

        def look(session: Session) -> frozenset[str]:
            return frozenset(session.scalars(select(_site.c.id).where(_site.c.state == _REVOKED)))

        self._ids = await self._database.query(look)

    def note(self, event: Event) -> None:
        """Take over what ``site.changed`` says."""
        if event.type is EventType.SITE_CHANGED:
            self._ids = (
                self._ids | {event.subject} if event.data.get("state") == _REVOKED else self._ids - {event.subject}
            )

    async def run(self, bus: EventBus) -> None:
        """Follow the bus until cancelled; an outage is waited out."""
        while True:
            try:
                async with bus.subscribe() as subscription:
                    while True:
                        await self.load()
                        ends = asyncio.get_running_loop().time() + RELOAD_S
                        while (left := ends - asyncio.get_running_loop().time()) > 0:
                            if (event := await subscription.next(left)) is not None:
                                self.note(event)
            except Exception as problem:
                log.warning("revoked_sites_unknown", error=type(problem).__name__)
                await asyncio.sleep(1.0)


@asynccontextmanager
async def open_revoked(database: Database, bus: EventBus) -> AsyncIterator[RevokedSites]:
    """Keep the set for the length of the block."""
    revoked = RevokedSites(database)
    try:
        await revoked.load()
    except Exception as problem:  # the database is out or not migrated yet: ``run`` goes on trying
        log.warning("revoked_sites_unknown", error=type(problem).__name__)
    task = asyncio.create_task(revoked.run(bus), name="revoked-sites")
    try:
        yield revoked
    finally:
        await end_task(task)
