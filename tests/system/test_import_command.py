"""``consilium import`` as its user runs it: killed in the middle and gone on with, into a data folder and into a server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from consilium_core.clock import SystemClock
from consilium_core.ids import new_uid
from consilium_core.roles import Role
from consilium_platform.tokens import Claims, ensure_embedded_keys, load_signer
from consilium_testkit.instances import ct_instance, uids_of
from consilium_testkit.servers import wait_for

pytestmark = pytest.mark.system
COUNT = 700  # eleven batches: a killed run is in the middle
CONSILIUM = [sys.executable, "-m", "consilium"]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """Write a folder of instances of one series, half of them in a ZIP archive; return them by SOP Instance UID."""
    study, series = new_uid(), new_uid()
    folder, made = tmp_path / "in", {}
    folder.mkdir()
    with zipfile.ZipFile(folder / "z.zip", "w", zipfile.ZIP_DEFLATED) as pack:
        for number in range(COUNT):
            data = ct_instance(side=8, StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=number)
            made[uids_of(data)[2]] = data
            if number % 2:
                pack.writestr(f"{number:04d}", data)
            else:
                (folder / f"{number:04d}").write_bytes(data)
    return made


def lines(folder: Path) -> int:
    return sum(len(path.read_bytes().splitlines()) for path in folder.glob("import-*.journal"))


def killed_in_the_middle(command: list[str], journals: Path, environment: dict[str, str]) -> int:
    """Start an import, kill it with SIGKILL when its journal says that a part is in; return how many files that is."""
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        wait_for(lambda: lines(journals) > 64 or process.poll() is not None, "a part of the import")
        process.kill()
        process.wait(30)
    assert process.returncode == -signal.SIGKILL
    known = lines(journals) - 1  # its first line is empty
    assert 64 <= known < COUNT
    return known


def completed(command: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """Run an import to its end; return its report."""
    done = subprocess.run(
        [*command, "--json"], env=environment, check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@contextmanager
def served(data: Path) -> Iterator[str]:
    """Serve ingest and imaging on a data folder as a process of its own."""
    command = [sys.executable, "-m", "consilium_testkit.archive_rooms", str(data)]
    with subprocess.Popen(command, env=plain_environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def plain_environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": ":".join(sys.path), **more}


def bearer(data: Path, role: Role) -> str:
    ensure_embedded_keys(data / "keys")
    return load_signer(data / "keys" / "users.json", SystemClock()).sign(
        Claims("user", role.value, "demo", role, role.value)
    )


def all_there(url: str, token: str, files: dict[str, bytes]) -> None:
    """Read every instance back."""
    with httpx2.Client(
        base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False
    ) as client:
        listed = client.get("/dicomweb/instances", params={"limit": "1"})
        assert listed.headers["X-Total-Count"] == str(len(files))
        for uid, data in list(files.items())[:: COUNT // 20]:
            study, series, _ = uids_of(data)
            path = f"/dicomweb/studies/{study}/series/{series}/instances/{uid}"
            assert client.get(path, headers={"Accept": "application/dicom"}).content == data


def test_into_a_data_folder_killed_and_gone_on_with(tmp_path: Path, files: dict[str, bytes]) -> None:
    data, environment = tmp_path / "data", plain_environment()
    command = [*CONSILIUM, "import", str(tmp_path / "in"), "--data", str(data)]
    known = killed_in_the_middle(command, data / "imports", environment)
    assert list((data / "imports").glob("work-*"))  # what the killed one left, of a ZIP archive's members
    report = completed(command, environment)
    counts = report["counts"]
    assert (counts["resumed"], sum(counts.values())) == (known, COUNT)
    assert report["complete"] is True
    assert [path for path in (data / "imports").iterdir() if path.suffix != ".json"] == []
    again = completed(command, environment)
    assert (again["counts"]["already"], again["counts"]["stored"]) == (COUNT, 0)
    verified = subprocess.run(
        [*CONSILIUM, "verify-audit", "--data", str(data)], check=False, capture_output=True, timeout=60
    )
    assert verified.returncode == 0
    with served(data) as url:
        all_there(url, bearer(data, Role.ADMIN), files)


def test_into_a_server_killed_and_gone_on_with(tmp_path: Path, files: dict[str, bytes]) -> None:
    data, state = tmp_path / "data", tmp_path / "state"
    with served(data) as url:
        token = bearer(data, Role.OPERATOR)
        environment = plain_environment(CONSILIUM_TOKEN=token, XDG_STATE_HOME=str(state))
        command = [
            *CONSILIUM,
            "import",
            str(tmp_path / "in"),
            "--server",
            url,
            "--report",
            str(tmp_path / "report.json"),
        ]
        known = killed_in_the_middle(command, state / "consilium", environment)
        report = completed(command, environment)
        assert (report["counts"]["resumed"], sum(report["counts"].values())) == (known, COUNT)
        assert report["not_in"] == []
        all_there(url, bearer(data, Role.ADMIN), files)
        (tmp_path / "in" / "short").write_bytes(ct_instance(side=64)[:-100])
        refused = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=300)
        assert refused.returncode == 1
        assert "pixel-data-truncated" in refused.stdout
        [one] = json.loads((tmp_path / "report.json").read_text())["not_in"]
        assert (one["ending"], next(found["mend"] for found in one["findings"])) == ("refused", "caller")
        wrong = subprocess.run(
            command,
            env=environment | {"CONSILIUM_TOKEN": "no token"},
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (wrong.returncode, "CONSILIUM_TOKEN" in wrong.stderr) == (1, True)


def test_ctrl_c_ends_it_in_order_and_it_goes_on(tmp_path: Path, files: dict[str, bytes]) -> None:
    data = tmp_path / "data"
    command = [*CONSILIUM, "import", str(tmp_path / "in"), "--data", str(data)]
    heard = ["env", "--default-signal=INT", *command]  # what a shell runs in the background begins with SIGINT ignored
    with subprocess.Popen(
        heard, env=plain_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        end = time.monotonic() + 60
        while (known := lines(data / "imports")) <= 64 and process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, "goes on where it stood" in said) == (130, True), f"{known} lines at the signal: {said}"
    assert list((data / "imports").glob("work-*")) == []
    [report] = (data / "imports").glob("*.json")
    assert json.loads(report.read_text())["complete"] is False
    counts = completed(command, plain_environment())["counts"]
    assert counts["resumed"] >= 64
    assert sum(counts.values()) == COUNT
