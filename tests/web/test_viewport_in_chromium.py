"""The lite viewport in a real Chromium, with WebGL2 and without: what stands on the screen is the right frame, the right
way up, in the right window; clips play; errors have words."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.async_api import Browser, Locator, Page, Route, ViewportSize, expect

pytestmark = pytest.mark.browser

Engine = tuple[str, Browser]
DESK = ViewportSize(width=1200, height=800)


async def opened(engine: Engine, study: Any, **context: Any) -> Page:
    """Return a page with the study open, its first full picture on the screen."""
    page = await (await engine[1].new_context(viewport=DESK, **context)).new_page()
    await page.goto(f"{study.url}/studies/2.25.1")
    await expect(page.get_by_test_id("viewport")).to_have_attribute("data-quality", "full", timeout=20_000)
    return page


async def levels(view: Locator) -> tuple[float, float]:
    """Return the mean grey of the picture's top left and bottom right quadrants."""
    pixels = np.asarray(Image.open(io.BytesIO(await view.locator("canvas").screenshot())).convert("L"), np.float64)
    height, width = pixels.shape
    scale = min(width / 128, height / 96)
    cy, cx, dy, dx = height / 2, width / 2, 24 * scale, 32 * scale
    near = [
        pixels[int(cy + sy * dy) - 3 : int(cy + sy * dy) + 3, int(cx + sx * dx) - 3 : int(cx + sx * dx) + 3].mean()
        for sx, sy in ((-1, -1), (1, 1))
    ]
    return near[0], near[1]


PAINTED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 50))))"


async def test_each_slice_is_drawn_from_its_stored_numbers(engine: Engine, study: Any) -> None:
    page = await opened(engine, study)
    view = page.get_by_test_id("viewport")
    await expect(view).to_have_attribute("data-engine", engine[0])
    await expect(view).to_have_attribute("data-frames", "5")
    for number in range(5):
        await expect(view).to_have_attribute("data-frame", str(number + 1))
        await expect(view).to_have_attribute("data-quality", "full")
        await page.evaluate(PAINTED)  # the words of the page change before the next paint
        corner, rest = await levels(view)
        # window 512/1024 (PS3.3 C.11.2.1.2.1): stored 1000 -> 249, 100 * (n + 1) -> about a quarter of it
        assert corner == pytest.approx(249, abs=3)
        assert rest == pytest.approx(100 * (number + 1) / 1023 * 255, abs=3)
        await page.keyboard.press("ArrowDown")


async def test_window_invert_turn_and_flip_change_the_pixels(engine: Engine, study: Any) -> None:
    page = await opened(engine, study)
    view = page.get_by_test_id("viewport")
    await page.keyboard.press("3")  # CT preset: lung, -600/1500 -> everything above 150 is white
    await expect(view).to_have_attribute("data-window-width", "1500")
    assert (await levels(view))[1] > 235
    await page.keyboard.press("1")
    await page.keyboard.press("i")
    await expect(view).to_have_attribute("data-invert", "true")
    assert (await levels(view))[0] == pytest.approx(6, abs=3)
    await page.keyboard.press("i")
    await page.keyboard.press("r")
    await page.keyboard.press("r")  # upside down: the bright quadrant is bottom right
    await expect(view).to_have_attribute("data-invert", "false")
    assert await levels(view) == pytest.approx((25, 249), abs=4)
    await page.keyboard.press("h")
    await page.keyboard.press("v")  # both flips undo it
    assert await levels(view) == pytest.approx((249, 25), abs=4)


async def test_a_picture_not_shown_as_stored_says_so_and_a_global_sequence_leaves_it_alone(
    engine: Engine, study: Any
) -> None:
    page = await opened(engine, study)
    view, words = page.get_by_test_id("viewport"), page.get_by_test_id("picture-changed")
    await expect(words).to_have_count(0)
    await page.keyboard.press("h")
    await page.keyboard.press("i")
    await expect(words).to_have_text("Mirrored · Inverted")
    await page.keyboard.press("0")
    await expect(words).to_have_count(0)
    await page.keyboard.press("r")
    await expect(words).to_have_text("Turned 90°")
    await page.keyboard.press("l")
    await page.keyboard.press("x")
    await expect(page.locator(".viewer-grid")).to_have_attribute("data-grid", "1x2")
    await page.evaluate(
        "() => { window.seen = new Set(); new MutationObserver(() => { const now = "
        "document.querySelector('[data-testid=viewport]')?.dataset.mirrored; if (now) window.seen.add(now); })"
        ".observe(document.body, { subtree: true, attributes: true, childList: true }); }"
    )
    await expect(view).to_have_attribute("data-mirrored", "false")
    await page.keyboard.press("g")
    await page.keyboard.press("h")
    await page.wait_for_url(f"{study.url}/")
    assert "true" not in await page.evaluate("() => [...window.seen]")


