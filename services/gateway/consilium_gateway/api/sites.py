"""Sites for administrators (``/api/v1/sites``), and their commands for the other services (``/internal/v1/sites``)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from consilium_core.roles import Permission, Principal
from consilium_core.site_protocol import AgentDiagnose, CommandArgs, Device
from consilium_gateway.api.parts import DeskDep
from consilium_gateway.flow.commands import cancel, find_command, issue, list_commands
from consilium_gateway.flow.sites import create_site, get_site, list_sites, new_enrolment_code, revoke_site
from consilium_platform.http.auth import require

router = APIRouter(tags=["sites"])
Reader = Annotated[Principal, Depends(require(Permission.SITE_READ))]
Manager = Annotated[Principal, Depends(require(Permission.SITE_MANAGE))]
Service = Annotated[Principal, Depends(require(Permission.INTERNAL))]


class Spool(BaseModel):
    """What the agent still has to upload."""

    unacknowledged: int
    bytes: int


class SiteReply(BaseModel):
    """A site and what its agent last said."""

    id: str
    name: str
    state: Literal["pending", "enrolled", "revoked"]
    online: bool
    last_seen: str | None
    version: str
    clock_offset_ms: int | None
    rooms: list[str]
    devices: list[Device]
    spool: Spool
    enrolment_code: str | None = None
    code_expires_at: str | None = None


class SitesReply(BaseModel):
    """The tenant's sites."""

    items: list[SiteReply]
    next_cursor: str | None = None


class NewSite(BaseModel):
    """A site to create."""

    name: str = Field(min_length=1, max_length=128)


class CommandReply(BaseModel):
    """A command and how it stands."""

    id: str
    site_id: str
    seq: int
    type: str
    args: dict[str, Any]
    actor: str
    state: str
    reason: str
    detail: str
    data: dict[str, Any]
    issued_at: str
    deadline: str
    finished_at: str | None
    cancel_requested: bool


class CommandsReply(BaseModel):
    """A site's newest commands."""

    items: list[CommandReply]
    next_cursor: str | None = None


class Order(BaseModel):
    """What an administrator may order by hand: a self-report only."""

    type: Literal["agent.diagnose"]
    args: dict[str, Any] = Field(default_factory=dict, max_length=0)


class InternalOrder(BaseModel):
    """A command that a service issues for ``actor``."""

    args: CommandArgs
    deadline_s: float = Field(default=10, gt=0, le=86_400)
    actor: str = Field(default="", max_length=128)


@router.get("/api/v1/sites")
async def sites(desk: DeskDep, principal: Reader) -> SitesReply:
    """List the sites."""
    return SitesReply.model_validate({"items": await list_sites(desk, principal.tenant)})


@router.post("/api/v1/sites", status_code=201)
async def create(body: NewSite, desk: DeskDep, principal: Manager) -> SiteReply:
    """Create a site; its enrolment code is shown once."""
    platform, ttl_s = desk.platform, desk.settings.code_ttl_s
    new = await create_site(
        platform.database, platform.clock, name=body.name, tenant=principal.tenant, code_ttl_s=ttl_s
    )
    await platform.audit.act(principal, "site.create", subject=new.site_id)
    wire = await get_site(desk, principal.tenant, new.site_id)
    return SiteReply.model_validate({**wire, "enrolment_code": new.code, "code_expires_at": new.expires_at})


@router.post("/api/v1/sites/{site_id}/enrolment-codes", status_code=201)
async def code(site_id: str, desk: DeskDep, principal: Manager) -> SiteReply:
    """Give a further enrolment code; unused older ones end."""
    platform, ttl_s = desk.platform, desk.settings.code_ttl_s
    new = await new_enrolment_code(
        platform.database, platform.clock, site_id=site_id, tenant=principal.tenant, code_ttl_s=ttl_s
    )
    await platform.audit.act(principal, "site.code", subject=site_id)
    wire = await get_site(desk, principal.tenant, site_id)
    return SiteReply.model_validate({**wire, "enrolment_code": new.code, "code_expires_at": new.expires_at})


@router.post("/api/v1/sites/{site_id}/revoke")
async def revoke(site_id: str, desk: DeskDep, principal: Manager) -> SiteReply:
    """Revoke the site: its agent is refused from now on."""
    await revoke_site(desk, principal, site_id)
    return SiteReply.model_validate(await get_site(desk, principal.tenant, site_id))


@router.post("/api/v1/sites/{site_id}/commands", status_code=202)
async def order(site_id: str, body: Order, desk: DeskDep, principal: Manager) -> CommandReply:
    """Ask the site's agent for a self-report."""
    command = await issue(desk, principal.tenant, site_id, AgentDiagnose(), deadline_s=120, actor=principal.subject)
    await desk.platform.audit.act(principal, "site.command", subject=site_id, detail=body.type)
    return CommandReply.model_validate(command)


@router.get("/api/v1/sites/{site_id}/commands")
async def commands(site_id: str, desk: DeskDep, principal: Manager) -> CommandsReply:
    """List the site's newest commands, without patient context."""
    return CommandsReply.model_validate({"items": await list_commands(desk, principal.tenant, site_id)})


@router.post("/internal/v1/sites/{site_id}/commands", status_code=201)
async def internal_order(site_id: str, body: InternalOrder, desk: DeskDep, principal: Service) -> CommandReply:
    """Queue a command for the site."""
    actor = body.actor or principal.subject
    command = await issue(desk, principal.tenant, site_id, body.args, deadline_s=body.deadline_s, actor=actor)
    return CommandReply.model_validate(command)


@router.get("/internal/v1/sites/commands/{command_id}")
async def internal_command(
    command_id: str, desk: DeskDep, principal: Service, wait: Annotated[float, Query(ge=0, le=30)] = 0
) -> CommandReply:
    """Return a command; with ``wait`` (s) as soon as it has ended."""
    return CommandReply.model_validate(await find_command(desk, principal.tenant, command_id, wait))


@router.post("/internal/v1/sites/commands/{command_id}/cancel")
async def internal_cancel(command_id: str, desk: DeskDep, principal: Service) -> CommandReply:
    """Cancel a command, or ask the agent to stop it when it runs."""
    return CommandReply.model_validate(await cancel(desk, principal.tenant, command_id))


@router.get("/internal/v1/sites/{site_id}")
async def internal_site(site_id: str, desk: DeskDep, principal: Service) -> SiteReply:
    """Return one site for another service (its name, whether it is there, its devices)."""
    return SiteReply.model_validate(await get_site(desk, principal.tenant, site_id))


@router.get("/internal/v1/sites")
async def internal_sites(desk: DeskDep, principal: Service) -> SitesReply:
    """Return the tenant's sites for another service."""
    return SitesReply.model_validate({"items": await list_sites(desk, principal.tenant)})
