"""Journey (c): request, room, report, signature, print, all by the screens; and nobody can change it afterwards."""

from __future__ import annotations

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import httpx2
import pytest
from playwright.async_api import Browser, expect

from consilium_testkit.browser import DESKTOP, PHONE, signed_in
from consilium_testkit.servers import need, wait_for
from consilium_testkit.system import System

pytestmark = [pytest.mark.browser, pytest.mark.system]


async def test_from_request_to_a_signed_report_that_is_locked(system: System, browser: Browser, tmp_path: Path) -> None:
    async with signed_in(browser, system, "operator", DESKTOP) as page:
        await page.get_by_role("button", name="Request").first.click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_role("searchbox").fill("DEMO-0001")
        await dialog.locator(".matches button").first.click()
        await dialog.get_by_label("Question").fill("Has the regurgitation grown?")
        await dialog.get_by_role("button", name="Send request").click()
        await page.wait_for_url("**/consultations/*")
        consultation = page.url.rsplit("/", 1)[1]
    async with signed_in(browser, system, "specialist", DESKTOP) as page:
        await page.goto(f"/consultations/{consultation}")
        await page.get_by_role("button", name="Accept", exact=True).click()
        await page.get_by_role("button", name="Start live session").click()
        await page.wait_for_url("**/rooms/*")
        await expect(page.get_by_text("Patient Demo").first).to_be_visible()
        room = page.url.rsplit("/", 1)[1]
        assert system.get(f"/api/v1/rooms/{room}").json()["consultation_id"] == consultation
        await page.get_by_role("button", name="Start stream").first.click()
        await expect(page.get_by_test_id("room-video")).to_have_attribute("data-standing", "live", timeout=60_000)
    async with signed_in(browser, system, "operator", DESKTOP) as page:
        await page.goto(f"/consultations/{consultation}")
        await page.get_by_role("button", name="Write the report").click()
        await page.wait_for_url("**/reports/*")
        report = page.url.rsplit("/", 1)[1]
        await page.locator("#section-findings").fill("二尖瓣反流 moderate, unchanged.")
        await page.locator("#section-impression").fill("No change 无变化")
        await expect(page.get_by_text("Saved, version").first).to_be_visible()
        await page.goto("/rooms/demo")  # the same patient's room: a capture goes into the report being written
        await expect(page.get_by_test_id("room-video")).to_have_attribute("data-standing", "live", timeout=30_000)
        await page.get_by_test_id("btn-still").click()
        await page.get_by_test_id("btn-add-to-report").first.click(timeout=30_000)
        await expect(page.get_by_text("Added to the report.")).to_be_visible()
        await page.goto(f"/reports/{report}")
        images = page.get_by_test_id("key-images")
        await expect(images).to_have_attribute("data-count", "1")
        await expect(images.get_by_role("img", name="Image 1")).to_be_visible()
        await expect(page.locator("#section-impression")).to_have_value("No change 无变化")
        await page.get_by_role("button", name="Submit for review").click()
        await expect(page.get_by_text("Submitted", exact=True).first).to_be_visible()
    async with signed_in(browser, system, "reviewer", PHONE) as page:
        await page.goto(f"/reports/{report}")
        await page.get_by_role("button", name="Take into review").click()
        await page.get_by_role("button", name="Sign", exact=True).click()
        dialog = page.get_by_role("dialog")
        await expect(dialog.get_by_text("No change 无变化")).to_be_visible()
        await dialog.get_by_label("Your password").fill(system.passwords["reviewer"])
        await dialog.get_by_role("button", name="Sign and lock").click()
        await expect(dialog.locator(".hash")).to_have_text(__import__("re").compile(r"^[0-9a-f]{64}$"))
    signed = system.get(f"/api/v1/reports/{report}").json()
    assert signed["state"] == "signed"
    assert len(signed["key_images"]) == 1
    assert system.get(f"/api/v1/consultations/{consultation}").json()["state"] == "completed"
    wait_for(lambda: system.get(f"/api/v1/rooms/{room}").json()["state"] == "ended", "the consultation's room ended")
    printed = tmp_path / "report.pdf"
    printed.write_bytes(system.get(f"/api/v1/reports/{report}/pdf", "referrer").content)
    words = subprocess.run(
        [need("pdftotext", "poppler-utils"), "-layout", printed, "-"], check=True, capture_output=True, text=True
    ).stdout
    for expected in (
        "示例患者",
        "二尖瓣反流 moderate",
        "No change 无变化",
        "Has the regurgitation grown?",
        signed["hash"],
    ):
        assert expected in words
    headers = {**system.headers("reviewer"), "If-Match": signed["etag"]}
    body = {"sections": {"findings": "other", "impression": "other"}, "reason": "changed my mind"}
    change = httpx2.put(f"{system.url}/api/v1/reports/{report}", json=body, headers=headers, trust_env=False)
    assert (change.status_code, change.json()["code"]) == (409, "report-locked")
    with closing(sqlite3.connect(system.data / "consilium.db")) as database:
        for change_it in (
            "UPDATE report SET sections = '{}'",
            "REPLACE INTO report SELECT * FROM report",
            "DELETE FROM report",
        ):
            with pytest.raises(sqlite3.DatabaseError, match="locked"):
                database.execute(f"{change_it} WHERE id = ?", (report,))


async def test_a_signed_report_is_read_only_on_the_screen(system: System, browser: Browser) -> None:
    page_of_reports = system.get("/api/v1/reports", params={"state": "signed"}).json()["items"]
    assert page_of_reports, "the journey above signs one"
    async with signed_in(browser, system, "operator", DESKTOP, locale="zh-CN") as page:
        await page.goto(f"/reports/{page_of_reports[0]['id']}")
        await expect(page.get_by_text("No change 无变化").first).to_be_visible()
        await expect(page.get_by_test_id("key-images").get_by_role("img")).to_be_visible()
        await expect(page.get_by_test_id("key-images").get_by_role("button")).to_have_count(0)
        assert await page.locator("textarea:enabled").count() == 0
