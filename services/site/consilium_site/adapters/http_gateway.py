"""The gateway's ``/site/v1`` and WHIP over HTTP: one method per rule of docs/protocols/site-polling.md."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from consilium_core.site_protocol import (
    Ack,
    AgentDescription,
    AgentEvent,
    AgentEvents,
    EnrollReply,
    EnrollRequest,
    EventsReply,
    LeaseRenewal,
    LeaseReply,
    Result,
    SessionReply,
    SessionRequest,
)
from consilium_site.adapters.http_client import Http, problem_detail, refuse, reply
from consilium_site.adapters.whip_aiortc import WhipAnswer, parse_ice_links
from consilium_site.errors import EnrolmentRefused, ServerUnavailable, SessionRequired, StreamGone, StreamPaused
from consilium_site.ports import RawPoll

_POLL_SPARE_S = 10.0


class _LoosePoll(BaseModel):
    """A poll's reply whose commands are parsed one by one later (SP-04)."""

    model_config = ConfigDict(extra="ignore")

    commands: list[dict[str, Any]]
    cursor: int
    server_time: datetime | None = None


class HttpGateway:
    """``ports.Server`` over HTTP."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def enroll(self, code: str, nonce: str, agent: AgentDescription) -> EnrollReply:
        """Enrol (SP-10); raises EnrolmentRefused for a code that is wrong, used or expired."""
        request = EnrollRequest(code=code, nonce=nonce, agent=agent)
        response = await self._http.post("/site/v1/enroll", request, authorized=False)
        if 400 <= response.status_code < 500:
            raise EnrolmentRefused(problem_detail(response))
        return reply(EnrollReply, response)

    async def session(self, request: SessionRequest) -> SessionReply:
        """Say hello (SP-13)."""
        response = await self._http.post("/site/v1/session", request)
        if response.status_code >= 300:
            raise refuse(response)
        return reply(SessionReply, response)

    async def poll(self, wait_s: float, cursor: int) -> RawPoll:
        """Wait for commands (SP-20)."""
        response = await self._http.send(
            "GET",
            "/site/v1/commands",
            params={"wait": f"{wait_s:g}", "cursor": str(cursor)},
            read_timeout_s=wait_s + _POLL_SPARE_S,
        )
        if response.status_code == 204:
            return RawPoll([], cursor, None)
        if response.status_code == 409:
            raise SessionRequired(problem_detail(response))
        if response.status_code != 200:
            raise refuse(response)
        got = reply(_LoosePoll, response)
        return RawPoll(got.commands, got.cursor, got.server_time)

    async def ack(self, command_id: str, ack: Ack) -> None:
        """Accept or refuse a command (SP-24); raises ServerRefused when the server no longer wants an answer."""
        response = await self._http.post(f"/site/v1/commands/{command_id}/ack", ack)
        if response.status_code >= 300:
            raise refuse(response)

    async def result(self, command_id: str, result: Result) -> None:
        """Say how a command ended (SP-26)."""
        response = await self._http.post(f"/site/v1/commands/{command_id}/result", result)
        if response.status_code >= 300:
            raise refuse(response)

    async def renew(self, leases: Sequence[str]) -> LeaseReply:
        """Renew leases (SP-27)."""
        response = await self._http.post("/site/v1/leases/renew", LeaseRenewal(leases=list(leases)))
        if response.status_code >= 300:
            raise refuse(response)
        return reply(LeaseReply, response)

    async def events(self, events: Sequence[AgentEvent]) -> int:
        """Deliver events (SP-30)."""
        response = await self._http.post("/site/v1/events", AgentEvents(events=list(events)))
        if response.status_code >= 300:
            raise refuse(response)
        return reply(EventsReply, response).acked_through


class HttpWhip:
    """``WhipTransport``: the HTTP side of RFC 9725."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def post_offer(self, whip_url: str, sdp: str) -> WhipAnswer:
        """POST the offer; raises StreamGone on 403, 404 and 410 (SP-40)."""
        response = await self._http.send(
            "POST", whip_url, content=sdp, headers={"content-type": "application/sdp", "accept": "application/sdp"}
        )
        if response.status_code in (403, 404, 410):
            raise StreamGone(problem_detail(response), status=response.status_code)
        if response.status_code == 409:
            raise StreamPaused(problem_detail(response))
        if response.status_code != 201:
            raise ServerUnavailable(problem_detail(response), status=response.status_code)
        location = self._http.resolve(response.headers.get("location", ""), against=whip_url)
        return WhipAnswer(response.text, location, parse_ice_links(response.headers.get_list("link")))

    async def renew(self, location: str) -> float:
        """PATCH the session without a body; return how long the token that it carried is used, seconds."""
        tokens = self._http.tokens
        good_for_s = tokens.good_for_s() if tokens is not None else 0.0  # asked before: the one sent is at least as new
        response = await self._http.send("PATCH", location)
        if response.status_code in (403, 404, 410):
            raise StreamGone(problem_detail(response), status=response.status_code)
        if response.status_code >= 300:
            raise refuse(response)
        return good_for_s

    async def delete(self, location: str) -> None:
        """DELETE the session; an answer of any kind is good."""
        await self._http.send("DELETE", location)
