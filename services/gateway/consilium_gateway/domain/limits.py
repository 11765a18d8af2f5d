"""Rate limits in memory: so many tries per key and window; the oldest keys are forgotten when there are too many.

Each process counts for itself: with N replicas of the door a caller has at most N times the tries.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from consilium_core.clock import Clock
from consilium_gateway.errors import TooManyTries


class TryLimit:
    """``tries`` per ``window_s`` seconds and key; keys beyond ``remember`` push out the least recently used."""

    def __init__(self, clock: Clock, tries: int, window_s: float, remember: int = 20_000) -> None:
        self._clock = clock
        self._tries = tries
        self._window_s = window_s
        self._remember = remember
        self._taken: OrderedDict[str, deque[float]] = OrderedDict()

    def take(self, key: str) -> None:
        """Count one try or raise TooManyTries with the seconds until the next is free."""
        now = self._clock.monotonic()
        taken = self._taken.setdefault(key, deque())
        self._taken.move_to_end(key)
        while taken and now - taken[0] >= self._window_s:
            taken.popleft()
        if len(taken) >= self._tries:
            wait_s = max(1.0, self._window_s - (now - taken[0]))
            raise TooManyTries("Too many tries. Wait before the next one.", retry_after_s=wait_s)
        taken.append(now)
        while len(self._taken) > self._remember:
            self._taken.popitem(last=False)

    def forgive(self, key: str) -> None:
        """Give the newest try back: it was a good one."""
        taken = self._taken.get(key)
        if taken:
            taken.pop()

    def forget(self, key: str) -> None:
        """Forget all tries of the key."""
        self._taken.pop(key, None)
