"""How many refused tokens of one address are written to the audit trail one by one: a flood is counted, not written.

Each process counts for itself and forgets the oldest addresses when there are too many.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

from consilium_core.clock import Clock
from consilium_platform.audit import AuditLog, AuditRecord

WINDOW_S = 60.0
SINGLY = 30  # entries of one address in one window; all further ones are counted
ADDRESSES = 10_000


@dataclass(slots=True)
class _Window:
    since: float
    count: int = 0


class Refusals:
    """Writes refusals of callers whom nobody knows, within a bound for each address."""

    def __init__(self, audit: AuditLog, clock: Clock) -> None:
        self._audit = audit
        self._clock = clock
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    async def record(self, address: str, record: AuditRecord) -> None:
        """Write the refusal; from the 31st of a minute on only that there are more, and with the next one how many there were."""
        now = self._clock.monotonic()
        window = self._windows.setdefault(address, _Window(now))
        self._windows.move_to_end(address)
        while len(self._windows) > ADDRESSES:
            self._windows.popitem(last=False)
        uncounted = 0
        if now - window.since >= WINDOW_S:
            uncounted, window.since, window.count = max(0, window.count - SINGLY), now, 0
        window.count += 1
        if uncounted:
            await self._audit.record(_summary(record, f"{uncounted} refusals of {address} were counted, not written"))
        if window.count <= SINGLY:
            await self._audit.record(record)
        elif window.count == SINGLY + 1:
            words = f"more than {SINGLY} refusals of {address} in {WINDOW_S:.0f} s: the rest is counted"
            await self._audit.record(_summary(record, words))


def _summary(record: AuditRecord, words: str) -> AuditRecord:
    return replace(record, actor="unknown", subject="", detail=words)
