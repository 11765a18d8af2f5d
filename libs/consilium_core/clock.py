"""Time as a dependency: the wall clock in UTC and the monotonic clock, injected so that tests can turn them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What a room may know of time."""

    def now(self) -> datetime:
        """Return the wall clock, timezone-aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go backwards."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """Return the wall clock in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return ``time.monotonic()``."""
        return time.monotonic()


def utc(at: datetime) -> datetime:
    """Return a stored instant with its time zone, UTC, which SQLite does not keep."""
    return at if at.tzinfo else at.replace(tzinfo=UTC)


@dataclass
class FakeClock:
    """A clock that moves only when told to."""

    at: datetime = field(default_factory=lambda: datetime(2030, 1, 1, tzinfo=UTC))
    mono_s: float = 0.0

    def now(self) -> datetime:
        """Return the set instant."""
        return self.at

    def monotonic(self) -> float:
        """Return the set monotonic seconds."""
        return self.mono_s

    def advance(self, seconds: float) -> None:
        """Move both clocks forward by ``seconds``."""
        self.at += timedelta(seconds=seconds)
        self.mono_s += seconds


def iso(at: datetime) -> str:
    """Return RFC 3339 with milliseconds and ``Z``, as every wire message carries it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
