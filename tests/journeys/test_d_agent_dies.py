"""Journey (d): the agent is killed with -9 in the middle of a clip: FROZEN, then live again, and nothing acknowledged is missing."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from consilium_testkit.browser import DESKTOP, signed_in
from consilium_testkit.servers import wait_for
from consilium_testkit.system import System

pytestmark = [pytest.mark.browser, pytest.mark.system]


def spooled(system: System, capture_id: str) -> bool:
    """Say whether the agent has told that this capture is on its disk."""
    lines = (system.data / "site" / "agent.log").read_text().splitlines()
    return any("capture_spooled" in line and capture_id in line for line in lines)


def begun(system: System) -> int:
    """Return how many clips the agent has begun."""
    lines = (system.data / "site" / "agent.log").read_text().splitlines()
    return sum("command_accepted" in line and "capture.clip" in line for line in lines)


def ask_for_clip(system: System) -> str:
    asked = system.post("/api/v1/rooms/demo/captures", json={"kind": "clip", "seconds": 10})
    assert asked.status_code == 202, asked.text
    return str(asked.json()["id"])


def capture(system: System, capture_id: str) -> dict:
    return next(c for c in system.get("/api/v1/rooms/demo").json()["captures"] if c["id"] == capture_id)


async def test_the_room_says_frozen_goes_on_and_loses_nothing(system: System, browser: Browser) -> None:
    async with signed_in(browser, system, "specialist", DESKTOP) as page:
        await page.goto("/rooms/demo")
        video = page.get_by_test_id("room-video")
        asked: list[str] = []
        for wait_for_spool in (False, True):  # once in the middle of the clip, once between disk and cloud
            await expect(video).to_have_attribute("data-standing", "live", timeout=90_000)
            agent = system.agent()
            before = begun(system)
            asked.append(ask_for_clip(system))
            wait_for(lambda count=before: begun(system) > count, "the agent works on the clip", 60)
            if wait_for_spool:
                wait_for(lambda: spooled(system, asked[-1]), "the clip spooled", 60)
            agent.kill()
            await expect(page.get_by_test_id("room-frozen")).to_be_visible(timeout=30_000)
            assert "FROZEN" in await page.get_by_test_id("room-frozen").inner_text()
            await expect(video).to_have_attribute("data-standing", "live", timeout=90_000)
            await expect(page.get_by_test_id("room-frozen")).to_be_hidden()
            assert system.agent().pid != agent.pid
    wait_for(lambda: capture(system, asked[1])["state"] == "stored", "what was on the agent's disk is stored", 120)
    wait_for(lambda: capture(system, asked[0])["state"] in ("stored", "failed"), "the cut clip has an end", 180)
    for known in system.get("/api/v1/rooms/demo").json()["captures"]:
        if known["state"] == "failed":
            assert known["id"] == asked[0], known
            assert known["reason"]
        elif known["state"] == "stored":
            where = f"/dicomweb/studies/{known['study_uid']}/instances"
            found = system.get(where, params={"SOPInstanceUID": known["sop_instance_uid"]})
            assert len(found.json()) == 1, known


def test_the_agent_listens_on_nothing(system: System) -> None:
    """SEC-01, while it publishes; tests/site looks before, during and after a session."""
    listening = [c for c in system.agent().net_connections(kind="tcp") if c.status == "LISTEN"]
    assert listening == []
