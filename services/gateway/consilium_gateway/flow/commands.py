"""Commands to sites: issued by services, offered in polls, acknowledged, leased, finished or expired (SP-20 to SP-29).

``seq`` grows by one per site under the site's row lock, so that a cursor never jumps over a command that commits later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from consilium_core.clock import iso
from consilium_core.ids import new_ulid
from consilium_core.roles import Principal
from consilium_core.site_protocol import (
    Ack,
    Command,
    CommandArgs,
    CommandState,
    LeaseRenewal,
    LeaseReply,
    PollReply,
    Result,
)
from consilium_gateway.adapters.tables import site, site_command, utc
from consilium_gateway.domain.commands import FINAL, check_step
from consilium_gateway.errors import CommandExpired, CommandForeign, CommandUnknown, SessionRequired
from consilium_gateway.flow.desk import Desk
from consilium_gateway.flow.sites import site_row, working, working_site

S = CommandState
BATCH = 16
_WAITING = (S.QUEUED.value, S.OFFERED.value)
_C = site_command.c


async def issue(
    desk: Desk, tenant: str, site_id: str, args: CommandArgs, *, deadline_s: float, actor: str
) -> dict[str, Any]:
    """Queue a command and wake the site's poll; return it."""
    now = desk.platform.clock.now()
    row: dict[str, Any] = {
        "id": new_ulid(), "tenant": tenant, "site_id": site_id, "type": args.type.value,
        "args": args.model_dump(mode="json"), "actor": actor[:128], "state": S.QUEUED.value, "reason": "", "detail": "",
        "data": {}, "issued_at": now, "deadline": now + timedelta(seconds=deadline_s), "lease_until": None,
        "finished_at": None, "cancel_requested": False,
    }  # fmt: skip
    async with desk.platform.database.write() as session:
        seq = (await working_site(session, tenant, site_id, lock=True)).command_seq + 1
        await session.execute(update(site).where(site.c.id == site_id).values(command_seq=seq))
        issued = await session.execute(insert(site_command).values({**row, "seq": seq}).returning(site_command))
        command = command_wire(issued.one())
    desk.wakeups.wake(f"site:{site_id}")
    return command


async def find_command(desk: Desk, tenant: str, command_id: str, wait_s: float = 0) -> dict[str, Any]:
    """Return the tenant's command; with ``wait_s`` not before it has ended or the time is over."""
    ends = asyncio.get_running_loop().time() + wait_s
    while True:
        with desk.wakeups.waiting(f"command:{command_id}") as waiter:
            async with desk.platform.database.read() as session:
                query = select(site_command).where(_C.id == command_id, _C.tenant == tenant)
                row = (await session.execute(query)).first()
            if row is None:
                raise CommandUnknown("There is no such command.")
            left = min(1.0, ends - asyncio.get_running_loop().time())  # another process may finish it
            if CommandState(row.state) in FINAL or left <= 0 or desk.wakeups.closed:
                return command_wire(row)
            await asyncio.wait([waiter], timeout=left)


async def list_commands(desk: Desk, tenant: str, site_id: str, limit: int = 50) -> list[dict[str, Any]]:
    """Return the site's newest commands without their patient context."""
    async with desk.platform.database.read() as session:
        await site_row(session, tenant, site_id)
        query = select(site_command).where(_C.site_id == site_id).order_by(_C.seq.desc()).limit(limit)
        rows = (await session.execute(query)).all()
    commands = [command_wire(row) for row in rows]
    for command in commands:
        command["args"] = _without_patient(command["args"])
    return commands


async def cancel(desk: Desk, tenant: str, command_id: str) -> dict[str, Any]:
    """Cancel what has not begun; ask the agent to stop what runs (it learns it with its next lease renewal)."""
    async with desk.platform.database.write() as session:
        query = select(site_command).where(_C.id == command_id, _C.tenant == tenant).with_for_update()
        row = (await session.execute(query)).first()
        if row is None:
            raise CommandUnknown("There is no such command.")
        state = CommandState(row.state)
        if state is S.RUNNING:
            await session.execute(update(site_command).where(_C.id == command_id).values(cancel_requested=True))
        elif state is not S.CANCELLED:
            check_step(state, S.CANCELLED)
            await _finish(session, desk, row, S.CANCELLED, reason="cancelled")
    desk.wakeups.wake(f"command:{command_id}")
    return await find_command(desk, tenant, command_id)


