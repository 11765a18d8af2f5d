"""A memory of what was made, bounded in bytes: what was used longest ago goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ByteCache(Generic[K, V]):
    """Keeps values up to ``bound_bytes``; one that would take more than an eighth of it is not kept."""

    def __init__(self, bound_bytes: int, size_of: Callable[[V], int]) -> None:
        self._bound = bound_bytes
        self._size_of = size_of
        self._kept: OrderedDict[K, V] = OrderedDict()
        self.held_bytes = 0

    def get(self, key: K) -> V | None:
        """Return the value, now the last to go, or None."""
        value = self._kept.get(key)
        if value is not None:
            self._kept.move_to_end(key)
        return value

    def holds(self, key: K) -> bool:
        """Tell whether there is a value, which any thread may ask."""
        return key in self._kept

    def put(self, key: K, value: V) -> None:
        """Keep the value."""
        size = self._size_of(value)
        if size > self._bound // 8:
            return
        old = self._kept.pop(key, None)
        self.held_bytes += size - (self._size_of(old) if old is not None else 0)
        self._kept[key] = value
        while self.held_bytes > self._bound:
            self.held_bytes -= self._size_of(self._kept.popitem(last=False)[1])
