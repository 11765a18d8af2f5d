"""What every flow of the gateway works with; made once by ``app.py``."""

from __future__ import annotations

from dataclasses import dataclass

from consilium_core.errors import Corrupt
from consilium_core.roles import Role
from consilium_gateway.adapters.passwords import Passwords
from consilium_gateway.domain.limits import TryLimit
from consilium_gateway.flow.presence import Presence
from consilium_gateway.flow.wakeups import WakeHub
from consilium_gateway.settings import GatewaySettings
from consilium_platform.audit import AuditRecord, Outcome
from consilium_platform.http.refusals import Refusals
from consilium_platform.platform import Platform
from consilium_platform.tokens import Claims


@dataclass(frozen=True, slots=True)
class Desk:
    """Resources and state that the endpoints share."""

    platform: Platform
    settings: GatewaySettings
    passwords: Passwords
    wakeups: WakeHub
    presence: Presence
    sign_in_tries: TryLimit
    address_tries: TryLimit
    enrol_tries: TryLimit
    token_tries: TryLimit
    refusals: Refusals

    def sign(self, claims: Claims, ttl_s: float) -> str:
        """Return an access token, or raise Corrupt when this process holds no signing key."""
        if self.platform.user_signer is None:
            raise Corrupt("The gateway has no signing key (CONSILIUM_PLATFORM_USER_KEY_FILE).")
        return self.platform.user_signer.sign(claims, ttl_s)

    async def record(
        self,
        tenant: str,
        actor: str,
        role: Role | str,
        action: str,
        outcome: Outcome,
        subject: str = "",
        detail: str = "",
    ) -> None:
        """Write an audit entry of a known actor who has no token (yet)."""
        await self.platform.audit.record(
            AuditRecord(tenant, actor, str(role), action, outcome, subject=subject, detail=detail)
        )

    async def refuse(self, address: str, tenant: str, actor: str, role: Role | str, action: str, detail: str) -> None:
        """Write an audit entry of a refused caller, with the address it came from; a flood from one address is counted, not written."""
        words = f"{detail}, from {address}"
        await self.refusals.record(address, AuditRecord(tenant, actor, str(role), action, "denied", detail=words))
