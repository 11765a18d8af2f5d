"""Sites as administrators see them: create, enrolment codes, revoke, list."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from consilium_core.clock import Clock, iso
from consilium_core.errors import Invalid
from consilium_core.ids import new_ulid
from consilium_core.roles import Principal
from consilium_gateway.adapters.tables import enrolment_code, site, utc
from consilium_gateway.domain.codes import digest, new_code
from consilium_gateway.errors import SiteNotEnrolled, SiteRevoked, SiteUnknown
from consilium_gateway.flow.desk import Desk
from consilium_gateway.flow.presence import announce
from consilium_platform.http.auth import DEFAULT_TENANT
from consilium_platform.sql import Database


@dataclass(frozen=True, slots=True)
class NewCode:
    """A site and the code that enrols its agent; the code is shown once."""

    site_id: str
    code: str
    expires_at: str


async def create_site(
    database: Database,
    clock: Clock,
    *,
    name: str,
    tenant: str = DEFAULT_TENANT,
    code_ttl_s: float = 900,
    site_id: str | None = None,
) -> NewCode:
    """Create a pending site and its first code; without ``site_id`` it gets a new ULID."""
    name = name.strip()
    if not name or len(name) > 128:
        raise Invalid("A site needs a name of at most 128 characters.")
    site_id = site_id or new_ulid()
    row: dict[str, Any] = {
        "id": site_id, "tenant": tenant, "name": name, "state": "pending", "created_at": clock.now(),
        "refresh_hashes": [], "public_key": "", "boot_id": "", "version": "", "session_at": None, "last_seen": None,
        "online": False, "clock_offset_ms": None, "devices": [], "streams": {}, "spool_unacknowledged": 0,
        "spool_bytes": 0, "command_seq": 0, "event_seq": 0,
    }  # fmt: skip
    async with database.write() as session:
        await session.execute(insert(site).values(row))
        return await _add_code(session, clock, site_id, code_ttl_s)


async def ensure_site_code(
    database: Database, clock: Clock, *, site_id: str, name: str, tenant: str = DEFAULT_TENANT, code_ttl_s: float = 900
) -> str | None:
    """Make sure that a site with this id exists; return a fresh code while no agent has enrolled, else None."""
    async with database.read() as session:
        state = await session.scalar(select(site.c.state).where(site.c.id == site_id, site.c.tenant == tenant))
    if state is None:
        new = await create_site(database, clock, name=name, tenant=tenant, code_ttl_s=code_ttl_s, site_id=site_id)
        return new.code
    if state != "pending":
        return None
    return (await new_enrolment_code(database, clock, site_id=site_id, tenant=tenant, code_ttl_s=code_ttl_s)).code


async def new_enrolment_code(
    database: Database, clock: Clock, *, site_id: str, tenant: str, code_ttl_s: float = 900
) -> NewCode:
    """Give a further code for a site (a new agent, or a revoked site that comes back); unused older ones end."""
    async with database.write() as session:
        await site_row(session, tenant, site_id)
        await session.execute(
            delete(enrolment_code).where(enrolment_code.c.site_id == site_id, enrolment_code.c.used_at.is_(None))
        )
        return await _add_code(session, clock, site_id, code_ttl_s)


async def _add_code(session: AsyncSession, clock: Clock, site_id: str, ttl_s: float) -> NewCode:
    code, expires_at = new_code(), clock.now() + timedelta(seconds=ttl_s)
    row = {"code_hash": digest(code), "site_id": site_id, "expires_at": expires_at, "used_at": None, "nonce_hash": ""}
    await session.execute(insert(enrolment_code).values(row))
    return NewCode(site_id, code, iso(expires_at))


async def revoke_site(desk: Desk, who: Principal, site_id: str) -> None:
    """End the site's identity: its secret and its tokens are refused from now on, its codes are gone."""
    async with desk.platform.database.write() as session:
        await site_row(session, who.tenant, site_id)
        values = {"state": "revoked", "online": False, "refresh_hashes": []}
        await session.execute(update(site).where(site.c.id == site_id).values(values))
        await session.execute(delete(enrolment_code).where(enrolment_code.c.site_id == site_id))
        await announce(session, site_id)
        await desk.platform.audit.within(session, who, "site.revoke", subject=site_id)
    desk.platform.outbox.wake()
    desk.presence.forget(site_id)
    desk.wakeups.wake(f"site:{site_id}")


async def site_row(session: AsyncSession, tenant: str, site_id: str, *, lock: bool = False) -> Row[Any]:
    """Return the tenant's site or raise SiteUnknown; ``lock`` holds the row until the transaction ends."""
    query = select(site).where(site.c.id == site_id, site.c.tenant == tenant)
    row = (await session.execute(query.with_for_update() if lock else query)).first()
    if row is None:
        raise SiteUnknown("There is no such site.")
    return row


async def working_site(session: AsyncSession, tenant: str, site_id: str, *, lock: bool = False) -> Row[Any]:
    """Return the site of an agent's token, or raise SiteRevoked or SiteNotEnrolled."""
    return working(await site_row(session, tenant, site_id, lock=lock))


def working(row: Any) -> Row[Any]:
    """Return the row (of any columns with ``state``) of an enrolled site, or raise SiteUnknown, SiteNotEnrolled or SiteRevoked."""
    if row is None:
        raise SiteUnknown("There is no such site.")
    if row.state == "pending":
        raise SiteNotEnrolled("No agent has enrolled for this site yet. Give it the enrolment code.")
    if row.state != "enrolled":
        raise SiteRevoked("This site was revoked. Ask an administrator for a new enrolment code.")
    found: Row[Any] = row
    return found


async def list_sites(desk: Desk, tenant: str) -> list[dict[str, Any]]:
    """Return the tenant's sites by name, as the wire shows them."""
    async with desk.platform.database.read() as session:
        query = select(site).where(site.c.tenant == tenant).order_by(site.c.name, site.c.id)
        rows = (await session.execute(query)).all()
    return [site_wire(desk, row) for row in rows]


async def get_site(desk: Desk, tenant: str, site_id: str) -> dict[str, Any]:
    """Return one site."""
    async with desk.platform.database.read() as session:
        return site_wire(desk, await site_row(session, tenant, site_id))


def site_wire(desk: Desk, row: Row[Any]) -> dict[str, Any]:
    """Return the site as the wire shows it; ``rooms`` are those it publishes into now."""
    seen = [utc(at) for at in (row.last_seen, desk.presence.last_seen(row.id)) if at is not None]
    return {
        "id": row.id, "name": row.name, "state": row.state, "online": row.online,
        "last_seen": iso(max(seen)) if seen else None, "version": row.version, "clock_offset_ms": row.clock_offset_ms,
        "rooms": sorted({stream["room_id"] for stream in row.streams.values()}) if row.online else [],
        "devices": row.devices,
        "spool": {"unacknowledged": row.spool_unacknowledged, "bytes": row.spool_bytes},
    }  # fmt: skip
