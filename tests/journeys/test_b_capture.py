"""Journey (b): a still and a 10 s clip marked in the room appear in the worklist and open on the phone, at once."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from consilium_testkit.browser import DESKTOP, PHONE, signed_in
from consilium_testkit.servers import need, wait_for
from consilium_testkit.system import System

pytestmark = [pytest.mark.browser, pytest.mark.system]
LIVE_STUDY = "Echocardiography, live consultation"


async def open_on_phone(phone: Page) -> None:
    """Find the study of the live examination in the phone's worklist and open it."""
    row = phone.get_by_role("link").filter(has=phone.get_by_text("DEMO-0001"))
    await expect(phone.get_by_text(LIVE_STUDY).first).to_be_visible(timeout=60_000)
    await row.first.click()
    await expect(phone.get_by_test_id("viewport")).to_have_attribute("data-state", "ready", timeout=60_000)


def captures(system: System) -> list[dict]:
    return list(system.get("/api/v1/rooms/demo").json()["captures"])


async def test_a_still_is_on_the_phone_within_two_seconds(system: System, browser: Browser) -> None:
    async with (
        signed_in(browser, system, "operator", DESKTOP) as operator,
        signed_in(browser, system, "specialist", PHONE) as phone,
    ):
        await operator.goto("/rooms/demo")
        await expect(operator.get_by_test_id("room-video")).to_have_attribute("data-standing", "live", timeout=60_000)
        took: list[float] = []
        for _ in range(3):  # the machine may be busy once, the way may not be slow
            await phone.goto("/")
            await expect(phone.get_by_role("heading", name="Studies")).to_be_visible()
            started = time.monotonic()
            await operator.get_by_test_id("btn-still").click()
            await open_on_phone(phone)
            took.append(time.monotonic() - started)
            if took[-1] <= 2:
                break
        print(f"still: click to picture on the phone {min(took):.2f} s")
        assert min(took) <= 2, took


async def pictures_on_phone(phone: Page) -> int:
    """Return how many pictures the phone's worklist says the live examination has."""
    row = phone.locator("tr", has=phone.get_by_text(LIVE_STUDY))
    if await row.count() == 0:
        return 0
    found = re.search(r"(\d+) images?", await row.first.inner_text())
    return int(found[1]) if found else 0


async def test_a_clip_of_ten_seconds_is_on_the_phone_within_two_seconds(system: System, browser: Browser) -> None:
    async with (
        signed_in(browser, system, "operator", DESKTOP) as operator,
        signed_in(browser, system, "specialist", PHONE) as phone,
    ):
        await operator.goto("/rooms/demo")
        await expect(operator.get_by_test_id("room-video")).to_have_attribute("data-standing", "live", timeout=60_000)
        took: list[float] = []
        for _ in range(4):  # the machine may be busy once, the way may not be slow
            await phone.goto("/")
            await expect(phone.get_by_role("heading", name="Studies")).to_be_visible()
            await expect(phone.get_by_text("DEMO-0001").first).to_be_visible()
            before = await pictures_on_phone(phone)
            started = time.monotonic()
            await operator.get_by_test_id("btn-clip").click()
            while await pictures_on_phone(phone) <= before:
                assert time.monotonic() - started < 60, "the clip never came into the worklist"
                await phone.wait_for_timeout(20)
            await phone.locator("tr", has=phone.get_by_text(LIVE_STUDY)).get_by_role("link").first.click()
            await phone.get_by_test_id("series-list").locator(".series-set").last.click()
            viewport = phone.locator('[data-testid=viewport][data-state=ready]:not([data-frames="1"])')
            await expect(viewport).to_be_visible(timeout=60_000)
            took.append(time.monotonic() - started)
            if took[-1] <= 2:
                break
        print(f"clip: click to picture on the phone {min(took):.2f} s")
        assert min(took) <= 2, took
        clip = [c for c in captures(system) if c["kind"] == "clip" and c["state"] == "stored"][-1]
        metadata = system.get(f"/dicomweb/studies/{clip['study_uid']}/metadata").json()
        stored = next(m for m in metadata if m["00080018"]["Value"] == [clip["sop_instance_uid"]])
        assert stored["00080016"]["Value"] == ["1.2.840.10008.5.1.4.1.1.3.1"], "Ultrasound Multi-frame Image Storage"
        assert int(stored["00280008"]["Value"][0]) >= 250, "ten seconds of a 30 fps source"


async def test_captured_objects_satisfy_independent_judges(system: System, tmp_path: Path) -> None:
    for kind in ("still", "clip"):
        asked = system.post("/api/v1/rooms/demo/captures", json={"kind": kind, "seconds": 3})
        assert asked.status_code == 202, asked.text
    wanted = "still", "clip"

    def stored() -> dict[str, dict]:
        return {c["kind"]: c for c in captures(system) if c["state"] == "stored"}

    wait_for(lambda: set(stored()) >= set(wanted), "both captures stored", 60)
    for kind, capture in stored().items():
        uids = capture["study_uid"], capture["series_uid"] if capture.get("series_uid") else None
        found = system.get(
            f"/dicomweb/studies/{uids[0]}/instances", params={"SOPInstanceUID": capture["sop_instance_uid"]}
        ).json()
        series = found[0]["0020000E"]["Value"][0]
        path = f"/dicomweb/studies/{uids[0]}/series/{series}/instances/{capture['sop_instance_uid']}"
        answer = system.get(path)
        content_type = answer.headers["content-type"]
        boundary = re.search(r'boundary="?([^";]+)', content_type)
        assert boundary is not None, content_type
        part = answer.content.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--" + boundary[1].encode(), 1)[0]
        file = tmp_path / f"{kind}.dcm"
        file.write_bytes(part)
        judged = subprocess.run(
            [need("dciodvfy", "dicom3tools"), str(file)], check=False, capture_output=True, text=True
        )
        errors = [line for line in (judged.stdout + judged.stderr).splitlines() if line.startswith("Error")]
        assert errors == [], kind
        if kind == "clip":  # dcm2json writes no compressed pixels: dcmtk decodes one frame, then takes them out
            decode = [need("dcmj2pnm", "dcmtk"), "--frame", "2", str(file), str(tmp_path / "frame.ppm")]
            subprocess.run(decode, check=True, capture_output=True)
            assert (tmp_path / "frame.ppm").read_bytes().startswith(b"P6\n")
            subprocess.run(
                [need("dcmodify", "dcmtk"), "-nb", "-ea", "(7fe0,0010)", str(file)], check=True, capture_output=True
            )
        read = subprocess.run([need("dcm2json", "dcmtk"), str(file)], check=True, capture_output=True)
        assert capture["sop_instance_uid"].encode() in read.stdout
