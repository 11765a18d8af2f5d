"""The outbox: announced if and only if committed, in order, through outages of the bus."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest
from sqlalchemy import text

from consilium_core.events import Event, EventType
from consilium_platform.bus import MemoryBus, Subscription
from consilium_platform.outbox import _ADVISORY_LOCK, OutboxRelay, add_event, running_relay
from consilium_platform.platform import Platform


class Line:
    """A bus that can be cut, and remembers what it was given."""

    def __init__(self) -> None:
        self.cut_after: int | None = None
        self.sent: list[Event] = []
        self._bus = MemoryBus()

    async def publish(self, event: Event) -> None:
        """Take the event, or fail when the line is cut."""
        if self.cut_after is not None and len(self.sent) >= self.cut_after:
            raise ConnectionError("cut")
        self.sent.append(event)

    def subscribe(self) -> AbstractAsyncContextManager[Subscription]:
        """Subscribe."""
        return self._bus.subscribe()

    async def ping(self) -> None:
        """Answer."""

    @property
    def subjects(self) -> list[str]:
        """Return what was told of, in order."""
        return [event.subject for event in self.sent]


async def quiet(platform: Platform) -> None:
    """Wait until the platform's own relay has nothing to do, then take its place in the test."""
    while await platform.outbox.relay_once():
        pass


async def tell(platform: Platform, *subjects: str) -> None:
    """Commit events, in one transaction."""
    async with platform.database.write() as session:
        for subject in subjects:
            await add_event(session, EventType.ROOM_CHANGED, tenant="demo", subject=subject, data={"state": "live"})


async def hold(platform: Platform) -> None:
    """Stop the platform's own relay from relaying: the test's relay does it."""
    await quiet(platform)

    async def nothing(batch: int = 200) -> int:
        return 0

    platform.outbox._round = nothing  # type: ignore[method-assign]
    if platform.database.is_sqlite:
        return
    mine = text("SELECT pg_try_advisory_xact_lock(:key)")
    async with platform.database.write() as session:  # a round that it was in holds the lock of all relays
        while not await session.scalar(mine, {"key": _ADVISORY_LOCK}):
            await asyncio.sleep(0.01)


async def test_committed_events_are_announced_in_order_and_once(any_platform: Platform) -> None:
    await hold(any_platform)
    line = Line()
    relay = OutboxRelay(any_platform.database, line)
    await tell(any_platform, "a", "b")
    await tell(any_platform, "c")
    assert await relay.relay_once() == 3
    assert await relay.relay_once() == 0
    assert line.subjects == ["a", "b", "c"]
    assert [e.seq for e in line.sent] == sorted(e.seq for e in line.sent)
    assert line.sent[0].data == {"state": "live"}
    assert line.sent[0].time.tzinfo is not None


async def test_an_event_of_a_transaction_that_failed_never_happened(any_platform: Platform) -> None:
    await hold(any_platform)

    async def fail() -> None:
        async with any_platform.database.write() as session:
            await add_event(session, EventType.ROOM_CHANGED, tenant="demo", subject="ghost", data={})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    line = Line()
    assert await OutboxRelay(any_platform.database, line).relay_once() == 0


async def test_an_outage_of_the_bus_loses_nothing_and_keeps_the_order(any_platform: Platform) -> None:
    await hold(any_platform)
    line = Line()
    line.cut_after = 2
    relay = OutboxRelay(any_platform.database, line)
    await tell(any_platform, "a", "b", "c")
    with pytest.raises(ConnectionError):
        await relay.relay_once()
    line.cut_after = None
    await tell(any_platform, "d")
    await relay.relay_once()
    assert line.subjects[-4:] == ["a", "b", "c", "d"], "at least once: what was not marked comes again, in order"


async def test_what_a_crashed_process_left_is_announced_by_the_next(any_platform: Platform) -> None:
    await hold(any_platform)
    await tell(any_platform, "a", "b")
    line = Line()
    async with running_relay(any_platform.database, line):
        async with asyncio.timeout(20):
            while len(line.sent) < 2:
                await asyncio.sleep(0.01)
    assert line.subjects == ["a", "b"]


async def test_a_wake_is_answered_at_once_and_batches_follow_each_other(any_platform: Platform) -> None:
    await hold(any_platform)
    line = Line()
    relay = OutboxRelay(any_platform.database, line, poll_s=3600)
    task = asyncio.create_task(relay.run())
    await asyncio.sleep(0)
    await tell(any_platform, *(str(n) for n in range(450)))
    relay.wake()
    async with asyncio.timeout(60):
        while len(line.sent) < 450:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert line.subjects == [str(n) for n in range(450)]
