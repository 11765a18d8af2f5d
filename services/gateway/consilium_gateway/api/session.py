"""Sign-in of people: ``/api/v1/session`` and ``/api/v1/users``; re-authentication for the other services."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from pydantic import BaseModel, Field

from consilium_core.errors import Invalid
from consilium_core.roles import Permission, Principal
from consilium_gateway.api.parts import AddressDep, DeskDep, desk_of, scheme_of
from consilium_gateway.errors import HeaderMissing, SessionEnded, UserUnknown
from consilium_gateway.flow.desk import Desk
from consilium_gateway.flow.sessions import Opened, close_session, open_session, refresh_session
from consilium_gateway.flow.users import find_user, list_users, sign_in, verify_password
from consilium_platform.http.auth import require

router = APIRouter(tags=["session"])
COOKIE = "consilium_refresh"
COOKIE_PATH = "/api/v1/session"


class SignIn(BaseModel):
    """A name and a password; neither is logged."""

    username: str = Field(min_length=1, max_length=64)
    password: str = Field(min_length=1, max_length=256)


class Password(BaseModel):
    """A password to check."""

    password: str = Field(min_length=1, max_length=256)


class UserReply(BaseModel):
    """Who somebody is."""

    id: str
    username: str
    name: str
    role: str
    tenant: str


class SignInReply(BaseModel):
    """A bearer token for ``expires_in_s`` seconds."""

    access_token: str
    expires_in_s: float
    user: UserReply


class WhoReply(BaseModel):
    """The signed-in user."""

    user: UserReply


class UsersReply(BaseModel):
    """The tenant's users."""

    items: list[UserReply]
    next_cursor: str | None = None


def ours(x_requested_by: Annotated[str, Header()] = "") -> None:
    """Refuse cookie requests without the header that another origin can't send (CSRF)."""
    if x_requested_by != "consilium":
        raise HeaderMissing("This needs the header X-Requested-By: consilium.")


@router.post("/api/v1/session")
async def create(body: SignIn, request: Request, response: Response, desk: DeskDep, address: AddressDep) -> SignInReply:
    """Sign in with a name and a password."""
    user = await sign_in(desk, body.username, body.password, address)
    return _answer(desk, request, response, await open_session(desk, user))


@router.post("/api/v1/session/refresh", dependencies=[Depends(ours)])
async def refresh(request: Request, response: Response, desk: DeskDep) -> SignInReply:
    """Trade the refresh cookie for a new token (and a new cookie)."""
    cookie = request.cookies.get(COOKIE, "")
    if not cookie:
        raise SessionEnded("There is no session. Sign in.")
    return _answer(desk, request, response, await refresh_session(desk, cookie))


@router.delete("/api/v1/session", status_code=204, dependencies=[Depends(ours)])
async def delete(request: Request, response: Response, desk: DeskDep) -> None:
    """Sign out: the refresh cookie is worth nothing afterwards."""
    cookie = request.cookies.get(COOKIE, "")
    if cookie:
        await close_session(desk, cookie)
    response.delete_cookie(COOKIE, path=COOKIE_PATH, httponly=True, samesite="strict")
    response.headers["Cache-Control"] = "no-store"


@router.get("/api/v1/session")
async def who(desk: DeskDep, principal: Annotated[Principal, Depends(require(Permission.EVENTS_READ))]) -> WhoReply:
    """Say who the bearer token speaks for."""
    known = await find_user(desk.platform.database, user_id=principal.subject)
    if known is None or known[0].disabled:
        raise UserUnknown("This account is no more.")
    return WhoReply(user=UserReply(**known[0].wire()))


@router.get("/api/v1/users")
async def users(desk: DeskDep, principal: Annotated[Principal, Depends(require(Permission.USER_READ))]) -> UsersReply:
    """List the tenant's users."""
    found = await list_users(desk.platform.database, principal.tenant)
    return UsersReply(items=[UserReply(**user.wire()) for user in found])


@router.post("/internal/v1/users/{user_id}/verify-password", status_code=204)
async def verify(
    user_id: str,
    body: Password,
    request: Request,
    principal: Annotated[Principal, Depends(require(Permission.INTERNAL))],
) -> None:
    """Check a signed-in user's password again, before a report is signed."""
    if len(user_id) > 64:
        raise Invalid("The user id is too long.")
    await verify_password(desk_of(request), principal.tenant, user_id, body.password)


def _answer(desk: Desk, request: Request, response: Response, opened: Opened) -> SignInReply:
    hops, wanted = desk.settings.trusted_proxy_hops, desk.settings.secure_cookie
    if opened.cookie is not None:
        secure = wanted if wanted is not None else scheme_of(request.scope, hops) == "https"
        options: dict[str, Any] = {"path": COOKIE_PATH, "httponly": True, "samesite": "strict", "secure": secure}
        response.set_cookie(COOKIE, opened.cookie, max_age=int(desk.settings.session_idle_s), **options)
    response.headers["Cache-Control"] = "no-store"
    ttl_s = desk.settings.user_token_ttl_s
    token = desk.sign(opened.user.claims(), ttl_s)
    return SignInReply(access_token=token, expires_in_s=ttl_s, user=UserReply(**opened.user.wire()))
