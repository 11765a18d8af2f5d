"""The circuit breaker of a destination, pure: shut after some failures in a row, then one attempt at a time until one succeeds.

It stands in a row that all processes share, so a destination that is down is down for all of them, and for itself alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

State = Literal["closed", "open", "half-open"]


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """After how many failures in a row nothing is sent for how long; each further failure doubles it, up to the longest (s)."""

    failures: int
    first_pause_s: float
    longest_pause_s: float

    def pause_s(self, failures: int) -> float:
        """Return how long to leave a destination alone after so many failures in a row, seconds."""
        more = max(0, failures - self.failures)
        return float(min(self.first_pause_s * 2 ** min(more, 20), self.longest_pause_s))


@dataclass(frozen=True, slots=True)
class Breaker:
    """Failures in a row, and until when nobody tries."""

    failures: int = 0
    shut_until: datetime | None = None

    def state(self, rule: BreakerRule, now: datetime) -> State:
        """Return ``closed`` (it works), ``open`` (nobody tries) or ``half-open`` (the next attempt decides)."""
        if self.failures < rule.failures:
            return "closed"
        return "open" if self.shut_until is not None and self.shut_until > now else "half-open"

    def trying(self, rule: BreakerRule, now: datetime, lease_s: float) -> Breaker | None:
        """Return the breaker while one attempt runs; None: nobody may try now. Half open, the one attempt shuts out others until it ends."""
        match self.state(rule, now):
            case "open":
                return None
            case "half-open":
                return replace(self, shut_until=now + timedelta(seconds=lease_s))
            case "closed":
                return self

    def failed(self, rule: BreakerRule, now: datetime, retry_after_s: float = 0.0) -> Breaker:
        """Return it after a failure of the destination; ``retry_after_s``: the least that it asked for."""
        failures = self.failures + 1
        pause = max(rule.pause_s(failures), min(retry_after_s, rule.longest_pause_s))
        return Breaker(failures, now + timedelta(seconds=pause) if failures >= rule.failures else None)

    def worked(self) -> Breaker:
        """Return it after an answer."""
        return Breaker()
