"""What the endpoints share: the desk, the client's address, and the answers of every kind."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from starlette.types import Scope

from consilium_core.errors import Denied
from consilium_core.roles import Permission, Principal
from consilium_gateway.errors import SiteRevoked
from consilium_gateway.flow.desk import Desk
from consilium_platform.audit import AuditRecord
from consilium_platform.http.auth import bearer, require, route_of


def desk_of(request: Request) -> Desk:
    """Return the desk that ``app.py`` laid out."""
    desk: Desk = request.app.state.desk
    return desk


DeskDep = Annotated[Desk, Depends(desk_of)]


def address_of(scope: Scope, trusted_hops: int) -> str:
    """Return the client's address: the peer's, or the entry of X-Forwarded-For that the last trusted proxy wrote."""
    if trusted_hops:
        entries = [
            entry.strip()
            for name, value in scope["headers"]
            if name == b"x-forwarded-for"
            for entry in value.decode("latin-1").split(",")
        ]
        if len(entries) >= trusted_hops:
            return str(entries[-trusted_hops])[:64]
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def scheme_of(scope: Scope, trusted_hops: int) -> str:
    """Return ``http`` or ``https`` as the browser sees it."""
    if trusted_hops:
        for name, value in scope["headers"]:
            if name == b"x-forwarded-proto":
                return "https" if value.strip().lower().endswith(b"https") else "http"
    return str(scope.get("scheme", "http"))


async def agent_of(principal: Annotated[Principal, Depends(require(Permission.SITE_WORK))]) -> Principal:
    """Return the site behind the token; a person or service is refused (and audited)."""
    if principal.kind != "site":
        raise Denied("Only a site's agent may call this.")
    return principal


AgentDep = Annotated[Principal, Depends(agent_of)]


async def note_revoked(request: Request) -> None:
    """Leave a trace of a revoked site that still calls with a token; a flood of one site is counted, not written."""
    token = bearer(request)
    if not token:  # the exchange of its secret leaves its own
        return
    agent = request.app.state.verifier.verify(token)
    record = AuditRecord(
        agent.tenant, agent.subject, agent.role.value, "token.refused", "denied",
        subject=route_of(request), detail=SiteRevoked.code,
    )  # fmt: skip
    await desk_of(request).refusals.record(agent.subject, record)


def address(request: Request) -> str:
    """Return the caller's address under the gateway's trust settings."""
    return address_of(request.scope, desk_of(request).settings.trusted_proxy_hops)


AddressDep = Annotated[str, Depends(address)]
