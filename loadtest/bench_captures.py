"""Measure what a user waits for a capture: from the click in the room to the picture on the phone, in two pages of Chromium.

    .venv/bin/python loadtest/bench_captures.py [--rounds 10]

The product runs as its user starts it, both browsers on the same machine: decoding the room's live video for the operator's page
is in the figure. Each line holds every round, so that a busy moment can be seen.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "libs")]

from playwright.async_api import Page  # noqa: E402

from consilium_testkit.browser import DESKTOP, PHONE, chromium, signed_in  # noqa: E402
from consilium_testkit.capture_walk import clip_to_phone, enter_room, still_to_phone  # noqa: E402
from consilium_testkit.system import System, running_system  # noqa: E402

WALKS: dict[str, Callable[[Page, Page], Awaitable[float]]] = {"still": still_to_phone, "clip": clip_to_phone}


async def measure(system: System, rounds: int) -> None:
    """Print one line per kind of capture; the first round of each, with a cold viewer, does not count."""
    async with (
        chromium() as browser,
        signed_in(browser, system, "operator", DESKTOP) as operator,
        signed_in(browser, system, "specialist", PHONE) as phone,
    ):
        await enter_room(operator)
        await asyncio.sleep(10)  # so that the ring holds a whole clip
        for kind, walk in WALKS.items():
            cold, *took = [round(await walk(operator, phone), 2) for _ in range(rounds + 1)]
            value = round(statistics.median(took), 2)
            line = {"figure": f"{kind}_to_phone_s", "value": value, "unit": "s", "max": max(took), "first": cold}
            print(json.dumps({**line, "rounds": took}), flush=True)


def main() -> None:
    """Start the product with its demo and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=10)
    with tempfile.TemporaryDirectory(prefix="bench-captures-") as folder, running_system(Path(folder)) as system:
        asyncio.run(measure(system, parser.parse_args().rounds))


if __name__ == "__main__":
    main()
