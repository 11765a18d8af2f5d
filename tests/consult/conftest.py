"""Consult over both worlds, with the other ends (gateway's password check, live's rooms) faked behind the service directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest_asyncio
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from consilium_consult.app import open_service
from consilium_consult.settings import ConsultSettings
from consilium_core.roles import Role
from consilium_platform.platform import Platform
from consilium_testkit.platforms import bearer

PASSWORD = "right-horse"


@dataclass
class Consult:
    """A client of the service, speaking as any role."""

    platform: Platform
    client: httpx2.AsyncClient
    rooms: list[dict[str, Any]] = field(default_factory=list)

    async def call(
        self, role: Role, method: str, path: str, *, subject: str | None = None, tenant: str = "demo", **more: Any
    ) -> httpx2.Response:
        headers = {**bearer(self.platform, role, subject=subject, tenant=tenant), **more.pop("headers", {})}
        return await self.client.request(method, f"/api/v1{path}", headers=headers, **more)

    async def patient(self, number: str = "P1") -> dict[str, Any]:
        name = {"family": "Wang", "given": "Xiaodong", "ideographic": "王^小东"}
        body = {"patient_id": number, "issuer": "H1", "name": name, "birth_date": "19680412", "sex": "M"}
        answer = await self.call(Role.OPERATOR, "POST", "/patients", json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def consultation(self, **more: Any) -> dict[str, Any]:
        patient = more.pop("patient", None) or await self.patient()
        body = {"patient_id": patient["id"], "question": "Is it worse?", "urgency": "urgent", **more}
        answer = await self.call(Role.OPERATOR, "POST", "/consultations", json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def report(self, number: str = "P1") -> dict[str, Any]:
        """Return a report that the operator has drafted and submitted, in review by the reviewer."""
        case = await self.consultation(patient=await self.patient(number))
        for role, verb in ((Role.SPECIALIST, "accept"), (Role.SPECIALIST, "start"), (Role.OPERATOR, "finish")):
            answer = await self.call(role, "POST", f"/consultations/{case['id']}/{verb}")
            assert answer.status_code == 200, answer.text
        report_id = answer.json()["report_id"]
        text = {"findings": "二尖瓣反流 moderate.", "impression": "No change 无变化", "recommendation": ""}
        await self.save(Role.OPERATOR, report_id, 0, text)
        assert (await self.call(Role.OPERATOR, "POST", f"/reports/{report_id}/submit")).status_code == 200
        answer = await self.call(Role.REVIEWER, "POST", f"/reports/{report_id}/review")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def save(
        self, role: Role, report_id: str, version: int, sections: dict[str, str], reason: str = ""
    ) -> httpx2.Response:
        return await self.call(
            role,
            "PUT",
            f"/reports/{report_id}",
            headers={"If-Match": f'"{version}"'},
            json={"sections": sections, "reason": reason},
        )


@pytest_asyncio.fixture
async def consult(any_platform: Platform) -> AsyncIterator[Consult]:
    """Yield consult with a faked gateway and live."""
    rooms: list[dict[str, Any]] = []
    gateway, live = FastAPI(), FastAPI()

    @gateway.post("/internal/v1/users/{user_id}/verify-password")
    async def verify(user_id: str, request: Request) -> Response:
        right = (await request.json())["password"] == PASSWORD
        return Response(status_code=204) if right else JSONResponse({"code": "denied", "detail": "no"}, 403)

    @live.post("/internal/v1/rooms")
    async def open_room(request: Request) -> dict[str, Any]:
        body = await request.json()
        known = next((room for room in rooms if room["consultation_id"] == body["consultation_id"]), None)
        if known is None:
            known = {**body, "id": f"room-{len(rooms) + 1}"}
            rooms.append(known)
        return {"id": known["id"]}

    any_platform.services.register("gateway", gateway)
    any_platform.services.register("live", live)
    async with open_service(any_platform, ConsultSettings(default_site_id="site-1")) as app:
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://consult") as client:
            yield Consult(any_platform, client, rooms)
