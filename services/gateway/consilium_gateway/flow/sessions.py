"""Browser sessions: a rotating refresh secret in a cookie, kept here only as a digest.

The cookie is ``<session id>.<secret>``. Each refresh gives a new secret; an older one that comes back later than ten seconds
(two tabs may refresh at once) means that somebody has a copy, and ends the session.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import LABEL_STYLE_TABLENAME_PLUS_COL, insert, select, update

from consilium_core.ids import new_ulid
from consilium_core.roles import Role
from consilium_gateway.adapters.tables import browser_session, user_account, utc
from consilium_gateway.domain.codes import digest, new_secret
from consilium_gateway.errors import SessionEnded
from consilium_gateway.flow.desk import Desk
from consilium_gateway.flow.users import User

_GRACE = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Opened:
    """A session's user and the cookie to set; None leaves the browser's cookie as it is."""

    user: User
    cookie: str | None


async def open_session(desk: Desk, user: User) -> Opened:
    """Begin a session for a user who has just proven the password."""
    session_id, secret, now = new_ulid(), new_secret(), desk.platform.clock.now()
    row = {
        "id": session_id, "user_id": user.id, "secret_hash": digest(secret), "previous_hash": "",
        "created_at": now, "used_at": now, "revoked_at": None,
    }  # fmt: skip
    async with desk.platform.database.write() as session:
        await session.execute(insert(browser_session).values(row))
    return Opened(user, f"{session_id}.{secret}")


async def refresh_session(desk: Desk, cookie: str) -> Opened:
    """Trade the cookie for a new one, or raise SessionEnded."""
    session_id, _, secret = cookie.partition(".")
    given, fresh, now = digest(secret), new_secret(), desk.platform.clock.now()
    reused = False
    async with desk.platform.database.write() as session:
        query = select(browser_session, user_account).join(user_account).where(browser_session.c.id == session_id[:26])
        query = query.with_for_update(of=browser_session)
        row = (await session.execute(query.set_label_style(LABEL_STYLE_TABLENAME_PLUS_COL))).mappings().first()
        if row is None or row["browser_session_revoked_at"] is not None or row["user_account_disabled"]:
            raise SessionEnded("The session has ended. Sign in again.")
        used_at = utc(row["browser_session_used_at"])
        if now - used_at > timedelta(seconds=desk.settings.session_idle_s):
            raise SessionEnded("The session was idle for too long. Sign in again.")
        mine = browser_session.c.id == session_id
        if hmac.compare_digest(given, row["browser_session_secret_hash"]):
            values = {"secret_hash": digest(fresh), "previous_hash": given, "used_at": now}
            await session.execute(update(browser_session).where(mine).values(values))
            return Opened(_user(row), f"{session_id}.{fresh}")
        if hmac.compare_digest(given, row["browser_session_previous_hash"]) and now - used_at <= _GRACE:
            return Opened(_user(row), None)
        await session.execute(update(browser_session).where(mine).values(revoked_at=now))
        reused = True
    if reused:
        user = _user(row)
        await desk.record(user.tenant, user.id, user.role, "session.reuse", "denied", subject=session_id)
    raise SessionEnded("The session has ended because its secret was used twice. Sign in again.")


async def close_session(desk: Desk, cookie: str) -> None:
    """End the session if the cookie is its own; an unknown cookie is no error."""
    session_id, _, secret = cookie.partition(".")
    async with desk.platform.database.write() as session:
        query = select(browser_session, user_account).join(user_account).where(browser_session.c.id == session_id[:26])
        row = (await session.execute(query.set_label_style(LABEL_STYLE_TABLENAME_PLUS_COL))).mappings().first()
        if row is None or not hmac.compare_digest(digest(secret), row["browser_session_secret_hash"]):
            return
        now = desk.platform.clock.now()
        await session.execute(update(browser_session).where(browser_session.c.id == session_id).values(revoked_at=now))
    user = _user(row)
    await desk.record(user.tenant, user.id, user.role, "session.close", "success", subject=session_id)


def _user(row: Any) -> User:
    return User(
        row["user_account_id"], row["user_account_tenant"], row["user_account_username"], row["user_account_name"],
        Role(row["user_account_role"]), row["user_account_disabled"],
    )  # fmt: skip
