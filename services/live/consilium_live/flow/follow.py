"""The captures' way to their end: command, then the archive's or the site's word; from the bus, and from the outbox behind it."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime, timedelta

import structlog

from consilium_core.events import Event, EventType
from consilium_live.domain.capture import Capture, CaptureState
from consilium_live.flow.captures import follow_command, settle
from consilium_live.flow.consultations import end_room_of, is_over
from consilium_live.flow.context import LiveContext
from consilium_live.flow.ports import GivenUp, Stored
from consilium_platform.bus import EventBus

log = structlog.get_logger()
FIRST_ASK_S, LAST_ASK_S = 0.5, 5.0
SCAN_S = 5.0
_COMMIT_LAG = timedelta(minutes=2)  # no transaction takes so long: later looks into the outbox begin that far back
LATE_ARRIVAL = timedelta(days=7)  # a site may be off line for days before it uploads what it captured


class CaptureFollower:
    """Follows each unfinished capture to its end."""

    def __init__(self, context: LiveContext) -> None:
        self._context = context
        self._due: dict[str, tuple[float, float]] = {}  # capture id -> (next ask, delay), monotonic seconds
        self._scanned_at = float("-inf")
        self._looked_until: datetime | None = None

    async def run(self) -> None:
        """Follow until stopped."""
        while not self._context.stopping.is_set():
            try:
                await self.step()
            except Exception as problem:
                log.warning("capture_follow_failed", error=type(problem).__name__)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIRST_ASK_S):
                    await self._context.stopping.wait()

    async def step(self) -> None:
        """Ask about each command that is due; look into the outbox for what the bus did not bring."""
        ordered = await self._context.store.ordered_captures()
        mono = self._context.clock.monotonic()
        self._due = {c.id: self._due.get(c.id, (mono, FIRST_ASK_S)) for c in ordered}
        for capture in ordered:
            at, delay = self._due[capture.id]
            if at <= mono:
                self._due[capture.id] = (mono + delay, min(LAST_ASK_S, delay * 1.5))
                await follow_command(self._context, capture)
        if mono - self._scanned_at >= SCAN_S:
            self._scanned_at = mono
            await self._scan()
            await self._give_up()

    async def _scan(self) -> None:
        oldest = await self._context.store.oldest_request()
        now = self._context.clock.now()
        if oldest is not None:
            since = oldest - timedelta(minutes=1)
            if self._looked_until is not None:
                since = max(since, self._looked_until - _COMMIT_LAG)
            seq = 0
            while found := await self._context.store.endings_since(seq, since):
                for ending in found:
                    await take_ending(self._context, ending)
                seq = found[-1].seq
        self._looked_until = now

    async def _give_up(self) -> None:
        """Fail what the site made and never sent; it comes back to life if it arrives all the same."""
        limit = self._context.clock.now() - LATE_ARRIVAL
        for capture in await self._context.store.overdue_captures(limit):
            words = f"The site captured it, but it has not arrived within {LATE_ARRIVAL.days} days."
            await settle(self._context, capture.id, lambda c, words=words: c.given_up(words))  # type: ignore[misc]


async def take_ending(context: LiveContext, ending: Stored | GivenUp) -> None:
    """Settle the capture that an announcement speaks of, if the announcing site is the room's own."""
    capture_id = ending.capture_id
    if isinstance(ending, Stored) and not capture_id:
        capture_id = await context.store.awaited_instance(ending.tenant, ending.sop_instance_uid)
    capture = await context.store.capture(capture_id) if capture_id else None
    if capture is None or capture.tenant != ending.tenant or capture.state is CaptureState.STORED:
        return
    room = await context.store.room(capture.room_id, capture.tenant)
    if not ending.site_id or ending.site_id != room.site_id:
        log.warning("capture_of_foreign_site", capture=capture.id, room=room.id, site=ending.site_id)
        return
    await settle(context, capture.id, lambda c: _ended(c, ending))


def _ended(capture: Capture, ending: Stored | GivenUp) -> Capture:
    """Return how it ended; what the archive holds counts even for a capture that was given up."""
    if isinstance(ending, GivenUp):
        return capture.given_up(f"It was not stored: {ending.code}.")
    if capture.state is CaptureState.STORED:
        return capture
    return capture.stored(ending.study_uid, ending.sop_instance_uid)


def ending_of(kind: EventType, seq: int, tenant: str, subject: str, data: dict[str, object]) -> Stored | GivenUp:
    """Return what an ``instance.stored`` or ``capture.failed`` event says of a capture."""
    site_id = str(data.get("site_id") or "")
    if kind is EventType.CAPTURE_FAILED:
        return GivenUp(seq, tenant, subject, site_id, str(data.get("code") or "unknown"))
    capture_id, study_uid = str(data.get("capture_id") or ""), str(data.get("study_uid") or "")
    return Stored(seq, tenant, capture_id, study_uid, subject, site_id)


async def run_bus(context: LiveContext, bus: EventBus) -> None:
    """Take the endings of captures and of consultations from the bus as they come; a lost bus is joined again."""
    while True:
        try:
            async with bus.subscribe() as subscription:
                while True:
                    event = await subscription.next()
                    if event is not None:
                        await _take_event(context, event)
        except Exception as problem:
            log.warning("live_bus_lost", error=type(problem).__name__)
            await asyncio.sleep(1.0)


async def _take_event(context: LiveContext, event: Event) -> None:
    captured = event.type is EventType.INSTANCE_STORED and event.data.get("origin") == "capture"
    if captured or event.type is EventType.CAPTURE_FAILED:
        ending = ending_of(event.type, event.seq, event.tenant, event.subject, event.data)
        await context.errands.finish(take_ending(context, ending), "capture-ended")
    elif is_over(event):
        await context.errands.finish(end_room_of(context, event.tenant, event.subject), "consultation-over")