async def offer(desk: Desk, agent: Principal, cursor: int) -> PollReply | None:
    """Return the waiting commands above ``cursor``, oldest first, or None; mark them offered.

    Raises SessionRequired when the agent has not said hello or its cursor is ahead of ours.
    """
    now = desk.platform.clock.now()
    query = select(site_command).where(
        _C.site_id == agent.subject, _C.seq > cursor, _C.state.in_(_WAITING), _C.deadline > now
    )

    def look(session: Session) -> Sequence[Row[Any]]:
        mine = select(site.c.state, site.c.session_at, site.c.command_seq)
        found = session.execute(mine.where(site.c.id == agent.subject, site.c.tenant == agent.tenant)).first()
        row = working(found)
        if row.session_at is None or cursor > row.command_seq:
            raise SessionRequired("Say hello first: POST /site/v1/session.")
        return session.execute(query.order_by(_C.seq).limit(BATCH)).all()

    rows = await desk.platform.database.query(look)  # the hot path: each of thousands of sites asks once a minute
    if not rows:
        return None
    fresh = [row.id for row in rows if row.state == S.QUEUED.value]
    gone: set[str] = set()
    if fresh:
        async with desk.platform.database.write() as session:
            mark = update(site_command).where(_C.id.in_(fresh), _C.state == S.QUEUED.value)
            marked = await session.execute(mark.values(state=S.OFFERED.value).returning(_C.id))
            gone = set(fresh) - set(marked.scalars().all())  # cancelled or expired between the two transactions
    commands = [_message(row) for row in rows if row.id not in gone]
    if not commands:
        return None
    return PollReply(commands=commands, cursor=rows[-1].seq, server_time=now)


async def acknowledged_through(session: AsyncSession, site_id: str, newest: int) -> int:
    """Return the highest seq below which nothing waits for an acknowledgement (SP-13)."""
    query = select(func.min(_C.seq)).where(_C.site_id == site_id, _C.state.in_(_WAITING))
    first = await session.scalar(query)
    return newest if first is None else first - 1


async def acknowledge(desk: Desk, agent: Principal, command_id: str, ack: Ack) -> str:
    """Accept (running, with a lease) or refuse; the same verdict again answers the same. Return the state."""
    wanted = S.RUNNING if ack.verdict == "accepted" else S.REFUSED
    now = desk.platform.clock.now()
    expired = False
    async with desk.platform.database.write() as session:
        row = await _mine(session, desk, agent, command_id)
        state = CommandState(row.state)
        if state is wanted:
            return wanted.value
        check_step(state, wanted)
        if wanted is S.REFUSED:
            await _finish(session, desk, row, S.REFUSED, reason=ack.reason[:64] or "refused")
        elif utc(row.deadline) <= now:
            await _finish(session, desk, row, S.EXPIRED, reason="deadline")
            expired = True
        else:
            lease_until = now + timedelta(seconds=desk.settings.lease_s)
            values = {"state": S.RUNNING.value, "lease_until": lease_until}
            await session.execute(update(site_command).where(_C.id == command_id).values(values))
    desk.wakeups.wake(f"command:{command_id}")
    if expired:
        raise CommandExpired("The command's deadline has passed.")
    return wanted.value


async def finish(desk: Desk, agent: Principal, command_id: str, result: Result) -> str:
    """Store how a running command ended; the same outcome again answers the same. Return the state."""
    wanted = CommandState(result.outcome)
    async with desk.platform.database.write() as session:
        row = await _mine(session, desk, agent, command_id)
        state = CommandState(row.state)
        if state is wanted:
            return wanted.value
        check_step(state, wanted)
        reason = str(result.data.get("code", ""))[:64] if wanted is not S.SUCCEEDED else ""
        await _finish(session, desk, row, wanted, reason=reason, detail=result.detail[:2000], data=result.data)
    desk.wakeups.wake(f"command:{command_id}")
    return wanted.value


