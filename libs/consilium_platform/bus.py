"""The event bus: how announced events reach subscribers; in-process (embedded) or Redis streams (cluster).

The bus is a wake-up line, not the truth: events are durable in the outbox before they come here. A subscriber that is too slow
loses its oldest events (bounded queue) and sees the gap in ``seq``; what must not miss anything reads the outbox.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import structlog
from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from consilium_core.events import Event
from consilium_platform.tasks import end_task

log = structlog.get_logger()
QUEUE_BOUND = 1024
STREAM = "consilium:events"
STREAM_BOUND = 10_000


class Subscription(Protocol):
    """Events from the moment of subscribing on, in order."""

    async def next(self, timeout_s: float | None = None) -> Event | None:
        """Return the next event, or None when ``timeout_s`` passes without one."""
        ...


class EventBus(Protocol):
    """Publish to all, subscribe to all; filtering is the subscriber's."""

    async def publish(self, event: Event) -> None:
        """Hand the event to every subscriber; raise when the bus is out (the outbox tries again)."""
        ...

    def subscribe(self) -> AbstractAsyncContextManager[Subscription]:
        """Open a subscription; it begins when the block is entered."""
        ...

    async def ping(self) -> None:
        """Raise unless the bus answers."""
        ...


class _Queue:
    """A bounded queue, oldest dropped first."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Event] = asyncio.Queue(QUEUE_BOUND)

    def put(self, event: Event) -> None:
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(event)

    async def next(self, timeout_s: float | None = None) -> Event | None:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._queue.get()
        except TimeoutError:
            return None


class MemoryBus:
    """The embedded bus: every subscriber lives in this process."""

    def __init__(self) -> None:
        self._queues: set[_Queue] = set()

    async def publish(self, event: Event) -> None:
        """Put the event into each subscriber's queue."""
        for queue in list(self._queues):
            queue.put(event)

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[Subscription]:
        """Yield a subscription."""
        queue = _Queue()
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)

    async def ping(self) -> None:
        """Answer always."""


class RedisBus:
    """One Redis stream, trimmed to about 10,000 entries; one reader per process feeds the local queues."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # its stream replies are typed as unions that fit no call
        self._local = MemoryBus()
        self._reader: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    async def publish(self, event: Event) -> None:
        """Append the event to the stream."""
        await self._redis.xadd(STREAM, {"event": event.model_dump_json()}, maxlen=STREAM_BOUND, approximate=True)

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[Subscription]:
        """Yield a subscription; the process's reader is started with the first one."""
        if self._reader is None:
            self._reader = asyncio.create_task(self._read(), name="redis-bus-reader")
        async with asyncio.timeout(10):
            await self._ready.wait()
        async with self._local.subscribe() as subscription:
            yield subscription

    async def _read(self) -> None:
        last: str | None = None
        while True:
            try:
                if last is None:
                    newest = await self._redis.xrevrange(STREAM, count=1)
                    last = newest[0][0] if newest else "0-0"
                self._ready.set()
                for _, entries in await self._redis.xread({STREAM: last}, count=256, block=1000) or []:
                    for entry_id, fields in entries:
                        last = entry_id
                        await self._hand_on(fields)
            except (RedisError, OSError) as problem:
                log.warning("bus_read_failed", error=type(problem).__name__)
                await asyncio.sleep(0.5)

    async def _hand_on(self, fields: dict[str, str]) -> None:
        try:
            event = Event.model_validate_json(fields["event"])
        except (KeyError, ValidationError) as problem:  # of a newer version, or not ours: the line must not stop for it
            log.warning("bus_entry_unreadable", error=type(problem).__name__)
            return
        await self._local.publish(event)

    async def ping(self) -> None:
        """Raise unless Redis answers within 2 s."""
        async with asyncio.timeout(2):
            await self._redis.ping()

    async def close(self) -> None:
        """Stop the reader and close the connections."""
        if self._reader is not None:
            await end_task(self._reader)
        await self._redis.aclose()


@asynccontextmanager
async def open_bus(redis_url: str | None) -> AsyncIterator[EventBus]:
    """Open the bus that the settings ask for."""
    if redis_url is None:
        yield MemoryBus()
        return
    bus = RedisBus(Redis.from_url(redis_url, decode_responses=True, socket_timeout=5, socket_connect_timeout=2))
    try:
        yield bus
    finally:
        await bus.close()
