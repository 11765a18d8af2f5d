"""Sites and their agents' identities: create, codes, enrol, tokens, revoke (SP-10 to SP-13)."""

from __future__ import annotations

import asyncio
import re
from collections import Counter

import pytest

from consilium_core.errors import ConsiliumError
from consilium_core.roles import Role
from consilium_core.site_protocol import AgentDescription, EnrollRequest
from consilium_gateway.domain.codes import ALPHABET, new_code, normal
from consilium_gateway.flow.enrol import enroll
from consilium_gateway.flow.sites import ensure_site_code

from .conftest import AGENT, Clocked, Opened
from .test_commands import waiting


def test_codes_are_ten_unambiguous_characters_and_survive_how_people_write_them() -> None:
    code = new_code()
    assert len(code) == 10
    assert set(code) <= set(ALPHABET)
    assert not set("01OILU") & set(ALPHABET)
    assert normal(f" {code[:5].lower()}-{code[5:]} ") == code


async def test_an_administrator_creates_a_site_and_its_agent_enrols_with_the_code(any_gateway: Opened) -> None:
    admin = any_gateway.as_(Role.ADMIN)
    made = await any_gateway.http.post("/api/v1/sites", json={"name": "County"}, headers=admin)
    assert made.status_code == 201
    site = made.json()
    assert site["state"] == "pending"
    assert re.fullmatch(f"[{ALPHABET}]{{10}}", site["enrolment_code"])
    reply = await any_gateway.enrol(site["enrolment_code"].lower())
    assert reply.status_code == 200
    identity = reply.json()
    assert (identity["site_id"], identity["tenant"], identity["name"]) == (site["id"], "demo", "County")
    assert any_gateway.platform.verifier.verify(identity["access_token"]).kind == "site"
    listed = (await any_gateway.http.get("/api/v1/sites", headers=admin)).json()["items"]
    assert [(s["state"], s["enrolment_code"]) for s in listed] == [("enrolled", None)]
    assert {e["action"] for e in await any_gateway.platform.audit.search("demo")} >= {"site.create", "site.enroll"}


async def test_sp_10_the_same_code_and_nonce_answer_the_same_site_again(any_gateway: Opened) -> None:
    _, code = await any_gateway.code()
    first, again = (await any_gateway.enrol(code)).json(), (await any_gateway.enrol(code)).json()
    assert first["site_id"] == again["site_id"]
    for identity in (again, first):  # whichever answer arrived, the agent holds a secret that works
        body = {"site_id": identity["site_id"], "refresh_secret": identity["refresh_secret"]}
        reply = await any_gateway.http.post("/site/v1/token", json=body)
        if identity is again:
            assert reply.status_code == 200
        else:
            assert reply.status_code == 401, "the first use of one secret ends the other"


async def test_sp_10_another_nonce_with_a_used_code_is_refused_and_audited(gateway: Opened) -> None:
    _, code = await gateway.code()
    await gateway.enrol(code)
    reply = await gateway.enrol(code, "another-nonce")
    assert (reply.status_code, reply.json()["code"]) == (410, "enrolment-code-spent")
    assert (await gateway.audited("site.enroll"))[0]["outcome"] == "denied"


async def test_sp_10_a_wrong_code_and_an_expired_code_are_refused(clocked: Clocked) -> None:
    _, code = await clocked.code()
    assert (await clocked.enrol("ZZZZZZZZZZ")).status_code == 403
    clocked.clock.advance(901)
    assert (await clocked.enrol(code)).status_code == 410


async def test_five_wrong_codes_make_the_address_wait(clocked: Clocked) -> None:
    _, code = await clocked.code()
    for _ in range(5):
        assert (await clocked.enrol("ZZZZZZZZZZ")).status_code == 403
    blocked = await clocked.enrol(code)
    assert blocked.status_code == 429
    assert "retry-after" in blocked.headers
    clocked.clock.advance(901)
    _, fresh = await clocked.code()
    assert (await clocked.enrol(fresh)).status_code == 200


async def test_of_a_hundred_agents_with_one_code_exactly_one_wins(any_gateway: Opened) -> None:
    site_id, code = await any_gateway.code()
    outcomes: Counter[str] = Counter()

    async def one(number: int) -> None:
        request = EnrollRequest(code=code, nonce=f"nonce-{number:04}", agent=AgentDescription(**AGENT))
        try:
            reply = await enroll(any_gateway.desk, request, f"10.0.1.{number}")
            assert reply.site_id == site_id
            outcomes["won"] += 1
        except ConsiliumError as refusal:
            outcomes[refusal.code] += 1

    await asyncio.gather(*(one(number) for number in range(100)))
    assert outcomes == {"won": 1, "enrolment-code-spent": 99}


async def test_a_new_code_ends_the_unused_one(gateway: Opened) -> None:
    site_id, old = await gateway.code()
    path = f"/api/v1/sites/{site_id}/enrolment-codes"
    fresh = (await gateway.http.post(path, headers=gateway.as_(Role.ITSEC))).json()["enrolment_code"]
    assert (await gateway.enrol(old)).status_code == 403
    assert (await gateway.enrol(fresh)).status_code == 200


