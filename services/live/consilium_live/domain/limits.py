"""Limits per connection: a token bucket for messages, a budget for errors. Times are monotonic seconds."""

from __future__ import annotations

from collections import deque


class Rate:
    """At most ``per_s`` in the long run and ``burst`` at once (token bucket)."""

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._tokens = burst
        self._at: float | None = None

    def take(self, now: float, cost: float = 1) -> bool:
        """Take ``cost``; False, and nothing taken, when there is not so much."""
        if self._at is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_s)
        self._at = now
        if self._tokens < cost:
            return False
        self._tokens -= cost
        return True


class ErrorBudget:
    """Says when ``limit`` errors have come within ``window_s`` (RS-32)."""

    def __init__(self, limit: int = 20, window_s: float = 60.0) -> None:
        self._limit = limit
        self._window_s = window_s
        self._at: deque[float] = deque()

    def spend(self, now: float) -> bool:
        """Count one error; True when the budget is used up."""
        self._at.append(now)
        while self._at and self._at[0] <= now - self._window_s:
            self._at.popleft()
        return len(self._at) >= self._limit
