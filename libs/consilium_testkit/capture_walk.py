"""The walk of journey (b): a still or a clip marked in the room until its picture stands on the phone, with the seconds it took."""

from __future__ import annotations

import re
import time

from playwright.async_api import Page, expect

LIVE_STUDY = "Echocardiography, live consultation"
_PATIENT_MS = 60_000


async def enter_room(operator: Page) -> None:
    """Open the demo room at the operator's desk and wait for its live picture."""
    await operator.goto("/rooms/demo")
    picture = operator.get_by_test_id("room-video")
    await expect(picture).to_have_attribute("data-standing", "live", timeout=_PATIENT_MS)


async def open_worklist(phone: Page) -> None:
    """Open the phone's worklist, as one who waits has it open."""
    await phone.goto("/")
    await expect(phone.get_by_role("heading", name="Studies")).to_be_visible()


async def still_to_phone(operator: Page, phone: Page) -> float:
    """Mark a still in the room and open its study on the phone; return the seconds from the click to the picture."""
    await open_worklist(phone)
    started = time.monotonic()
    await operator.get_by_test_id("btn-still").click()
    row = phone.get_by_role("link").filter(has=phone.get_by_text("DEMO-0001"))
    await expect(phone.get_by_text(LIVE_STUDY).first).to_be_visible(timeout=_PATIENT_MS)
    await row.first.click()
    await expect(phone.get_by_test_id("viewport")).to_have_attribute("data-state", "ready", timeout=_PATIENT_MS)
    return time.monotonic() - started


async def clip_to_phone(operator: Page, phone: Page) -> float:
    """Mark a clip of ten seconds beside earlier pictures and open it on the phone; return the seconds from click to picture.

    The study must have a picture already: with one alone the viewer shows no list of pictures to choose from.
    """
    await open_worklist(phone)
    await expect(phone.get_by_text("DEMO-0001").first).to_be_visible()
    study = phone.locator("tr", has=phone.get_by_text(LIVE_STUDY))
    before = await _pictures(phone)
    started = time.monotonic()
    await operator.get_by_test_id("btn-clip").click()
    more = re.compile(rf"(?<!\d)(?!{before} )\d+ images?")
    await expect(study.first).to_contain_text(more, timeout=_PATIENT_MS)
    await study.get_by_role("link").first.click()
    await phone.get_by_test_id("series-list").locator(".series-set").last.click()
    viewport = phone.locator('[data-testid=viewport][data-state=ready]:not([data-frames="1"])')
    await expect(viewport).to_be_visible(timeout=_PATIENT_MS)
    return time.monotonic() - started


async def _pictures(phone: Page) -> int:
    """Return how many pictures the phone's worklist says the live examination has."""
    study = phone.locator("tr", has=phone.get_by_text(LIVE_STUDY))
    if await study.count() == 0:
        return 0
    found = re.search(r"(\d+) images?", await study.first.inner_text())
    return int(found[1]) if found else 0
