"""What agents report by themselves: stored once per (site, seq), applied to the site's state, acknowledged when durable (SP-30)."""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import pairwise
from typing import Any

import structlog
from sqlalchemy import Row, delete, insert, update
from sqlalchemy.ext.asyncio import AsyncSession

from consilium_core.events import EventType
from consilium_core.roles import Principal
from consilium_core.site_protocol import AgentEvent, AgentEvents, AgentEventType, Device, EventsReply
from consilium_gateway.adapters.tables import site, site_event
from consilium_gateway.errors import EventsDisordered
from consilium_gateway.flow.desk import Desk
from consilium_gateway.flow.presence import announce
from consilium_gateway.flow.sites import working_site
from consilium_platform.outbox import add_event

log = structlog.get_logger()
_ID_CHARS = 64
_CODE = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


async def take_events(desk: Desk, agent: Principal, batch: AgentEvents) -> EventsReply:
    """Store what is new and return the seq up to which all is durable."""
    numbers = [event.seq for event in batch.events]
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        raise EventsDisordered("The events are not in order of seq.")
    now = desk.platform.clock.now()
    async with desk.platform.database.write() as session:
        row = await working_site(session, agent.tenant, agent.subject, lock=True)
        fresh = [event for event in batch.events if event.seq > row.event_seq]
        if not fresh:
            return EventsReply(acked_through=row.event_seq)
        if fresh[0].seq != row.event_seq + 1:  # the agent sends its oldest first: what is missing exists nowhere
            log.warning("agent_events_missing", site=row.id, after=row.event_seq, first=fresh[0].seq)
        rows = [
            {"site_id": row.id, "seq": e.seq, "type": e.type.value, "time": e.time, "data": e.data, "received_at": now}
            for e in fresh
        ]
        await session.execute(insert(site_event), rows)
        values = _applied(row, fresh)
        await session.execute(update(site).where(site.c.id == row.id).values({**values, "event_seq": fresh[-1].seq}))
        if values:
            await announce(session, row.id)
        await _announce_failures(session, agent, fresh)
    desk.platform.outbox.wake()
    await desk.presence.touch(agent.subject)
    return EventsReply(acked_through=fresh[-1].seq)


async def _announce_failures(session: AsyncSession, agent: Principal, events: list[AgentEvent]) -> None:
    """Tell live which captures the site gave up; only the code goes, the agent's words may name somebody."""
    for event in events:
        capture_id = str(event.data.get("capture_id") or "")
        if event.type is AgentEventType.CAPTURE_FAILED and 0 < len(capture_id) <= _ID_CHARS:
            code = str(event.data.get("code") or "")
            data = {"site_id": agent.subject, "code": code if _CODE.fullmatch(code) else "site-error"}
            await add_event(session, EventType.CAPTURE_FAILED, tenant=agent.tenant, subject=capture_id, data=data)


def _applied(row: Row[Any], events: list[AgentEvent]) -> dict[str, Any]:
    """Return the site's columns that these events change; unfit data is skipped and logged, never blocks the queue."""
    values: dict[str, Any] = {}
    for event in events:
        try:
            if event.type is AgentEventType.DEVICES:
                values |= _devices(event.data)
            elif event.type in (AgentEventType.STREAM_STARTED, AgentEventType.STREAM_STOPPED):
                streams = dict(values.get("streams", row.streams))
                _stream(streams, event)
                values["streams"] = streams
        except (KeyError, ValueError, TypeError, AttributeError) as problem:
            log.warning("agent_event_unfit", site=row.id, type=event.type.value, error=type(problem).__name__)
    return values


def _devices(data: dict[str, Any]) -> dict[str, Any]:
    devices = [Device.model_validate(device).model_dump() for device in data["devices"][:64]]
    spool = data.get("spool") or {}
    return {
        "devices": devices,
        "spool_unacknowledged": max(0, min(2**31 - 1, int(spool.get("unacknowledged", 0)))),
        "spool_bytes": max(0, min(2**62, int(spool.get("bytes", 0)))),
    }


def _stream(streams: dict[str, Any], event: AgentEvent) -> None:
    room_id, codec = str(event.data["room_id"])[:64], str(event.data.get("codec", ""))[:16]
    if event.type is AgentEventType.STREAM_STARTED:
        keys = ("width", "height", "fps", "media_epoch")
        streams[f"{room_id}/{codec}"] = {
            "room_id": room_id, "codec": codec, **{k: event.data.get(k) for k in keys},
        }  # fmt: skip
        return
    for key in [k for k, s in streams.items() if s["room_id"] == room_id and codec in ("", s["codec"])]:
        del streams[key]


async def forget_old_events(desk: Desk, session: AsyncSession) -> None:
    """Remove events older than the setting; their numbers stay acknowledged."""
    limit = desk.platform.clock.now() - timedelta(days=desk.settings.event_days)
    await session.execute(delete(site_event).where(site_event.c.received_at < limit))