async def renew_leases(desk: Desk, agent: Principal, renewal: LeaseRenewal) -> LeaseReply:
    """Renew the agent's running commands; ids in neither list of the answer are no longer the agent's (SP-27)."""
    now = desk.platform.clock.now()
    async with desk.platform.database.write() as session:
        await working_site(session, agent.tenant, agent.subject)
        asked = sorted(set(renewal.leases[:256]))
        mine = (_C.id.in_(asked), _C.site_id == agent.subject, _C.state == S.RUNNING.value)
        until = now + timedelta(seconds=desk.settings.lease_s)
        renewed = await session.execute(
            update(site_command).where(*mine).values(lease_until=until).returning(_C.id, _C.cancel_requested)
        )
        rows = renewed.all()
    return LeaseReply(
        renewed=sorted(r.id for r in rows if not r.cancel_requested),
        cancel_requested=sorted(r.id for r in rows if r.cancel_requested),
    )


async def end_overdue(desk: Desk) -> int:
    """Expire what nobody began before its deadline; fail what runs without a lease. Return how many."""
    now = desk.platform.clock.now()
    late = _C.state.in_(_WAITING) & (_C.deadline <= now)
    lost = (_C.state == S.RUNNING.value) & (_C.lease_until < now)
    async with desk.platform.database.read() as session:
        if (await session.execute(select(_C.id).where(late | lost).limit(1))).first() is None:
            return 0
    async with desk.platform.database.write() as session:
        rows = (await session.execute(select(site_command).where(late | lost).with_for_update())).all()
        for row in rows:
            if row.state == S.RUNNING.value:
                words = "The site stopped answering: lease lost."
                await _finish(session, desk, row, S.FAILED, reason="lease-lost", detail=words)
            else:
                words = "The site did not begin in time."
                await _finish(session, desk, row, S.EXPIRED, reason="deadline", detail=words)
    for row in rows:
        desk.wakeups.wake(f"command:{row.id}")
    return len(rows)


async def sites_with_queued(desk: Desk) -> set[str]:
    """Return the sites for which a command is queued (by any gateway process)."""
    async with desk.platform.database.read() as session:
        queued = select(_C.site_id).where(_C.state == S.QUEUED.value).distinct()
        return set((await session.scalars(queued)).all())


async def _mine(session: AsyncSession, desk: Desk, agent: Principal, command_id: str) -> Row[Any]:
    await working_site(session, agent.tenant, agent.subject)
    row = (await session.execute(select(site_command).where(_C.id == command_id).with_for_update())).first()
    if row is None:
        raise CommandUnknown("There is no such command for this site.")
    if row.site_id != agent.subject:
        raise CommandForeign("There is no such command for this site.")
    return row


async def _finish(
    session: AsyncSession,
    desk: Desk,
    row: Row[Any],
    state: CommandState,
    *,
    reason: str = "",
    detail: str = "",
    data: dict[str, Any] | None = None,
) -> None:
    """End the command; whose picture it was leaves the queue with it."""
    values = {
        "state": state.value, "reason": reason, "detail": detail, "data": data or {}, "lease_until": None,
        "finished_at": desk.platform.clock.now(), "args": _without_patient(row.args),
    }  # fmt: skip
    await session.execute(update(site_command).where(_C.id == row.id).values(values))


def _without_patient(args: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in args.items() if key != "context"}


def _message(row: Row[Any]) -> Command:
    return Command.model_validate(
        {
            "id": row.id, "seq": row.seq, "args": row.args, "issued_at": utc(row.issued_at),
            "deadline": utc(row.deadline), "actor": row.actor,
        }
    )  # fmt: skip


def command_wire(row: Row[Any]) -> dict[str, Any]:
    """Return the command as services see it."""
    return {
        "id": row.id, "site_id": row.site_id, "seq": row.seq, "type": row.type, "args": row.args, "actor": row.actor,
        "state": row.state, "reason": row.reason, "detail": row.detail, "data": row.data,
        "issued_at": iso(utc(row.issued_at)), "deadline": iso(utc(row.deadline)),
        "finished_at": iso(utc(row.finished_at)) if row.finished_at else None,
        "cancel_requested": row.cancel_requested,
    }  # fmt: skip
