"""What nobody asks for any more leaves the tables, once an hour; how long each is kept stands here."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, or_

from consilium_gateway.adapters.tables import browser_session, enrolment_code, site_command
from consilium_gateway.domain.commands import FINAL
from consilium_gateway.flow.agent_events import forget_old_events
from consilium_gateway.flow.desk import Desk
from consilium_platform.outbox import outbox

OUTBOX_KEPT = timedelta(days=7)  # live looks back so far for captures that were announced while it was away
COMMANDS_KEPT = timedelta(days=30)
SPENT_KEPT = timedelta(days=1)  # sessions and codes past their end


async def prune(desk: Desk) -> None:
    """Remove published events, ended commands, agents' old reports, and sessions and codes that are over."""
    now = desk.platform.clock.now()
    idle = now - SPENT_KEPT - timedelta(seconds=desk.settings.session_idle_s)
    over = or_(browser_session.c.used_at < idle, browser_session.c.revoked_at < now - SPENT_KEPT)
    ended = site_command.c.state.in_([state.value for state in FINAL])
    statements = (
        delete(outbox).where(outbox.c.published_at < now - OUTBOX_KEPT),
        delete(site_command).where(ended, site_command.c.finished_at < now - COMMANDS_KEPT),
        delete(browser_session).where(over),
        delete(enrolment_code).where(enrolment_code.c.expires_at < now - SPENT_KEPT),
    )
    for statement in statements:  # one transaction each: nobody waits for all of them
        async with desk.platform.database.write() as session:
            await session.execute(statement)
    async with desk.platform.database.write() as session:
        await forget_old_events(desk, session)
