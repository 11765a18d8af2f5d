"""`make run` as its user meets it: clear refusals, data that stays, and an end that leaves nothing behind."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import psutil
import pytest

from consilium_testkit.servers import answers, free_port, wait_for
from consilium_testkit.system import System, running_system

pytestmark = pytest.mark.system


def up(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``consilium up`` to its end."""
    command = [sys.executable, "-m", "consilium", "up", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def assert_one_sentence(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("consilium: ")
    assert line.endswith(".")
    for word in words:
        assert word in line


def counts(system: System) -> dict[str, int]:
    """Return how many of everything there are: what seeding twice would make more."""
    lists = {"users": "admin", "patients": "operator", "consultations": "operator"}
    found = {name: len(system.get(f"/api/v1/{name}", user).json()["items"]) for name, user in lists.items()}
    answer = system.get("/dicomweb/instances", params={"limit": "1"})
    return {**found, "instances": int(answer.headers["X-Total-Count"])}


def passwords_sign_in(system: System) -> bool:
    body = {"username": "operator", "password": system.passwords["operator"]}
    answer = httpx2.post(f"{system.url}/api/v1/session", json=body, timeout=30, trust_env=False)
    return answer.status_code == 200


def family(system: System) -> list[psutil.Process]:
    return psutil.Process(system.process.pid).children(recursive=True)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_a_taken_port_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert_one_sentence(up("--data", str(tmp_path / "data"), "--port", port), f"Port {port}", "taken", "--port")


def test_a_taken_media_port_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = str(other.getsockname()[1])
        assert_one_sentence(up("--data", str(tmp_path / "data"), "--port", port), f"Port {port}", "taken")


def test_a_folder_that_cannot_be_written_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = up("--data", str(tmp_path / "file" / "data"), "--port", str(free_port()))
    assert_one_sentence(done, str(tmp_path / "file" / "data"), "can't be written", "--data")


@pytest.mark.parametrize(
    ("host", "words"), [("no-such-host.invalid", "unknown"), ("192.0.2.1", "no address of this machine")]
)
def test_a_host_that_is_not_here_is_refused_in_one_sentence(tmp_path: Path, host: str, words: str) -> None:
    done = up("--data", str(tmp_path / "data"), "--host", host, "--port", str(free_port()))
    assert_one_sentence(done, host, words, "--host")
    assert "taken" not in done.stderr


def test_without_the_demo_there_is_no_agent_and_no_demo_user(tmp_path: Path) -> None:
    with running_system(tmp_path / "data", "--no-demo", wait_live=False) as system:
        assert family(system) == []
        assert system.passwords == {}
        assert not (tmp_path / "data" / "demo-passwords.json").exists()
        command = [sys.executable, "-m", "consilium", "token", "--user", "operator", "--data", str(tmp_path / "data")]
        refused = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "operator" in refused.stderr


def test_two_programs_never_share_a_data_folder(tmp_path: Path) -> None:
    folder = str(tmp_path / "data")
    with running_system(tmp_path / "data", "--no-demo", wait_live=False) as system:
        assert_one_sentence(up("--data", folder, "--port", str(free_port()), "--no-demo"), folder, "--data")
        assert system.process.poll() is None
        system.process.send_signal(signal.SIGKILL)  # the lock dies with its holder
        system.process.wait(10)
    with running_system(tmp_path / "data", "--no-demo", wait_live=False) as system:
        assert system.process.poll() is None


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_the_end_leaves_no_process_and_no_port(tmp_path: Path, name: str) -> None:
    with running_system(tmp_path / "data") as system:
        children, port = family(system), int(system.url.rsplit(":", 1)[1])
        assert len(alive(children)) >= 1
        assert answers(port)
        system.process.send_signal(signal.Signals[name])
        assert system.process.wait(60) == 0
        assert alive(children) == []
        assert not answers(port)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as media:
            media.bind(("127.0.0.1", port))
    assert system.lines[-1] == "Stopped. The data stays in place."
    assert not [line for line in system.lines if "Traceback" in line]


def test_data_users_and_pictures_survive_a_second_start(tmp_path: Path) -> None:
    with running_system(tmp_path / "data") as first:
        wait_for(lambda: counts(first)["instances"] >= 3 and counts(first)["consultations"] >= 1, "the demo data")
        before, passwords = counts(first), dict(first.passwords)
        (stored,) = first.get("/dicomweb/instances", params={"limit": "1"}).json()
        assert passwords_sign_in(first)
    started = time.monotonic()
    with running_system(tmp_path / "data") as second:
        print(
            f"the second start was live after {time.monotonic() - started:.1f} s, door {second.door_cpu_s:.1f} s of CPU"
        )
        assert 0 < second.door_cpu_s < 5, "a second start stands in under 5 s; the clock of a busy machine says nothing"
        assert second.passwords == passwords
        assert passwords_sign_in(second)
        study, series, instance = (stored[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
        original = second.get(f"/dicomweb/studies/{study}/series/{series}/instances/{instance}")
        assert original.status_code == 200
        assert b"DICM" in original.content
        assert counts(second) == before
    (tmp_path / "data" / "demo-passwords.json").unlink()
    with running_system(tmp_path / "data") as third:
        assert third.passwords != passwords
        assert passwords_sign_in(third)
        assert counts(third) == before
        trail = third.get("/api/v1/audit", "itsec", params={"action": "token.issue"}).json()["items"]
        assert trail
        assert trail[0]["actor"].startswith("command line of ")
