"""The queue between a room and one reader (RS-31): 256 messages; laser and frame_map go first, then the reader.

The writer waits on ``take``; putting never waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

BOUND = 256
DROPPABLE = frozenset({"laser", "frame_map"})


@dataclass(frozen=True, slots=True)
class Message:
    """One frame on its way out, serialised once for all its readers."""

    type: str
    text: str


class Mailbox:
    """Bounded, ordered, one reader; ``overflowed`` says that the reader must be let go."""

    def __init__(self, bound: int = BOUND) -> None:
        self._bound = bound
        self._messages: deque[Message] = deque()
        self._filled = asyncio.Event()
        self.overflowed = False
        self.dropped = 0

    def put(self, message: Message) -> bool:
        """Queue ``message``; False when the reader is too slow for messages that must not be lost."""
        if self.overflowed:
            return False
        if len(self._messages) >= self._bound and not self._make_room(message):
            return not self.overflowed
        self._messages.append(message)
        self._filled.set()
        return True

    def _make_room(self, incoming: Message) -> bool:
        """Drop the oldest droppable message, else the incoming one; else give the reader up. True: there is room."""
        self.dropped += 1
        for index, message in enumerate(self._messages):
            if message.type in DROPPABLE:
                del self._messages[index]
                return True
        if incoming.type not in DROPPABLE:
            self.overflowed = True
        return False

    async def take(self) -> Message:
        """Return the oldest message; waits for one."""
        while not self._messages:
            self._filled.clear()
            await self._filled.wait()
        return self._messages.popleft()

    def __len__(self) -> int:
        return len(self._messages)
