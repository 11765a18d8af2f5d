"""Reading the audit trail: ``/api/v1/audit`` and its verification; reading is itself recorded."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel
from sqlalchemy import select

from consilium_core.clock import iso
from consilium_core.roles import Permission, Principal
from consilium_gateway.adapters.tables import site, user_account, utc
from consilium_gateway.api.parts import DeskDep
from consilium_gateway.flow.desk import Desk
from consilium_platform.http.auth import require

router = APIRouter(tags=["audit"])
Auditor = Annotated[Principal, Depends(require(Permission.AUDIT_READ))]
Word = Annotated[str, Query(max_length=128)]


class EntryReply(BaseModel):
    """One act; ``actor`` is an id, ``actor_name`` what it is called today (empty for machines without a name)."""

    seq: int
    time: str
    actor: str
    actor_name: str
    role: str
    action: str
    outcome: str
    subject: str
    patient_id: str
    detail: str
    hash: str


class EntriesReply(BaseModel):
    """Entries, newest first."""

    items: list[EntryReply]
    next_cursor: str | None = None


class ChainReply(BaseModel):
    """Whether the hash chain is whole, and if not, the first entry that does not fit."""

    ok: bool
    entries: int
    first_bad_seq: int | None


@router.get("/api/v1/audit")
async def entries(
    desk: DeskDep,
    principal: Auditor,
    actor: Word = "",
    action: Word = "",
    patient_id: Word = "",
    outcome: Word = "",
    cursor: Annotated[int | None, Query(ge=1)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> EntriesReply:
    """Search the trail; ``actor`` is a user's or site's id or a username."""
    trail = desk.platform.audit
    await trail.act(principal, "audit.view", patient_id=patient_id)
    names, ids = await _names(desk, principal.tenant)
    found = await trail.search(
        principal.tenant, actor=ids.get(actor, actor), action=action, patient_id=patient_id, outcome=outcome,
        before=cursor, limit=limit + 1,
    )  # fmt: skip
    items = [_entry(row, names) for row in found[:limit]]
    return EntriesReply(items=items, next_cursor=str(items[-1].seq) if len(found) > limit else None)


@router.get("/api/v1/audit/verify")
async def verify(desk: DeskDep, principal: Auditor) -> ChainReply:
    """Walk the whole chain."""
    chain = await desk.platform.audit.verify(principal.tenant)
    await desk.platform.audit.act(principal, "audit.verify", detail="whole" if chain.ok else "broken")
    return ChainReply(ok=chain.ok, entries=chain.entries, first_bad_seq=chain.first_bad_number)


def _entry(row: dict[str, Any], names: dict[str, str]) -> EntryReply:
    words = {key: row[key] for key in ("actor", "role", "action", "outcome", "subject", "patient_id", "detail", "hash")}
    return EntryReply(seq=row["number"], time=iso(utc(row["time"])), actor_name=names.get(row["actor"], ""), **words)


async def _names(desk: Desk, tenant: str) -> tuple[dict[str, str], dict[str, str]]:
    people = select(user_account.c.id, user_account.c.username).where(user_account.c.tenant == tenant)
    sites = select(site.c.id, site.c.name).where(site.c.tenant == tenant)
    async with desk.platform.database.read() as session:
        users = {row.id: row.username for row in (await session.execute(people)).all()}
        names = {row.id: row.name for row in (await session.execute(sites)).all()}
    return {**names, **users}, {username: user_id for user_id, username in users.items()}
