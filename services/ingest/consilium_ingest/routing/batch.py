"""What a worker carries at once, and what came of it: the words between jobs, couriers and senders. Pure but for the loop's clock.

``Outcomes.ours`` stops a batch's clock while bytes are read from our own store: a slow store is never the destination's fault.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from consilium_ingest.routing.rules import Priority


@dataclass(frozen=True, slots=True)
class Wanted:
    """One instance that is to be sent; ``attempts``: with this one; ``failures``: how many of those before were its own."""

    number: int
    study_uid: str
    series_uid: str
    sop_instance_uid: str
    size_bytes: int
    attempts: int
    failures: int
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Batch:
    """Instances of one study that are sent together, this process's until the lease ends; ``probe``: it decides whether a shut destination opens."""

    lease: str
    probe: bool
    seconds: float
    study_uid: str
    patient_id: str
    priority: Priority
    wanted: tuple[Wanted, ...]

    @property
    def size_bytes(self) -> int:
        """Return how many bytes are to be sent."""
        return sum(one.size_bytes for one in self.wanted)


@dataclass(slots=True)
class Outcomes:
    """What came of a batch: a word per instance that was not sent; ``down``: of the destination itself; bytes and seconds measured.

    ``seconds`` above 0: the destination has answered. ``again_s``: how long an original of ours that is being restored takes.
    """

    problems: dict[str, str] = field(default_factory=dict)
    sent: set[str] = field(default_factory=set)
    down: str = ""
    retry_after_s: float = 0.0
    stopped: bool = (
        False  # the process ends, or a file of ours broke a request: what has no outcome waits on, with nobody to blame
    )
    again_s: dict[str, float] = field(default_factory=dict)
    sent_bytes: int = 0
    seconds: float = 0.0
    ours_s: float = 0.0
    limit: asyncio.Timeout | None = None

    @property
    def answered(self) -> bool:
        """Tell whether the destination works: it has answered, be it by refusing, and failed at nothing."""
        return self.seconds > 0 and not self.down and not self.stopped

    @contextmanager
    def ours(self) -> Iterator[None]:
        """Wait for something of ours: that time is neither measured nor taken from what the destination has."""
        loop = asyncio.get_running_loop()
        began, limit = loop.time(), self.limit
        until = limit.when() if limit is not None and not limit.expired() else None
        if limit is not None and until is not None:
            limit.reschedule(None)
        try:
            yield
        finally:
            took = loop.time() - began
            self.ours_s += took
            if limit is not None and until is not None:
                limit.reschedule(until + took)

    def unread(self, batch: Batch, problem: str) -> None:
        """Note a word for each instance of which nothing is known."""
        for one in batch.wanted:
            if one.sop_instance_uid not in self.sent:
                self.problems.setdefault(one.sop_instance_uid, problem)
