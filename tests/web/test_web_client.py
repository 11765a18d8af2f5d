"""The web client's own suite, its size budgets, and what it must never do, as part of the whole suite."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


@pytest.mark.timeout(600)
@pytest.mark.parametrize("script", ["test", "size"])
def test_the_clients_own_suite_passes(repo: Path, script: str) -> None:
    done = subprocess.run(
        ["npm", "run", "--silent", script], cwd=repo / "web", check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


def test_the_built_client_speaks_to_its_own_door_alone(repo: Path) -> None:
    built = [p for p in (repo / "web" / "dist").rglob("*") if p.suffix in {".js", ".css", ".html"}]
    assert built, "the client is not built: make web"
    allowed = ("http://www.w3.org/",)  # names of XML namespaces, never fetched
    for path in built:
        text = path.read_text()
        for scheme in ("http://", "https://"):
            at = text.find(scheme)
            while at >= 0:
                assert text.startswith(allowed, at), (path.name, text[at : at + 60])
                at = text.find(scheme, at + 1)
