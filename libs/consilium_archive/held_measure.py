"""How many objects wait in quarantine, as a metric: counted when the store's care takes its turn, at most once in ``_EVERY``."""

from __future__ import annotations

from datetime import datetime, timedelta

from prometheus_client import Gauge
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from consilium_archive.quarantine_table import quarantine
from consilium_core.clock import Clock
from consilium_platform.sql import Database

HELD = Gauge("consilium_quarantine_held", "Objects that wait in quarantine for a person's decision, of all tenants.")
_EVERY = timedelta(seconds=15)


class HeldMeasure:
    """Keeps the gauge; every process that runs the care reports the same number, of the database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._counted: datetime | None = None

    async def turn(self) -> None:
        """Count unless that was done just now."""
        now = self._clock.now()
        if self._counted is None or not timedelta() <= now - self._counted < _EVERY:
            HELD.set(await self._database.query(_count))
            self._counted = now


def _count(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(quarantine).where(quarantine.c.state == "held")) or 0
