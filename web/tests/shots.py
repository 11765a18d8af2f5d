"""Look at every page: sign in, walk through the addresses given, and save one picture per page, size and language.

Usage: python web/tests/shots.py BASE_URL OUT_DIR [--user NAME] [--password WORD] [--lang en|zh-CN] [--theme dark|light|contrast] PATH...
Console errors and failed axe rules (serious and critical) are printed; the exit status says whether there were any.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

SIZES = {"wide": (1440, 900), "phone": (390, 844)}
FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
]
AXE = Path(__file__).parent.parent / "node_modules/axe-core/axe.min.js"


def serious_violations(page: Page) -> list[str]:
    """Run axe in the page; return one line per serious or critical violation."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("async () => (await axe.run(document)).violations")
    return [
        f"{rule['id']}: {json.dumps(rule['nodes'][0]['target'])} ({len(rule['nodes'])})"
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]


def sign_in(page: Page, base: str, user: str, password: str) -> None:
    """Sign in by the form."""
    page.goto(base + "/sign-in")
    page.locator("input[name=username]").fill(user)
    page.locator("input[name=password]").fill(password)
    page.locator("button[type=submit]").click()
    page.locator("header.topbar").wait_for()


def main() -> int:
    """Take the pictures; 1 when a console error or a serious axe violation was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base")
    parser.add_argument("out", type=Path)
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--user", default="specialist")
    parser.add_argument("--password", help="default: the user's name, as the mock backend has it")
    parser.add_argument("--lang", default="en")
    parser.add_argument("--theme", default="dark")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--click", help="a selector to click before the picture")
    parser.add_argument("--sizes", default="wide,phone")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    bad: list[str] = []
    with sync_playwright() as p, tempfile.TemporaryDirectory() as profile:
        context = p.chromium.launch_persistent_context(
            profile, executable_path="/usr/bin/chromium", args=FLAGS, locale=args.lang
        )
        context.add_init_script(
            f"localStorage.setItem('consilium.language', '{args.lang}');"
            f"localStorage.setItem('consilium.theme', '{args.theme}');"
        )
        page = context.new_page()
        page.on("console", lambda m: bad.append(m.text) if m.type == "error" and "401" not in m.text else None)
        page.on("pageerror", lambda e: bad.append(str(e)))
        for size in args.sizes.split(","):
            page.set_viewport_size(dict(zip(("width", "height"), SIZES[size], strict=True)))
            if args.user != "-":
                sign_in(page, args.base, args.user, args.password or args.user)
            for path in args.paths:
                page.goto(args.base + path)
                page.wait_for_load_state("load")
                page.wait_for_timeout(1200)
                if args.click:
                    page.locator(args.click).first.click()
                    page.wait_for_timeout(500)
                name = re.sub(r"\W+", "-", path).strip("-") or "home"
                page.screenshot(path=args.out / f"{name}-{size}-{args.lang}-{args.theme}.png", full_page=args.full)
                bad += [f"{path} {size}: {line}" for line in serious_violations(page)]
            if args.user != "-":
                context.clear_cookies()
        context.close()
    print("\n".join(dict.fromkeys(bad)))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
