"""A real Chromium with a page that talks WebRTC to a media plane in the same test process.

The page is served by request interception from `http://localhost/` (a secure context, so that cameras are allowed); its
`POST /offer/<session>` is answered by the test.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from playwright.async_api import Browser, Page, Route, async_playwright

from consilium_testkit.servers import need

FLAGS = [
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

PAGE = """<!doctype html><title>peer</title><body><script>
const pc = new RTCPeerConnection();
const seen = {};                       // mid -> {frames: [{rtp, w, h, at}], changes, last}
async function negotiate(session) {
  await pc.setLocalDescription(await pc.createOffer());
  const reply = await fetch('/offer/' + session, {method: 'POST', body: pc.localDescription.sdp});
  if (!reply.ok) throw new Error(await reply.text());
  await pc.setRemoteDescription({type: 'answer', sdp: await reply.text()});
}
pc.ontrack = (event) => {
  const mid = event.transceiver.mid;
  const entry = seen[mid] = {frames: [], changes: 0, last: '', kind: event.track.kind, stream: event.streams[0]?.id};
  if (event.track.kind !== 'video') return;
  const video = document.createElement('video');
  video.muted = video.autoplay = video.playsInline = true;
  video.srcObject = new MediaStream([event.track]);
  document.body.append(video);
  const canvas = new OffscreenCanvas(32, 24), brush = canvas.getContext('2d', {willReadFrequently: true});
  const look = (now, data) => {
    brush.drawImage(video, 0, 0, 32, 24);
    const pixels = brush.getImageData(0, 0, 32, 24).data.join(',');
    if (pixels !== entry.last) { entry.changes++; entry.last = pixels; }
    entry.frames.push({rtp: data.rtpTimestamp, w: data.width, h: data.height, at: now});
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
};
async function view(session, kinds, codecs) {
  for (const kind of kinds) {
    const transceiver = pc.addTransceiver(kind, {direction: 'recvonly'});
    if (kind === 'video' && codecs) transceiver.setCodecPreferences(
      RTCRtpReceiver.getCapabilities('video').codecs.filter((c) => codecs.includes(c.mimeType.split('/')[1])));
  }
  await negotiate(session);
}
async function publish(session, constraints) {
  const stream = await navigator.mediaDevices.getUserMedia(constraints);
  for (const track of stream.getTracks()) pc.addTransceiver(track, {direction: 'sendonly', streams: [stream]});
  await negotiate(session);
}
async function inbound(kind) {
  for (const report of (await pc.getStats()).values())
    if (report.type === 'inbound-rtp' && report.kind === kind) return report;
  return null;
}
</script>"""

OfferHandler = Callable[[str, str], Awaitable[str]]  # (session id, offer) -> answer


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start Debian's Chromium."""
    path = need("chromium", "chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=FLAGS, headless=True)
        try:
            yield browser
        finally:
            await browser.close()


async def peer_page(browser: Browser, answer: OfferHandler) -> Page:
    """Open a page with the peer script in a context of its own."""
    context = await browser.new_context(permissions=["camera", "microphone"])
    page = await context.new_page()

    async def serve(route: Route) -> None:
        url = route.request.url
        if "/offer/" in url:
            try:
                text = await answer(url.rsplit("/", 1)[1], route.request.post_data or "")
            except Exception as error:  # the page must hear of it, the test fails on the page's error
                await route.fulfill(status=500, body=repr(error))
                return
            await route.fulfill(status=200, content_type="application/sdp", body=text)
        else:
            await route.fulfill(status=200, content_type="text/html", body=PAGE)

    await context.route("http://localhost/**", serve)
    await page.goto("http://localhost/")
    return page


async def seen(page: Page, mid: str) -> dict[str, Any]:
    """Return what the page saw on an m-line: `frames` with their RTP timestamps, `changes` of the picture."""
    found = await page.evaluate("(mid) => JSON.stringify(seen[mid] ?? null)", mid)
    return json.loads(found) or {"frames": [], "changes": 0, "kind": "", "stream": ""}
