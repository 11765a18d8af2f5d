"""People: accounts, sign-in by password, re-authentication before a signature, tokens for the command line."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from sqlalchemy import insert, select, update

from consilium_core.clock import Clock, SystemClock
from consilium_core.errors import Invalid
from consilium_core.ids import new_ulid
from consilium_core.roles import Role
from consilium_gateway.adapters.passwords import hash_password
from consilium_gateway.adapters.tables import user_account
from consilium_gateway.domain.codes import digest
from consilium_gateway.errors import PasswordWrong, SignInRefused, TooManyTries, UserUnknown
from consilium_gateway.flow.desk import Desk
from consilium_platform.http.auth import DEFAULT_TENANT
from consilium_platform.sql import Database
from consilium_platform.tokens import Claims, TokenSigner

_MACHINES = (Role.SITE, Role.SERVICE)


@dataclass(frozen=True, slots=True)
class User:
    """A person with an account; ``password_hash`` never leaves this module's callers."""

    id: str
    tenant: str
    username: str
    name: str
    role: Role
    disabled: bool

    def wire(self) -> dict[str, str]:
        """Return what a client may see."""
        return {
            "id": self.id, "username": self.username, "name": self.name, "role": self.role.value, "tenant": self.tenant,
        }  # fmt: skip

    def claims(self) -> Claims:
        """Return what this person's tokens say."""
        return Claims("user", self.id, self.tenant, self.role, self.name)


async def find_user(database: Database, *, username: str = "", user_id: str = "") -> tuple[User, str] | None:
    """Return the account and its password hash, by name or by id."""
    column, value = (user_account.c.id, user_id) if user_id else (user_account.c.username, username.strip().lower())
    async with database.read() as session:
        row = (await session.execute(select(user_account).where(column == value))).first()
    if row is None:
        return None
    return User(row.id, row.tenant, row.username, row.name, Role(row.role), row.disabled), row.password_hash


async def list_users(database: Database, tenant: str) -> list[User]:
    """Return the tenant's accounts by username."""
    query = select(user_account).where(user_account.c.tenant == tenant).order_by(user_account.c.username)
    async with database.read() as session:
        rows = (await session.execute(query)).all()
    return [User(r.id, r.tenant, r.username, r.name, Role(r.role), r.disabled) for r in rows]


async def ensure_user(
    database: Database,
    *,
    username: str,
    name: str,
    role: Role,
    password: str | None,
    tenant: str = DEFAULT_TENANT,
    clock: Clock | None = None,
) -> tuple[User, bool]:
    """Create the account or bring it to this name, role and (unless None) password; return it and whether it is new."""
    username = username.strip().lower()
    if not username or len(username) > 64 or role in _MACHINES:
        raise Invalid("A user needs a name of at most 64 characters and a person's role.", username=username[:64])
    known = await find_user(database, username=username)
    if known is None and password is None:
        raise Invalid("A new user needs a password.", username=username)
    values = {"name": name, "role": role.value, "tenant": tenant, "disabled": False}
    if password is not None:
        values["password_hash"] = await asyncio.to_thread(hash_password, password)
    async with database.write() as session:
        if known is None:
            user_id = new_ulid()
            row = {**values, "id": user_id, "username": username, "created_at": (clock or SystemClock()).now()}
            await session.execute(insert(user_account).values(row))
        else:
            user_id = known[0].id
            await session.execute(update(user_account).where(user_account.c.id == user_id).values(values))
    return User(user_id, tenant, username, name, role, False), known is None


async def issue_token(database: Database, signer: TokenSigner, username: str, ttl_s: float) -> str:
    """Return a bearer token for the user (``consilium token``); the signing key's file is the proof of the right."""
    known = await find_user(database, username=username)
    if known is None or known[0].disabled:
        raise UserUnknown(f"There is no user {username}.", username=username)
    return signer.sign(known[0].claims(), ttl_s)


async def sign_in(desk: Desk, username: str, password: str, address: str) -> User:
    """Return the user, or raise SignInRefused: the same words and time for an unknown name and a wrong password.

    Five failures in 15 minutes for one name and address make the next tries wait.
    """
    key = f"{username.strip().lower()[:64]}|{address}"
    known = await find_user(desk.platform.database, username=username)
    actor, tenant = (known[0].id, known[0].tenant) if known else ("unknown", DEFAULT_TENANT)
    role = known[0].role.value if known else ""
    try:
        desk.address_tries.take(address)
        desk.sign_in_tries.take(key)
    except TooManyTries:
        await desk.refuse(address, tenant, actor, role, "session.create", "too many tries")
        raise
    good = await desk.passwords.verify(password, known[1] if known else None)
    if known is None or not good or known[0].disabled:
        tried = "" if known else f", unknown name {digest(username.strip().lower())[:12]}"
        await desk.refuse(address, tenant, actor, role, "session.create", f"wrong name or password{tried}")
        raise SignInRefused("The name or the password is wrong.")
    desk.sign_in_tries.forget(key)
    desk.address_tries.forgive(address)
    await desk.record(tenant, actor, role, "session.create", "success")
    return known[0]


async def verify_password(desk: Desk, tenant: str, user_id: str, password: str) -> None:
    """Raise PasswordWrong unless it is this user's password (before a report is signed); audited, with back-off."""
    known = await find_user(desk.platform.database, user_id=user_id)
    if known is None or known[0].tenant != tenant:
        raise UserUnknown("There is no such user.")
    user, stored = known
    key = f"{user.id}|verify"
    desk.sign_in_tries.take(key)
    if user.disabled or not await desk.passwords.verify(password, stored):
        await desk.record(tenant, user.id, user.role, "password.verify", "denied")
        raise PasswordWrong("The password is wrong.")
    desk.sign_in_tries.forget(key)
    await desk.record(tenant, user.id, user.role, "password.verify", "success")
