"""Every endpoint against every role, and nothing secret in what is logged or stored."""

from __future__ import annotations

import json
import logging

import pytest
import structlog
from sqlalchemy import select

from consilium_core.roles import PERMISSIONS, Permission, Role
from consilium_gateway.adapters import tables
from consilium_platform.telemetry import set_up_logging
from consilium_testkit.routes import endpoints

from .conftest import PASSWORD, Opened
from .test_commands import MARK, accept, answer

OPEN_TO_ALL = {
    ("POST", "/api/v1/session"), ("POST", "/api/v1/session/refresh"), ("DELETE", "/api/v1/session"),
    ("POST", "/site/v1/enroll"), ("POST", "/site/v1/token"), ("GET", "/api/v1/info"), ("GET", "/api/openapi.json"),
    ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics"),
}  # fmt: skip


async def test_every_endpoint_names_exactly_one_permission_or_is_meant_to_be_open(gateway: Opened) -> None:
    found = list(endpoints(gateway.app))
    assert len(found) > 25
    for method, path, named in found:
        if (method, path) in OPEN_TO_ALL:
            assert not named, (method, path)
        else:
            assert len(named) == 1, (method, path)
        assert path.startswith("/internal") == (named == {Permission.INTERNAL}), (method, path)


async def test_every_role_gets_exactly_what_the_table_says_and_refusals_are_audited(gateway: Opened) -> None:
    from httpx2 import ASGITransport, AsyncClient

    transport = ASGITransport(gateway.app, raise_app_exceptions=False)
    refused = 0
    async with AsyncClient(transport=transport, base_url="http://inner.test") as http:
        for method, path, named in endpoints(gateway.app):
            if not named or path == "/api/v1/events":  # the stream never ends here; the same dependency guards it
                continue
            (permission,) = named
            url = path.replace("{site_id}", "x").replace("{command_id}", "x").replace("{user_id}", "x")
            assert (await http.request(method, url, json={})).status_code == 401, (method, path)
            for role in Role:
                reply = await http.request(method, url, json={}, headers=gateway.as_(role))
                allowed = role in PERMISSIONS[permission]
                assert (reply.status_code != 403 or reply.json()["code"] != "denied") is allowed, (method, path, role)
                refused += not allowed
    trail = await gateway.platform.audit.search("demo", action="permission.denied", limit=1000)
    assert len(trail) == refused


@pytest.mark.parametrize("bad", ["", "x.y.z", "eyJhbGciOiJub25lIn0.e30."])
async def test_a_forged_token_is_refused(gateway: Opened, bad: str) -> None:
    reply = await gateway.http.get("/api/v1/sites", headers={"Authorization": f"Bearer {bad}"})
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"].startswith("Bearer")


async def test_no_secret_and_no_patient_is_logged_or_audited_and_secrets_are_stored_as_digests(
    gateway: Opened, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    configured = structlog.get_config()
    set_up_logging("json", "debug")
    caplog.set_level(logging.INFO)
    try:
        await gateway.user()
        signed_in = await gateway.sign_in()
        await gateway.sign_in(password="wrong-" + PASSWORD)
        _, code = await gateway.code("Other")
        await gateway.enrol(code + "X")
        agent = await gateway.agent()
        command = await gateway.order(agent.site_id, MARK)
        await gateway.poll(agent)
        await accept(gateway, agent, command["id"])
        result = {"outcome": "failed", "detail": "no frame", "data": {"code": "frame-not-kept"}}
        await answer(gateway, agent, command["id"], "result", result)
        events = {"events": [{"seq": 9, "type": "devices", "time": "2030-01-01T00:00:00Z", "data": {"x": "CANARY-7"}}]}
        await gateway.http.post("/site/v1/events", json=events, headers=agent.headers)
    finally:
        structlog.configure(**configured)
    written = capsys.readouterr()
    logged = written.out + written.err + caplog.text
    assert "agent_events_missing" in logged, "the logs were caught"
    trail = json.dumps([{**e, "time": ""} for e in await gateway.platform.audit.search("demo", limit=500)])
    cookie = signed_in.headers["set-cookie"].split(";")[0].partition("=")[2]
    secrets = [
        PASSWORD, code, agent.secret, agent.token, signed_in.json()["access_token"], cookie, "CANARY-7", "Canary",
    ]  # fmt: skip
    for secret in secrets:
        assert secret not in logged
        assert secret not in trail
    async with gateway.platform.database.read() as session:
        for table in (tables.user_account, tables.browser_session, tables.site, tables.enrolment_code):
            rows = str((await session.execute(select(table))).all())
            assert not [secret for secret in secrets if secret in rows], table.name
