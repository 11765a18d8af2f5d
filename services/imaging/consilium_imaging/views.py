"""The audit of views: nothing is sent before its entry is durable; scrolling through a study is one entry a minute, not 600.

A search is an entry of its own, and so is each patient that its answer shows. ``once`` remembers (person, study, act) for the window. Concurrent first views wait for the same entry; a failed entry is
forgotten, so that the next view tries again. At most ``bound`` memories; the oldest go first (an entry more, never less).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from consilium_archive.reader import ArchiveReader
from consilium_archive.shown import Shown
from consilium_core.clock import Clock
from consilium_core.roles import Principal
from consilium_platform.audit import AuditLog, AuditRecord

_Memory = tuple[float, "asyncio.Future[None]"]
_Key = tuple[str, str, str, str | Shown]
_TOGETHER = 200  # entries of a page that wait for one commit: fewer than the trail writes at once


class ViewAudit:
    """Writes the entries of imaging."""

    def __init__(
        self, audit: AuditLog, reader: ArchiveReader, clock: Clock, window_s: float, bound: int = 10_000
    ) -> None:
        self._audit = audit
        self._reader = reader
        self._clock = clock
        self._window_s = window_s
        self._bound = bound
        self._seen: OrderedDict[_Key, _Memory] = OrderedDict()

    async def study(self, principal: Principal, action: str, study_uid: str, detail: str = "") -> None:
        """Write an entry now; raise NotArchived for a study that is not the tenant's."""
        patient_id = await self._reader.patient_of(principal.tenant, study_uid)
        await self._audit.act(principal, action, subject=study_uid, patient_id=patient_id, detail=detail)

    async def once(self, principal: Principal, action: str, study_uid: str, detail: str = "") -> None:
        """Write an entry unless the same person did the same with the study within the window."""
        await self._once(principal, action, study_uid, lambda: self.study(principal, action, study_uid, detail))

    async def search(self, principal: Principal, level: str, what: str) -> None:
        """Write an entry for a search; ``what`` names the keys, not their values."""
        subject = f"{level}?{what}"[:250]
        await self._once(
            principal, "study.search", subject, lambda: self._audit.act(principal, "study.search", subject=subject)
        )

    async def shown(self, principal: Principal, level: str, patients: Sequence[Shown]) -> None:
        """Write one entry per patient that a page shows, unless the same person was shown the patient within the window.

        The entries of a page wait together, so that they share a commit.
        """
        for start in range(0, len(patients), _TOGETHER):
            await self._some(principal, level, patients[start : start + _TOGETHER])

    async def _some(self, principal: Principal, level: str, patients: Sequence[Shown]) -> None:
        now, who = self._clock.monotonic(), (principal.tenant, principal.subject)
        fresh: list[_Key] = []
        entries: list[AuditRecord] = []
        others: list[asyncio.Future[None]] = []  # of pages that show the same patients at the same time
        for one in patients:
            key = (*who, "study.list", one)
            known = self._seen.get(key)
            if known is None or now - known[0] >= self._window_s:
                fresh.append(key)
                entries.append(_listed(principal, level, one))
            elif not known[1].done():
                others.append(known[1])
        if fresh:
            await self._remembered(fresh, lambda: self._audit.record_all(entries))
        for other in others:
            await asyncio.shield(other)

    async def _once(
        self, principal: Principal, action: str, subject: str, write: Callable[[], Awaitable[None]]
    ) -> None:
        key = (principal.tenant, principal.subject, action, subject)
        known = self._seen.get(key)
        if known is not None and self._clock.monotonic() - known[0] < self._window_s:
            await asyncio.shield(known[1])
            return
        await self._remembered([key], write)

    async def _remembered(self, keys: Sequence[_Key], write: Callable[[], Awaitable[None]]) -> None:
        """Write what the keys stand for; who asks for one of them meanwhile waits for it."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        memory = (self._clock.monotonic(), written)
        for key in keys:
            self._seen[key] = memory
            self._seen.move_to_end(key)
        while len(self._seen) > self._bound:
            self._seen.popitem(last=False)
        try:
            await write()
        except BaseException as problem:
            for key in keys:
                if self._seen.get(key) is memory:
                    del self._seen[key]
            written.set_exception(problem if isinstance(problem, Exception) else RuntimeError("view was cancelled"))
            written.exception()  # nobody may be waiting for it
            raise
        written.set_result(None)


def _listed(principal: Principal, level: str, one: Shown) -> AuditRecord:
    subject = one.study_uid or f"patient of {level}"
    detail = f"issuer {one.issuer}" if one.issuer else ""
    who = principal.tenant, principal.subject, principal.role.value
    return AuditRecord(*who, "study.list", "success", subject, one.patient_id, detail)
