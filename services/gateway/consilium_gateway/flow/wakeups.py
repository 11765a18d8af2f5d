"""Wake-ups: who waits for a key (a site, a command) is woken by whoever changes it; thousands of waiters cost one future each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

Waiter = asyncio.Future[None]


class WakeHub:
    """Waiters by key, all in this process."""

    def __init__(self) -> None:
        self._waiters: dict[str, set[Waiter]] = {}
        self.closed = False

    @contextmanager
    def waiting(self, key: str) -> Iterator[Waiter]:
        """Yield a future that the next ``wake(key)`` completes; register before looking, so that no wake is missed."""
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(key, set()).add(waiter)
        try:
            yield waiter
        finally:
            waiters = self._waiters.get(key)
            if waiters is not None:
                waiters.discard(waiter)
                if not waiters:
                    del self._waiters[key]

    def wake(self, key: str) -> None:
        """Wake everybody who waits for the key."""
        for waiter in self._waiters.get(key, ()):
            if not waiter.done():
                waiter.set_result(None)

    def waited_for(self) -> frozenset[str]:
        """Return the keys somebody waits for."""
        return frozenset(self._waiters)

    def count(self) -> int:
        """Return how many wait."""
        return sum(map(len, self._waiters.values()))

    def close(self) -> None:
        """Wake everybody for the last time: waiters answer at once from now on."""
        self.closed = True
        for key in list(self._waiters):
            self.wake(key)
