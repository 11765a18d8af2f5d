"""Orders to sites by the gateway's internal API (docs/architecture.md section 5, gateway, internal)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from consilium_core.errors import Unavailable
from consilium_core.site_protocol import CommandArgs, CommandState
from consilium_live.flow.ports import CommandStatus
from consilium_platform.http.client import ServiceDirectory

_TIMEOUT_S = 10.0


class GatewayCommands:
    """``flow.ports.SiteCommands`` over HTTP, or straight into the gateway of this process."""

    def __init__(self, services: ServiceDirectory) -> None:
        self._services = services

    async def send(self, tenant: str, site_id: str, args: CommandArgs, *, deadline_s: float, actor: str) -> str:
        """Queue a command; return its id."""
        body = {"args": args.model_dump(mode="json"), "deadline_s": deadline_s, "actor": actor}
        reply = await self._services.call(
            "gateway", "POST", f"/internal/v1/sites/{quote(site_id, safe='')}/commands", tenant=tenant, caller="live", json=body,
            timeout_s=_TIMEOUT_S,
        )  # fmt: skip
        return _status(reply).id

    async def status(self, tenant: str, command_id: str) -> CommandStatus:
        """Return how a command stands."""
        reply = await self._services.call(
            "gateway", "GET", f"/internal/v1/sites/commands/{command_id}", tenant=tenant, caller="live",
            timeout_s=_TIMEOUT_S,
        )  # fmt: skip
        return _status(reply)

    async def site_name(self, tenant: str, site_id: str) -> str:
        """Return what the site is called."""
        path = f"/internal/v1/sites/{quote(site_id, safe='')}"
        reply = await self._services.call("gateway", "GET", path, tenant=tenant, caller="live", timeout_s=_TIMEOUT_S)
        return str(reply.get("name") or "")


def _status(reply: Any) -> CommandStatus:
    try:
        state = CommandState(reply.get("state", CommandState.QUEUED.value))
        data = reply.get("data") or (reply.get("result") or {}).get("data") or {}
        reason = str(reply.get("reason") or reply.get("detail") or "")
        return CommandStatus(str(reply["id"]), state, reason, dict(data))
    except (AttributeError, KeyError, TypeError, ValueError) as problem:
        raise Unavailable("The gateway's answer about a command can't be read.") from problem
