"""Chromium as a journey drives it: own profile, fake microphone and camera, peer connections at hand for measuring."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from consilium_testkit.servers import need
from consilium_testkit.system import System

ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
]
DESKTOP: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "is_mobile": True,
    "has_touch": True,
    "device_scale_factor": 2,
}
# Peer connections of the page, so that a journey can read what was really received.
_KEEP_PEERS = """
window.__peers = [];
const Native = window.RTCPeerConnection;
window.RTCPeerConnection = class extends Native {
  constructor(...given) { super(...given); window.__peers.push(this); }
};
"""


@asynccontextmanager
async def chromium(*more: str) -> AsyncIterator[Browser]:
    """Yield a headless Chromium (Debian's)."""
    executable = need("chromium", "chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=[*ARGUMENTS, *more])
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def signed_in(
    browser: Browser, system: System, username: str, form: dict[str, Any], **more: Any
) -> AsyncIterator[Page]:
    """Yield a page of a fresh profile on which the demo user has signed in through the form."""
    context: BrowserContext = await browser.new_context(
        **form, **{"locale": "en-US", **more}, permissions=["microphone", "camera"], base_url=system.url
    )
    context.set_default_timeout(60_000)
    try:
        await context.add_init_script(_KEEP_PEERS)
        page = await context.new_page()
        await page.goto("/sign-in")
        await page.fill("input[name=username]", username)
        await page.fill("input[name=password]", system.passwords[username])
        await page.click("button[type=submit]")
        await page.wait_for_url(lambda url: "/sign-in" not in url)
        yield page
    finally:
        await context.close()
