"""The account of a strained archive: what was acknowledged against what is listed, read, announced and stored.

``Evidence`` is what the senders know; ``settle`` reads everything once more and writes each thing that is wrong into the ``Account``.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from sqlalchemy import select

from consilium_archive.reconcile import Reconciler
from consilium_core.clock import SystemClock
from consilium_core.events import EventType
from consilium_platform.blobs import open_stores
from consilium_platform.outbox import outbox
from consilium_platform.settings import PlatformSettings
from consilium_platform.sql import open_database
from consilium_testkit.kill_rooms import heard

RETRY = (429, 500, 502, 503, 504)


@dataclass(slots=True)
class Account:
    """What is counted. ``orphans``: bytes of requests that a kill cut off; no search shows them, ``reconcile`` removes them."""

    kills: int = 0
    stops: list[str] = field(default_factory=list)
    sent: int = 0
    requests: int = 0
    sent_again: int = 0
    acknowledged: int = 0
    listed: int = 0
    whole: int = 0
    looked_at: int = 0
    announced: int = 0
    heard: int = 0
    heard_again: int = 0
    orphans: int = 0
    temporary_counted: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def line(self, world: str) -> str:
        """Return the account as one line of JSON."""
        return json.dumps({"figure": "kill_archive", "world": world, **asdict(self)})


@dataclass(slots=True)
class Evidence:
    """What senders and looker know. ``sent``: SOP Instance UID -> SHA-256 of all that was ever sent; ``owed``: acknowledged."""

    client: Callable[[], httpx2.AsyncClient]
    journal: Path
    sent: dict[str, str] = field(default_factory=dict)
    owed: set[str] = field(default_factory=set)
    account: Account = field(default_factory=Account)

    async def whole(self, client: httpx2.AsyncClient, one: dict[str, Any]) -> bool:
        """Read a listed instance; write down what is wrong with it, but not that a server behind was away."""
        study, series, sop = (one[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
        path = f"/dicomweb/studies/{study}/series/{series}/instances/{sop}"
        answer = await client.get(path, headers={"Accept": 'application/dicom; transfer-syntax="*"'})
        if answer.status_code in RETRY:
            return False
        if answer.status_code != 200 or hashlib.sha256(answer.content).hexdigest() != self.sent.get(sop):
            self.account.wrong.append(f"{sop} is listed, but reading it gives {answer.status_code}")
            return False
        return True

    async def settle(self, settings: PlatformSettings) -> Account:
        """Read everything and count; the server runs and nobody sends."""
        account = self.account
        account.acknowledged = len(self.owed)
        seen = await self._read_all()
        if missing := self.owed - seen:
            account.wrong.append(f"{len(missing)} acknowledged instances are not listed")
        if strange := seen - self.sent.keys():
            account.wrong.append(f"{len(strange)} instances are listed that nobody sent")
        await self._count_announced(settings, seen)
        async with open_database(settings.sql_url) as database, open_stores(settings) as stores:
            report = await Reconciler(database, stores, SystemClock(), safe_age_s=0).run(apply=False)
            place = report.places["first"]
            account.orphans = place.orphan_count
            keys = await stores.first.list("")
        account.temporary_counted = sum(1 for key in keys if not _whole_name(key))
        if report.damaged or report.wrong_counts or place.rows != len(seen) or account.temporary_counted:
            account.wrong.append(f"index and store differ: {json.dumps(report.wire())[:1000]}")
        return account

    async def _read_all(self) -> set[str]:
        """Return the SOP Instance UIDs that are listed; each is read whole, each series' metadata names the same ones."""
        seen: set[str] = set()
        series: Counter[tuple[str, str]] = Counter()
        at = 0
        while True:
            async with self.client() as client:
                page = (await client.get(f"/dicomweb/instances?limit=1000&offset={at}")).raise_for_status().json()
                for one in page:
                    seen.add(one["00080018"]["Value"][0])
                    series[one["0020000D"]["Value"][0], one["0020000E"]["Value"][0]] += 1
                    self.account.whole += await self.whole(client, one)
            at += len(page)
            if not page:
                break
        self.account.listed = at
        if self.account.whole != at or len(seen) != at:
            self.account.wrong.append(f"of {at} listed {len(seen)} are different and {self.account.whole} whole")
        async with self.client() as client:
            for (study, name), count in series.items():
                told = (await client.get(f"/dicomweb/studies/{study}/series/{name}/metadata")).raise_for_status().json()
                if len(told) != count:
                    self.account.wrong.append(f"series {name} lists {count} instances and has metadata of {len(told)}")
        return seen

    async def _count_announced(self, settings: PlatformSettings, seen: set[str]) -> None:
        """Compare with the outbox and with what the subscriber heard, once nothing waits to be published."""
        stored = select(outbox.c.seq, outbox.c.subject).where(outbox.c.type == EventType.INSTANCE_STORED.value)
        async with open_database(settings.sql_url) as database, asyncio.timeout(60):
            waiting = True
            while waiting:
                async with database.read() as session:
                    waiting = (await session.execute(stored.where(outbox.c.published_at.is_(None)))).first() is not None
                    rows: dict[int, str] = {row.seq: row.subject for row in await session.execute(stored)}
                waiting = waiting or not rows.keys() <= {seq for seq, _ in heard(self.journal)}
                await asyncio.sleep(0.05)
        told = heard(self.journal)
        account = self.account
        account.announced, account.heard = len(rows), len({sop for _, sop in told})
        account.heard_again = len(told) - len(set(told))
        if set(rows.values()) != seen or len(rows) != len(seen):
            account.wrong.append(f"{len(rows)} events for {len(seen)} instances")
        if not set(told) <= set(rows.items()):
            account.wrong.append("the subscriber heard of something that is not in the outbox")


def _whole_name(key: str) -> bool:
    """Tell whether a key is one that the store is to have: an original named by its SHA-256, or a derivative."""
    return not key.startswith("originals/") or len(key.rpartition("/")[2].split(".")[0]) == 64
