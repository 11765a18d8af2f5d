"""The load test itself: every kind of user works against the running product without one failed request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from consilium_testkit.system import running_system

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]


def test_viewers_uploads_and_polling_sites_meet_no_failure(tmp_path: Path, repo: Path) -> None:
    with running_system(tmp_path / "data") as system:
        done = subprocess.run(
            [
                sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py", "--headless", "--json", "--loglevel", "WARNING",
                "-u", "10", "-r", "10", "-t", "12s", "--stop-timeout", "20", "--host", system.url,
            ],
            cwd=repo,
            env={**os.environ, "CONSILIUM_LOAD_DATA": str(system.data), "CONSILIUM_LOAD_POLL_WAIT_S": "2"},
            check=False,
            capture_output=True,
            text=True,
            timeout=180,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    figures = {row["name"]: row for row in json.loads(done.stdout)}
    assert {name: row["num_failures"] for name, row in figures.items() if row["num_failures"]} == {}
    for name in ("work list", "QIDO studies", "STOW one still", "site: enrol", "site: long poll"):
        assert figures[name]["num_requests"] > 0, sorted(figures)