async def test_sp_12_the_secret_buys_tokens_and_a_wrong_one_does_not(any_gateway: Opened) -> None:
    agent = await any_gateway.agent(hello=False)
    ask = any_gateway.http.post
    good = await ask("/site/v1/token", json={"site_id": agent.site_id, "refresh_secret": agent.secret})
    assert good.status_code == 200
    assert good.json()["expires_in_s"] == 600
    wrong = await ask("/site/v1/token", json={"site_id": agent.site_id, "refresh_secret": "wrong"})
    unknown = await ask("/site/v1/token", json={"site_id": "nobody", "refresh_secret": "wrong"})
    assert wrong.status_code == unknown.status_code == 401
    assert len(await any_gateway.audited("site.token")) == 2


async def test_guessing_secrets_from_one_address_has_to_wait_and_is_counted(clocked: Clocked) -> None:
    agent = await clocked.agent(hello=False)
    body = {"site_id": agent.site_id, "refresh_secret": "wrong"}
    answers = [(await clocked.http.post("/site/v1/token", json=body)).status_code for _ in range(70)]
    assert answers == [401] * 60 + [429] * 10
    assert len(await clocked.platform.audit.search("demo", action="site.token", limit=200)) == 31
    clocked.clock.advance(901)
    for _ in range(70):
        good = await clocked.http.post("/site/v1/token", json={**body, "refresh_secret": agent.secret})
        assert good.status_code == 200


async def test_a_revoked_site_is_refused_everywhere_at_once(any_gateway: Opened) -> None:
    agent = await any_gateway.agent()
    site = f"/api/v1/sites/{agent.site_id}"
    poll = asyncio.create_task(any_gateway.poll(agent, wait=50))
    await waiting()
    revoked = await any_gateway.http.post(f"{site}/revoke", headers=any_gateway.as_(Role.ADMIN))
    assert revoked.json()["state"] == "revoked"
    assert (await poll).status_code == 403, "a poll that waits is ended"
    body = {"site_id": agent.site_id, "refresh_secret": agent.secret}
    assert (await any_gateway.http.post("/site/v1/token", json=body)).status_code == 403
    assert (await any_gateway.poll(agent)).json()["code"] == "site-revoked"
    assert (await any_gateway.hello(agent)).status_code == 403
    for path, sent in (("events", {"events": []}), ("leases/renew", {"leases": []})):
        reply = await any_gateway.http.post(f"/site/v1/{path}", json=sent, headers=agent.headers)
        assert reply.status_code == 403, path
    trail = await any_gateway.audited("token.refused")
    assert [entry["detail"] for entry in trail] == ["site-revoked"] * 5
    assert {entry["actor"] for entry in trail} == {agent.site_id}
    back = await any_gateway.http.post(f"{site}/enrolment-codes", headers=any_gateway.as_(Role.ADMIN))
    assert (await any_gateway.enrol(back.json()["enrolment_code"], "new-nonce-1")).status_code == 200


async def test_a_site_of_another_tenant_does_not_exist(gateway: Opened) -> None:
    site_id, _ = await gateway.code()
    foreign = gateway.as_(Role.ADMIN, tenant="elsewhere")
    for path in ("revoke", "enrolment-codes"):
        reply = await gateway.http.post(f"/api/v1/sites/{site_id}/{path}", headers=foreign)
        assert reply.status_code == 404, path
    assert (await gateway.http.get("/api/v1/sites", headers=foreign)).json()["items"] == []


async def test_sp_13_hello_answers_the_time_and_notes_version_devices_spool_and_clock_offset(clocked: Clocked) -> None:
    agent = await clocked.agent(hello=False)
    sent_at = clocked.clock.now().replace(microsecond=250_000).isoformat()
    devices = [{"id": "d1", "name": "HDMI", "state": "live", "width": 800, "height": 600, "fps": 30.0}]
    reply = await clocked.hello(agent, sent_at=sent_at, devices=devices, spool_unacknowledged=2, spool_bytes=99)
    assert reply.json()["cursor"] == 0
    assert reply.json()["intervals"]["lease_renew_s"] == 20
    (site,) = (await clocked.http.get("/api/v1/sites", headers=clocked.as_(Role.OPERATOR))).json()["items"]
    assert (site["version"], site["clock_offset_ms"], site["online"]) == ("0.1.0", 250, True)
    assert site["devices"][0]["name"] == "HDMI"
    assert site["spool"] == {"unacknowledged": 2, "bytes": 99}


async def test_the_demo_site_gets_a_code_until_its_agent_has_enrolled(gateway: Opened) -> None:
    database, clock = gateway.platform.database, gateway.platform.clock

    async def ask() -> str | None:
        return await ensure_site_code(database, clock, site_id="demo-site", name="Demo")

    first, second = await ask(), await ask()
    assert first is not None
    assert second is not None
    assert (await gateway.enrol(second)).json()["site_id"] == "demo-site"
    assert await ask() is None


@pytest.mark.parametrize("body", [{}, {"code": "A", "nonce": "n", "agent": {}}, [], "text"])
async def test_a_malformed_enrolment_is_a_problem_document(gateway: Opened, body: object) -> None:
    reply = await gateway.http.post("/site/v1/enroll", json=body)
    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/problem+json"
