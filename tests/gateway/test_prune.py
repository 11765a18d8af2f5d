"""What is over leaves the tables after its time; what is not stays."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Table, func, insert, select

from consilium_core.site_protocol import CommandState
from consilium_gateway.adapters.tables import browser_session, enrolment_code, site_command
from consilium_gateway.flow.ticker import Ticker
from consilium_platform.outbox import outbox

from .conftest import STOP, Clocked


async def count(clocked: Clocked, table: Table) -> int:
    async with clocked.platform.database.read() as session:
        return int(await session.scalar(select(func.count()).select_from(table)) or 0)


async def add_event_row(clocked: Clocked, name: str, published_at: datetime | None) -> None:
    row = {
        "id": name, "type": "room.changed", "tenant": "demo", "subject": "x", "time": clocked.clock.now(), "data": "{}",
        "published_at": published_at,
    }  # fmt: skip
    async with clocked.platform.database.write() as session:
        await session.execute(insert(outbox).values(row))


@pytest.mark.parametrize(("days", "left"), [(6, 1), (8, 0)])
async def test_published_events_leave_after_a_week(clocked: Clocked, days: int, left: int) -> None:
    ticker = Ticker(clocked.desk)
    await add_event_row(clocked, "published", clocked.clock.now())
    clocked.clock.advance(days * 86_400)
    await ticker.tick()
    assert await count(clocked, outbox) == left


async def test_ended_commands_leave_after_a_month_and_open_ones_stay(clocked: Clocked) -> None:
    ticker = Ticker(clocked.desk)
    agent = await clocked.agent()
    for _ in range(2):
        await clocked.order(agent.site_id, STOP, deadline_s=86_400)
    await clocked.platform.database.transact(
        lambda session: session.execute(
            site_command.update()
            .where(site_command.c.seq == 1)
            .values(state=CommandState.FAILED.value, finished_at=clocked.clock.now() - timedelta(days=30, hours=-2))
        )
    )
    clocked.clock.advance(3600)
    await ticker.tick()
    assert await count(clocked, site_command) == 2
    clocked.clock.advance(7200)
    await ticker.tick()
    assert await count(clocked, site_command) == 1


async def test_sessions_and_codes_leave_a_day_after_their_end(clocked: Clocked) -> None:
    ticker = Ticker(clocked.desk)
    await clocked.user()
    await clocked.sign_in()
    await clocked.code()
    clocked.clock.advance(86_400)
    await ticker.tick()
    assert (await count(clocked, browser_session), await count(clocked, enrolment_code)) == (1, 1)
    clocked.clock.advance(43_200 + 3600)
    await ticker.tick()
    assert (await count(clocked, browser_session), await count(clocked, enrolment_code)) == (0, 0)
