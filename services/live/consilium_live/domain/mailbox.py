"""The queue between a room and one reader (RS-31): 256 messages and 4 MiB; laser and frame_map go first, then the reader.

The writer waits on ``take``; putting never waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

BOUND = 256
BOUND_BYTES = 4 * 1024 * 1024
DROPPABLE = frozenset({"laser", "frame_map"})


@dataclass(frozen=True, slots=True)
class Message:
    """One frame on its way out, serialised once for all its readers."""

    type: str
    text: str
    size_bytes: int = field(init=False, compare=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size_bytes", len(self.text.encode()))


class Mailbox:
    """Bounded, ordered, one reader; ``overflowed`` says that the reader must be let go."""

    def __init__(self, bound: int = BOUND, bound_bytes: int = BOUND_BYTES) -> None:
        self._bound = bound
        self._bound_bytes = bound_bytes
        self._messages: deque[Message] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()
        self.overflowed = False
        self.dropped = 0

    def put(self, message: Message) -> bool:
        """Queue ``message``; False when the reader is too slow for messages that must not be lost."""
        if self.overflowed:
            return False
        while not self._fits(message):
            if not self._make_room(message):
                return not self.overflowed
        self._messages.append(message)
        self._bytes += message.size_bytes
        self._filled.set()
        return True

    def _fits(self, message: Message) -> bool:
        """Say whether there is room; an empty box takes any message."""
        if not self._messages:
            return True
        return len(self._messages) < self._bound and self._bytes + message.size_bytes <= self._bound_bytes

    def _make_room(self, incoming: Message) -> bool:
        """Drop the oldest droppable message, else the incoming one; else give the reader up. True: one was dropped."""
        self.dropped += 1
        for index, message in enumerate(self._messages):
            if message.type in DROPPABLE:
                del self._messages[index]
                self._bytes -= message.size_bytes
                return True
        if incoming.type not in DROPPABLE:
            self.overflowed = True
        return False

    async def take(self) -> Message:
        """Return the oldest message; waits for one."""
        while not self._messages:
            self._filled.clear()
            await self._filled.wait()
        message = self._messages.popleft()
        self._bytes -= message.size_bytes
        return message

    def __len__(self) -> int:
        return len(self._messages)
