"""How an agent gets an identity and keeps it: one-time code, long-lived secret, short-lived tokens (SP-10 to SP-13)."""

from __future__ import annotations

import hmac
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, delete, select, update

from consilium_core.roles import Principal, Role
from consilium_core.site_protocol import (
    EnrollReply,
    EnrollRequest,
    Intervals,
    SessionReply,
    SessionRequest,
    TokenReply,
    TokenRequest,
)
from consilium_gateway.adapters.tables import enrolment_code, site, site_event, utc
from consilium_gateway.domain.codes import digest, new_secret, normal
from consilium_gateway.errors import CodeRefused, CodeUsed, SiteRevoked, SiteSecretRefused, TooManyTries
from consilium_gateway.flow.commands import acknowledged_through
from consilium_gateway.flow.desk import Desk
from consilium_gateway.flow.presence import announce
from consilium_gateway.flow.sites import working_site
from consilium_platform.http.auth import DEFAULT_TENANT
from consilium_platform.tokens import Claims

_REPLAY = timedelta(hours=1)  # how long after a code's end a lost reply may be asked for again with the same nonce
_SECRETS = 4  # secrets that replays may leave valid until one of them is used


async def enroll(desk: Desk, request: EnrollRequest, address: str) -> EnrollReply:
    """Trade a code for an identity. The same code and nonce answer the same site again, with a fresh secret."""
    try:
        desk.enrol_tries.take(address)
    except TooManyTries:
        await desk.refuse(address, DEFAULT_TENANT, "unknown", Role.SITE, "site.enroll", "too many tries")
        raise
    try:
        row, secret = await _spend(desk, request)
    except (CodeRefused, CodeUsed) as refusal:
        await desk.refuse(address, DEFAULT_TENANT, "unknown", Role.SITE, "site.enroll", refusal.code)
        raise
    desk.enrol_tries.forgive(address)
    desk.platform.outbox.wake()
    await desk.record(row.tenant, row.id, Role.SITE, "site.enroll", "success", subject=row.id)
    ttl_s = desk.settings.site_token_ttl_s
    return EnrollReply(
        site_id=row.id, tenant=row.tenant, name=row.name, access_token=_token(desk, row), refresh_secret=secret,
        expires_in_s=ttl_s, intervals=_intervals(desk),
    )  # fmt: skip


async def _spend(desk: Desk, request: EnrollRequest) -> tuple[Row[Any], str]:
    code_hash, nonce_hash = digest(normal(request.code)), digest(request.nonce)
    now, secret = desk.platform.clock.now(), new_secret()
    async with desk.platform.database.write() as session:
        mine = enrolment_code.c.code_hash == code_hash
        spend = update(enrolment_code).where(
            mine, enrolment_code.c.used_at.is_(None), enrolment_code.c.expires_at > now
        )
        spent = await session.execute(spend.values(used_at=now, nonce_hash=nonce_hash))
        code = (await session.execute(select(enrolment_code).where(mine))).first()
        if code is None:
            raise CodeRefused("The enrolment code is wrong. Ask for a new one on the sites page.")
        first = bool(spent.rowcount)  # type: ignore[attr-defined]  # an UPDATE's result has it
        replay_ends = utc(code.expires_at) + _REPLAY
        if not first and (not hmac.compare_digest(code.nonce_hash, nonce_hash) or now > replay_ends):
            raise CodeUsed("The enrolment code was used or has expired. Ask for a new one on the sites page.")
        row = (await session.execute(select(site).where(site.c.id == code.site_id).with_for_update())).one()
        hashes = [] if first else list(row.refresh_hashes)
        values: dict[str, Any] = {
            "state": "enrolled",
            "refresh_hashes": [*hashes, digest(secret)][-_SECRETS:],
            "public_key": request.agent.public_key[:4096],
            "version": request.agent.version[:64],
        }
        if first:  # another agent may have been here: it has its own boot, cursor and event numbers
            values |= {"session_at": None, "boot_id": "", "event_seq": 0, "streams": {}, "devices": []}
            await session.execute(delete(site_event).where(site_event.c.site_id == row.id))
        await session.execute(update(site).where(site.c.id == row.id).values(values))
        await announce(session, row.id)
        return row, secret


async def renew_token(desk: Desk, request: TokenRequest, address: str) -> TokenReply:
    """Trade the site's secret for a token; the first use of a secret ends the others that replays left.

    Sixty failures in 15 minutes from one address make the next tries wait; a right secret costs nothing.
    """
    desk.token_tries.take(address)
    given = digest(request.refresh_secret)
    async with desk.platform.database.read() as session:
        row = (await session.execute(select(site).where(site.c.id == request.site_id[:26]))).first()
    if row is not None and row.state == "revoked":
        await desk.refuse(address, row.tenant, row.id, Role.SITE, "site.token", "revoked")
        raise SiteRevoked("This site was revoked. Ask an administrator for a new enrolment code.")
    if row is None or given not in row.refresh_hashes:
        tenant, actor = (row.tenant, row.id) if row is not None else (DEFAULT_TENANT, "unknown")
        await desk.refuse(address, tenant, actor, Role.SITE, "site.token", "wrong secret")
        raise SiteSecretRefused("The site's secret is not known. Enrol the agent again.")
    desk.token_tries.forgive(address)
    if row.refresh_hashes != [given]:
        async with desk.platform.database.write() as session:
            await session.execute(update(site).where(site.c.id == row.id).values(refresh_hashes=[given]))
    return TokenReply(access_token=_token(desk, row), expires_in_s=desk.settings.site_token_ttl_s)


async def open_agent_session(desk: Desk, agent: Principal, request: SessionRequest) -> SessionReply:
    """Note the agent's hello; answer the intervals, the server's time and the first cursor."""
    now = desk.platform.clock.now()
    offset_ms = round((utc(request.sent_at) - now).total_seconds() * 1000)
    async with desk.platform.database.write() as session:
        row = await working_site(session, agent.tenant, agent.subject, lock=True)
        values: dict[str, Any] = {
            "session_at": now, "boot_id": request.agent.boot_id[:128], "version": request.agent.version[:64],
            "clock_offset_ms": max(-(2**31), min(2**31 - 1, offset_ms)),
            "devices": [device.model_dump() for device in request.devices[:64]],
            "spool_unacknowledged": request.spool_unacknowledged, "spool_bytes": request.spool_bytes,
        }  # fmt: skip
        if row.boot_id != request.agent.boot_id:
            values["streams"] = {}
        await session.execute(update(site).where(site.c.id == row.id).values(values))
        await announce(session, row.id)
        cursor = await acknowledged_through(session, row.id, row.command_seq)
    desk.platform.outbox.wake()
    await desk.presence.touch(agent.subject)
    return SessionReply(intervals=_intervals(desk), server_time=now, cursor=cursor)


def _intervals(desk: Desk) -> Intervals:
    return Intervals(poll_wait_s=desk.settings.poll_wait_max_s, lease_renew_s=desk.settings.lease_s / 3)


def _token(desk: Desk, row: Row[Any]) -> str:
    return desk.sign(Claims("site", row.id, row.tenant, Role.SITE, row.name), desk.settings.site_token_ttl_s)
