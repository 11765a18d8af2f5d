"""Journey (e): wrong password, wrong role, expired token, foreign site: refused, with one clear answer, and audited."""

from __future__ import annotations

import subprocess
import sys

import httpx2
import pytest
from playwright.async_api import Browser, expect

from consilium_testkit.browser import PHONE, signed_in
from consilium_testkit.servers import wait_for
from consilium_testkit.system import System

pytestmark = [pytest.mark.browser, pytest.mark.system]


def audit(system: System, **wanted: str) -> list[dict]:
    answer = system.get("/api/v1/audit", "itsec", params=wanted)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


async def test_a_wrong_password_is_refused_in_words_and_audited(system: System, browser: Browser) -> None:
    context = await browser.new_context(base_url=system.url, locale="en-US")
    page = await context.new_page()
    await page.goto("/sign-in")
    await page.fill("input[name=username]", "qc")
    await page.fill("input[name=password]", "not the password")
    await page.click("button[type=submit]")
    await expect(page.get_by_text("The user name or the password is wrong").first).to_be_visible()
    await context.close()
    assert [e for e in audit(system, outcome="denied") if "sign" in e["action"] or "session" in e["action"]]


def test_a_wrong_role_is_refused_and_audited(system: System) -> None:
    answer = system.get("/dicomweb/studies", "trainee")
    assert (answer.status_code, answer.json()["code"]) == (403, "denied")
    assert answer.headers["content-type"] == "application/problem+json"
    denied = audit(system, action="permission.denied")
    assert [e for e in denied if e["role"] == "trainee" and e["subject"] == "GET /dicomweb/studies"]


def test_an_expired_token_is_refused_and_audited(system: System) -> None:
    command = [
        sys.executable,
        "-m",
        "consilium",
        "token",
        "--user",
        "specialist",
        "--ttl",
        "1s",
        "--data",
        str(system.data),
    ]
    token = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    headers = {"Authorization": f"Bearer {token}"}

    def refused() -> bool:
        answer = httpx2.get(f"{system.url}/api/v1/consultations", headers=headers, trust_env=False)
        return answer.status_code == 401 and answer.json()["reason"] == "expired"

    wait_for(refused, "the token expired", 10)
    assert [e for e in audit(system, action="token.refused") if e["detail"] == "expired"]


def test_a_foreign_site_can_not_publish_into_the_room(system: System) -> None:
    made = system.post("/api/v1/sites", "admin", json={"name": "Another hospital"})
    assert made.status_code == 201, made.text
    body = {
        "code": made.json()["enrolment_code"],
        "nonce": "journey-e-nonce",
        "agent": {"name": "foreign", "version": "0.1.0", "boot_id": "b1"},
    }
    identity = httpx2.post(f"{system.url}/site/v1/enroll", json=body, trust_env=False).json()
    headers = {"Authorization": f"Bearer {identity['access_token']}", "Content-Type": "application/sdp"}
    answer = httpx2.post(f"{system.url}/whip/demo", content=b"v=0\r\n", headers=headers, trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (403, "foreign-site")
    assert [e for e in audit(system, outcome="denied") if e["actor"] == identity["site_id"]]


def test_no_internal_address_is_reachable_through_the_door(system: System) -> None:
    for path in ("/internal/v1/rooms", "/internal/v1/sites/demo-site/commands", "/%69nternal/v1/rooms"):
        answer = httpx2.post(f"{system.url}{path}", headers=system.headers("admin"), json={}, trust_env=False)
        assert answer.status_code in (404, 405), path


async def test_the_audit_chain_is_whole_and_shown_to_the_officer(system: System, browser: Browser) -> None:
    assert system.get("/api/v1/audit/verify", "itsec").json()["ok"] is True
    command = [sys.executable, "-m", "consilium", "verify-audit", "--data", str(system.data)]
    assert "is whole" in subprocess.run(command, check=True, capture_output=True, text=True).stdout
    async with signed_in(browser, system, "itsec", PHONE) as page:
        await page.goto("/audit")
        await expect(page.get_by_text("permission.denied").first).to_be_visible()
