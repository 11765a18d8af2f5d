"""The site protocol's addresses on the gateway (``/site/v1``, docs/protocols/site-polling.md), except the long poll (``poll.py``)."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from consilium_core.roles import Principal
from consilium_core.site_protocol import (
    Ack,
    AgentEvents,
    EnrollReply,
    EnrollRequest,
    EventsReply,
    LeaseRenewal,
    LeaseReply,
    PollReply,
    Result,
    SessionReply,
    SessionRequest,
    TokenReply,
    TokenRequest,
)
from consilium_gateway.api.parts import AddressDep, AgentDep, DeskDep
from consilium_gateway.errors import CommandForeign
from consilium_gateway.flow.agent_events import take_events
from consilium_gateway.flow.commands import acknowledge, finish, renew_leases
from consilium_gateway.flow.desk import Desk
from consilium_gateway.flow.enrol import enroll, open_agent_session, renew_token

router = APIRouter(prefix="/site/v1", tags=["site agent"])


class _Handover(Response):
    """Lets a bare ASGI app answer the request."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__()
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


class StateReply(BaseModel):
    """How the command stands now."""

    state: Literal["running", "succeeded", "failed", "refused", "cancelled"]


@router.post("/enroll")
async def enrol(body: EnrollRequest, desk: DeskDep, address: AddressDep) -> EnrollReply:
    """Trade a one-time code for an identity (SP-10)."""
    return await enroll(desk, body, address)


@router.post("/token")
async def token(body: TokenRequest, desk: DeskDep, address: AddressDep) -> TokenReply:
    """Trade the site's secret for an access token (SP-12)."""
    return await renew_token(desk, body, address)


@router.post("/session")
async def session(body: SessionRequest, desk: DeskDep, agent: AgentDep) -> SessionReply:
    """Say hello after a start (SP-13)."""
    return await open_agent_session(desk, agent, body)


@router.get("/commands", response_class=Response, responses={200: {"model": PollReply}, 204: {"description": "None."}})
async def poll(
    request: Request,
    agent: AgentDep,
    wait: Annotated[float, Query(ge=0, le=50)] = 0,
    cursor: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """Wait for commands (SP-20). The door answers this address itself; here it stands for the document and the inner port."""
    return _Handover(request.app.state.poll)


@router.post("/commands/{command_id}/ack")
async def ack(command_id: str, body: Ack, desk: DeskDep, agent: AgentDep) -> StateReply:
    """Accept or refuse a command (SP-24)."""
    try:
        state = await acknowledge(desk, agent, command_id, body)
    except CommandForeign:
        await _foreign(desk, agent, command_id)
        raise
    return StateReply.model_validate({"state": state})


@router.post("/commands/{command_id}/result")
async def result(command_id: str, body: Result, desk: DeskDep, agent: AgentDep) -> StateReply:
    """Say how a command ended (SP-26)."""
    try:
        state = await finish(desk, agent, command_id, body)
    except CommandForeign:
        await _foreign(desk, agent, command_id)
        raise
    return StateReply.model_validate({"state": state})


@router.post("/leases/renew")
async def leases(body: LeaseRenewal, desk: DeskDep, agent: AgentDep) -> LeaseReply:
    """Renew the leases of running commands (SP-27)."""
    return await renew_leases(desk, agent, body)


@router.post("/events")
async def events(body: AgentEvents, desk: DeskDep, agent: AgentDep) -> EventsReply:
    """Take the agent's reports (SP-30)."""
    return await take_events(desk, agent, body)


async def _foreign(desk: Desk, agent: Principal, command_id: str) -> None:
    await desk.platform.audit.act(agent, "site.foreign", "denied", subject=command_id[:64], detail="another site's")
