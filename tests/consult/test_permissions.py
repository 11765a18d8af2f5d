"""Every endpoint of consult names a permission; every role without it is refused and the refusal is audited."""

from __future__ import annotations

import re

import httpx2
import pytest

from consilium_core.roles import PERMISSIONS, Permission, Role
from consilium_testkit.platforms import bearer

P = Permission
TABLE = [
    ("GET", "/patients", P.PATIENT_READ), ("POST", "/patients", P.PATIENT_WRITE), ("GET", "/patients/x", P.PATIENT_READ),
    ("GET", "/consultations", P.CONSULT_READ), ("POST", "/consultations", P.CONSULT_REQUEST),
    ("GET", "/consultations/x", P.CONSULT_READ), ("POST", "/consultations/x/accept", P.CONSULT_ACCEPT),
    ("POST", "/consultations/x/reject", P.CONSULT_ACCEPT), ("POST", "/consultations/x/start", P.ROOM_HOST),
    ("POST", "/consultations/x/finish", P.REPORT_DRAFT), ("POST", "/consultations/x/cancel", P.CONSULT_REQUEST),
    ("GET", "/reports", P.REPORT_READ), ("GET", "/reports/x", P.REPORT_READ), ("PUT", "/reports/x", P.REPORT_READ),
    ("POST", "/reports/x/submit", P.REPORT_DRAFT), ("POST", "/reports/x/review", P.REPORT_REVIEW),
    ("POST", "/reports/x/return", P.REPORT_REVIEW), ("POST", "/reports/x/sign", P.REPORT_SIGN),
    ("POST", "/reports/x/addenda", P.REPORT_SIGN), ("GET", "/reports/x/versions", P.REPORT_READ),
    ("GET", "/reports/x/changes", P.REPORT_READ), ("GET", "/reports/x/pdf", P.REPORT_READ),
]  # fmt: skip


def allowed(method: str, path: str, permission: Permission) -> frozenset[Role]:
    """Return the roles that pass; a save is for drafters and reviewers, which of the two depends on the report's state."""
    if (method, path) == ("PUT", "/reports/x"):
        return PERMISSIONS[P.REPORT_DRAFT] | PERMISSIONS[P.REPORT_REVIEW]
    return PERMISSIONS[permission]


@pytest.mark.parametrize("world", ["embedded"])
async def test_every_endpoint_refuses_every_role_without_its_permission(consult) -> None:
    for method, path, permission in TABLE:
        assert (await consult.client.request(method, f"/api/v1{path}")).status_code == 401, path
        for role in Role:
            if role in allowed(method, path, permission):
                continue
            answer = await consult.call(role, method, path, json={})
            assert answer.status_code == 403, (method, path, role)
    refusals = await consult.platform.audit.search("demo", action="permission.denied", outcome="denied", limit=1000)
    expected = sum(1 for m, path, permission in TABLE for role in Role if role not in allowed(m, path, permission))
    assert len(refusals) == expected


@pytest.mark.parametrize("world", ["embedded"])
async def test_the_table_names_every_endpoint(consult) -> None:
    app = consult.client._transport.app
    served = {
        (method.upper(), re.sub(r"\{\w+\}", "x", path.removeprefix("/api/v1")))
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    }
    assert served == {(method, path) for method, path, _ in TABLE}


@pytest.mark.parametrize("world", ["embedded"])
async def test_what_other_services_are_told_is_for_them_alone_and_audited(consult) -> None:
    case = await consult.consultation()
    path = f"/internal/v1/consultations/{case['id']}"

    async def ask(role: Role, tenant: str = "demo") -> httpx2.Response:
        return await consult.client.get(path, headers=bearer(consult.platform, role, tenant=tenant))

    for role in Role:
        assert (await ask(role)).status_code == (200 if role is Role.SERVICE else 403), role
    assert (await ask(Role.SERVICE, "other")).status_code == 404
    assert (await consult.client.get(path)).status_code == 401
    told = (await ask(Role.SERVICE)).json()
    assert told == {
        "id": case["id"], "state": "requested", "study_uid": case["study_uid"],
        "patient": {
            "patient_id": "P1", "issuer": "H1", "name": "Wang^Xiaodong=王^小东", "birth_date": "19680412", "sex": "M",
        },
    }  # fmt: skip
    seen = await consult.platform.audit.search("demo", actor="service:test", action="consultation.lookup")
    assert [one["patient_id"] for one in seen] == ["P1", "P1"]
