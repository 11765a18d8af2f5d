"""The desk pages in a real Chromium over the client's mock backend: they fit the phone, and typed text is never lost."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, Page, Route, ViewportSize, expect

pytestmark = pytest.mark.browser

PAGES = (
    "/",
    "/consultations/01J9C1",
    "/reports/01J9T1",
    "/reports/01J9T2",
    "/rooms/demo",
    "/studies/1.2.3",
    "/sites",
    "/audit",
    "/quarantine",
    "/quarantine/01JH0000000000000000000090",
    "/nowhere",
)
DRAFT = "/reports/01J9T1"


async def signed_in(browser: Browser, url: str, user: str, locale: str = "en-US", width: int = 1200) -> Page:
    """Return a page on which the mock's user has signed in."""
    size = ViewportSize(width=width, height=844)
    page = await (await browser.new_context(viewport=size, locale=locale, base_url=url)).new_page()
    await page.goto("/sign-in")
    await page.fill("input[name=username]", user)
    await page.fill("input[name=password]", user)
    await page.click("button[type=submit]")
    await expect(page.locator("header.topbar")).to_be_visible()
    return page


async def go(page: Page, path: str) -> None:
    """Go to a page as a link of the client does: without loading anything anew."""
    await page.evaluate("path => history.pushState(null, '', path)", path)


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
async def test_no_page_is_wider_than_the_phone(browser: Browser, mock: str, locale: str) -> None:
    page = await signed_in(browser, mock, "admin", locale, width=390)
    for path in PAGES:
        await page.goto(path)
        await expect(page.locator("main [aria-busy=true]:not(.banner, .stage-words)")).to_have_count(0)
        wide = await page.evaluate(
            """() => [document.documentElement.scrollWidth, ...[...document.querySelectorAll('main button, main a, main input')]
              .filter((one) => one.getBoundingClientRect().right > innerWidth + 1 && !scrolled(one))
              .map((one) => one.outerHTML.slice(0, 120))];
              function scrolled(one) {
                for (let at = one.parentElement; at; at = at.parentElement)
                  if (['auto', 'scroll'].includes(getComputedStyle(at).overflowX)) return true;
                return false;
              }"""
        )
        assert wide == [390], (path, wide)


async def test_report_text_that_cannot_be_sent_stands_again_when_its_page_is_opened(
    browser: Browser, mock: str
) -> None:
    page = await signed_in(browser, mock, "specialist")
    await go(page, DRAFT)
    findings = page.locator("#section-findings")
    await expect(findings).to_be_visible()
    await page.context.set_offline(True)
    await findings.fill("Typed in the tunnel.")
    await go(page, "/")
    await expect(page.get_by_text("The report has text that is not saved.")).to_be_visible()
    await go(page, DRAFT)
    await expect(findings).to_have_value("Typed in the tunnel.")
    await page.context.set_offline(False)
    await expect(page.get_by_text("Saved, version")).to_be_visible()
    await page.reload()
    await expect(findings).to_have_value("Typed in the tunnel.")


async def test_signing_out_asks_before_text_is_lost_and_says_when_it_failed(browser: Browser, mock: str) -> None:
    page = await signed_in(browser, mock, "specialist")
    await go(page, DRAFT)
    await expect(page.locator("#section-findings")).to_be_visible()
    await page.context.set_offline(True)
    await page.locator("#section-findings").fill("Typed in the tunnel.")
    asked: list[str] = []

    async def answer(dialog: object) -> None:
        asked.append(dialog.message)  # type: ignore[attr-defined]
        await (dialog.accept() if len(asked) > 1 else dialog.dismiss())  # type: ignore[attr-defined]

    page.on("dialog", answer)
    for _ in range(2):
        await page.locator("button.user").click()
        await page.get_by_role("button", name="Sign out").click()
        await page.keyboard.press("Escape")
    await expect(page.get_by_text("You are still signed in")).to_be_visible()
    assert len(asked) == 2
    await expect(page.locator("#section-findings")).to_have_value("Typed in the tunnel.")


async def test_key_images_are_taken_out_while_the_report_is_written_and_fixed_afterwards(
    browser: Browser, mock: str
) -> None:
    page = await signed_in(browser, mock, "specialist")
    await page.goto(DRAFT)
    images = page.get_by_test_id("key-images")
    await expect(images).to_have_attribute("data-count", "1")
    await images.get_by_role("button", name="Take image 1 out of the report").click()
    await expect(images).to_have_attribute("data-count", "0")
    await expect(page.get_by_text("Saved, version")).to_be_visible()
    await page.reload()
    await expect(images).to_have_attribute("data-count", "0")
    await page.goto("/reports/01J9T2")
    await expect(page.get_by_text("Signed by")).to_be_visible()
    await expect(images.get_by_role("button")).to_have_count(0)


async def test_a_study_that_is_not_archived_yet_is_not_offered(browser: Browser, mock: str) -> None:
    page = await signed_in(browser, mock, "operator")

    async def asked_live(route: Route) -> None:
        answer = await route.fetch()
        await route.fulfill(response=answer, json={**await answer.json(), "study_uid": "2.25.7"})

    await page.route("**/api/v1/consultations/01J9C1", asked_live)
    await page.goto("/consultations/01J9C1")
    await expect(page.get_by_text("No picture of this examination is in the archive yet.")).to_be_visible()
    await expect(page.get_by_role("link", name="Open the study")).to_have_count(0)


async def test_an_identity_is_corrected_for_a_whole_study_by_one_and_approved_by_another(
    browser: Browser, mock: str
) -> None:
    first = await signed_in(browser, mock, "operator")
    await first.goto("/quarantine")
    await first.get_by_test_id("held-list").get_by_role("link").first.click()
    await first.get_by_role("button", name="Correct the identity").click()
    await first.get_by_label("Birth date").fill("19580311")
    await first.get_by_label("Reason").fill("Typed day and month the wrong way round")
    await first.get_by_label("Do the same with the 11 other held objects").check()
    await first.get_by_role("button", name="Propose", exact=True).click()
    await expect(first.get_by_text("12 objects done")).to_be_visible()
    await expect(first.get_by_role("button", name="Approve and release")).to_be_disabled()
    second = await signed_in(browser, mock, "qc")
    await second.goto(first.url)
    await second.get_by_role("button", name="Approve and release").click()
    await second.get_by_label("Reason").fill("Identity card seen")
    await second.get_by_label("Do the same with the 11 other held objects").check()
    asked: list[str] = []

    async def meddle(route: Route) -> None:
        """The third is somebody else's by now; at the sixth the server is away once: the act goes on from there."""
        asked.append(route.request.url)
        if len(asked) == 3:
            problem = {
                "status": 409,
                "code": "quarantine-moved",
                "detail": "Somebody has changed this entry meanwhile.",
            }
            await route.fulfill(status=409, json=problem, content_type="application/problem+json")
        elif len(asked) == 6:
            await route.abort()
        else:
            await route.continue_()

    await second.route("**/release", meddle)
    approve = second.locator("dialog").get_by_role("button", name="Approve and release")
    await approve.click()
    await expect(second.get_by_text("4 of 12 done, then it stopped.")).to_be_visible()
    await approve.click()
    await expect(second.get_by_text("11 objects done")).to_be_visible()
    await expect(second.get_by_text("1 left as they were")).to_be_visible()
    assert (len(asked), len(set(asked))) == (13, 12), "each is asked once, the one without an answer again"
    await expect(second.get_by_text("Identity card seen")).to_be_visible()
    await second.goto("/quarantine")
    await expect(second.get_by_test_id("held-list").get_by_role("link")).to_have_count(2)