async def test_dragging_sets_the_window_and_the_wheel_scrolls(engine: Engine, study: Any) -> None:
    page = await opened(engine, study)
    view = page.get_by_test_id("viewport")
    box = await view.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    await page.mouse.move(x, y)
    await page.mouse.down()
    await page.mouse.move(x + 80, y + 40, steps=4)
    await page.mouse.up()
    await expect(view).to_have_attribute("data-window-width", re.compile(r"^1[1-3]\d\d$"))
    await expect(view).to_have_attribute("data-window-center", re.compile(r"^[56]\d\d$"))
    await page.mouse.wheel(0, 100)
    await expect(view).to_have_attribute("data-frame", "2")


async def test_a_clip_plays_by_itself_and_its_frames_are_the_stored_ones(engine: Engine, study: Any) -> None:
    page = await opened(engine, study)
    view = page.get_by_test_id("viewport")
    await page.keyboard.press("PageDown")
    await expect(view).to_have_attribute("data-frames", "12")
    await expect(view).to_have_attribute("data-playing", "true")
    first = await view.get_attribute("data-frame")
    await expect(view).not_to_have_attribute("data-frame", first or "")
    await page.get_by_test_id("cine-toggle").click()
    await expect(view).to_have_attribute("data-playing", "false")
    await page.keyboard.press("Home")
    for number in range(3):
        await expect(view).to_have_attribute("data-frame", str(number + 1))
        await expect(view).to_have_attribute("data-state", "ready")
        assert (await levels(view))[1] == pytest.approx(20 * number, abs=4)
        await page.keyboard.press("ArrowRight")
    assert study.seen["rendered"] <= 12  # the clip's frames were taken as stored, in batches
    assert study.seen["frames"] < 12 + 5


async def test_a_broken_store_is_told_in_words_and_mended_by_trying_again(engine: Engine, study: Any) -> None:
    study.broken = True
    page = await (await engine[1].new_context(viewport=DESK)).new_page()
    await page.goto(f"{study.url}/studies/2.25.1")
    view = page.get_by_test_id("viewport")
    await expect(view).to_have_attribute("data-state", "error")
    await expect(view.get_by_role("alert")).to_contain_text("The store rests.")
    while study.seen["frames"] < 3:  # the stored pixels were tried, too; nothing asks by itself any more
        await page.wait_for_timeout(50)
    study.broken = False
    await view.get_by_role("button").click()
    await expect(view).to_have_attribute("data-quality", "full")


async def test_the_phone_has_its_own_layout(engine: Engine, study: Any) -> None:
    context = await engine[1].new_context(viewport=ViewportSize(width=390, height=844), has_touch=True, is_mobile=True)
    page = await context.new_page()
    await page.goto(f"{study.url}/studies/2.25.1")
    view = page.get_by_test_id("viewport")
    await expect(view).to_have_attribute("data-state", "ready")
    await expect(page.get_by_test_id("reference-only")).to_be_visible()
    box = await view.bounding_box()
    assert box is not None
    assert box["width"] == 390
    assert box["height"] > 380
    small = await page.evaluate(
        """() => [...document.querySelectorAll('.viewer button, .viewer select, .viewer a')]
        .filter((one) => one.getClientRects().length && one.getBoundingClientRect().height < 44)
        .map((one) => one.className)"""
    )
    assert small == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    await page.get_by_test_id("btn-priors").click()
    await expect(page.get_by_role("dialog").get_by_role("link")).to_have_count(2)
    await page.get_by_role("dialog").get_by_role("link").last.click()
    await page.wait_for_url("**/studies/2.25.2")
    assert "Zhang" not in page.url
    assert "P1" not in page.url
    assert "Zhang" not in await page.title()


@pytest.mark.parametrize("role", ["operator", "specialist"])
async def test_the_storage_receipt_opens_in_a_tab_of_its_own_for_those_who_may_read_it(
    browser: Browser, study: Any, role: str
) -> None:
    context = await browser.new_context(viewport=DESK, locale="zh-CN")

    async def as_role(route: Route) -> None:
        answer = await route.fetch()
        said = await answer.json()
        said["user"]["role"] = role
        await route.fulfill(response=answer, json=said)

    async def receipt(route: Route) -> None:
        assert route.request.url.endswith("/storage/studies/2.25.1/receipt/page?language=zh-CN")
        assert route.request.headers["authorization"].startswith("Bearer ")
        await route.fulfill(body="<h1>影像存储回执</h1>", content_type="text/html; charset=utf-8")

    await context.route("**/api/v1/session/**", as_role)
    await context.route("**/receipt/page*", receipt)
    page = await context.new_page()
    await page.goto(f"{study.url}/studies/2.25.1")
    await expect(page.get_by_test_id("viewport")).to_have_attribute("data-quality", "full", timeout=20_000)
    button = page.get_by_test_id("btn-receipt")
    if role == "specialist":
        await expect(button).to_have_count(0)
        return
    async with context.expect_page() as opening:
        await button.click()
    tab = await opening.value
    await expect(tab.locator("h1")).to_have_text("影像存储回执")
