"""The event bus's contract: the same tests in-process and on Redis."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from consilium_core.events import Event, EventType
from consilium_core.ids import new_ulid
from consilium_platform.bus import QUEUE_BOUND, MemoryBus, Subscription, open_bus
from consilium_platform.platform import Platform


def event(seq: int, subject: str = "s") -> Event:
    """Return an event."""
    at = datetime(2030, 1, 1, tzinfo=UTC)
    return Event(
        id=new_ulid(), type=EventType.ROOM_CHANGED, tenant="demo", subject=subject, time=at, data={"n": seq}, seq=seq
    )


async def take(subscription: Subscription, count: int) -> list[int]:
    """Return the numbers of the next events."""
    numbers = []
    for _ in range(count):
        got = await subscription.next(10)
        assert got is not None
        numbers.append(got.seq)
    return numbers


async def test_every_subscriber_gets_every_event_in_order(any_platform: Platform) -> None:
    bus = any_platform.bus
    async with bus.subscribe() as one, bus.subscribe() as two:
        for number in range(1, 6):
            await bus.publish(event(number))
        assert await take(one, 5) == await take(two, 5) == [1, 2, 3, 4, 5]


async def test_a_subscription_begins_when_it_is_entered_and_carries_the_whole_event(any_platform: Platform) -> None:
    bus = any_platform.bus
    async with bus.subscribe() as early:
        await bus.publish(event(1))
        assert await take(early, 1) == [1]
        async with bus.subscribe() as late:
            sent = event(2, "who")
            await bus.publish(sent)
            assert await late.next(10) == sent


async def test_next_gives_none_when_nothing_comes_in_time(any_platform: Platform) -> None:
    async with any_platform.bus.subscribe() as subscription:
        assert await subscription.next(0.02) is None


async def test_events_reach_subscribers_of_another_process(any_platform: Platform) -> None:
    url = any_platform.settings.redis_url
    if url is None:
        assert isinstance(any_platform.bus, MemoryBus), "the embedded bus serves one process by design"
        return
    async with open_bus(url.get_secret_value()) as other, other.subscribe() as there:
        await any_platform.bus.publish(event(7))
        assert await take(there, 1) == [7]


async def test_a_slow_subscriber_loses_its_oldest_events_and_holds_up_nobody() -> None:
    bus = MemoryBus()
    async with bus.subscribe() as slow, bus.subscribe() as quick:
        for number in range(QUEUE_BOUND + 10):
            await bus.publish(event(number))
            assert (await quick.next(1)) is not None
        first = await slow.next(1)
        assert first is not None
        assert first.seq == 10


async def test_a_subscriber_that_has_left_costs_nothing() -> None:
    bus = MemoryBus()
    async with bus.subscribe():
        pass
    await bus.publish(event(1))
    assert not bus._queues


async def test_a_waiting_subscriber_can_be_cancelled(any_platform: Platform) -> None:
    async with any_platform.bus.subscribe() as subscription:
        waiting = asyncio.create_task(subscription.next())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()
        await any_platform.bus.publish(event(3))
        assert await take(subscription, 1) == [3]
