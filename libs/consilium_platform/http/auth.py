"""Bearer authentication and permissions as FastAPI dependencies; every refusal is audited."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from consilium_core.errors import Denied, Unauthenticated
from consilium_core.roles import Permission, Principal
from consilium_platform.audit import AuditLog, AuditRecord
from consilium_platform.http.refusals import Refusals
from consilium_platform.revoked import RevokedSites
from consilium_platform.tokens import TokenRefused, TokenVerifier

_REVOKED = "site-revoked"


def bearer(request: Request) -> str:
    """Return the token of ``Authorization: Bearer`` (RFC 6750 2.1), or an empty string."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


@dataclass(frozen=True)
class require:  # noqa: N801  # reads as a verb where it is used: Depends(require(Permission.X))
    """A dependency that yields the caller if the role holds ``permission``.

    It reads ``request.app.state.verifier`` and ``request.app.state.audit``, which the app factory sets. What it demands can be
    read from it, so that a test can list every endpoint's permission.
    """

    permission: Permission

    async def __call__(self, request: Request) -> Principal:
        return await authorize(request, self.permission)


async def authorize(request: Request, permission: Permission) -> Principal:
    """Verify the bearer token (and that its site was not revoked) and the permission; audit and raise on refusal."""
    verifier: TokenVerifier = request.app.state.verifier
    audit: AuditLog = request.app.state.audit
    try:
        principal = verifier.verify(bearer(request))
    except Unauthenticated as refusal:
        if bearer(request):  # a request without any token is noise, one with a bad token is an event
            refusals: Refusals = request.app.state.refusals
            await refusals.record(
                request.client.host if request.client else "unknown",
                AuditRecord(
                    tenant=str(refusal.facts.get("tenant", DEFAULT_TENANT)),
                    actor=str(refusal.facts.get("subject", "unknown")),
                    role="",
                    action="token.refused",
                    outcome="denied",
                    subject=route_of(request),
                    detail=str(refusal.facts.get("reason", "")),
                ),
            )
        raise
    revoked: RevokedSites | None = request.app.state.revoked
    if principal.kind == "site" and revoked is not None and await revoked.confirmed(principal.subject):
        await audit.act(principal, "token.refused", "denied", subject=route_of(request), detail=_REVOKED)
        raise TokenRefused("This site was revoked. Ask an administrator for a new enrolment code.", reason=_REVOKED)
    try:
        principal.require(permission)
    except Denied:
        await audit.act(principal, "permission.denied", "denied", subject=route_of(request), detail=permission.value)
        raise
    return principal


DEFAULT_TENANT = "demo"


def route_of(request: Request) -> str:
    """Return method and path, bounded; paths carry no patient data by rule."""
    return f"{request.method} {request.url.path}"[:250]
