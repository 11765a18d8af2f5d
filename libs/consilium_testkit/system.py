"""The whole product as its user starts it: ``consilium up`` in a process of its own, with a demo hospital beside it."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil

from consilium_testkit.servers import free_port, wait_for

_TOKEN_SERVES_S = 300.0  # of the ten minutes that one is good for


@dataclass
class System:
    """A running product: its address, its demo users, what it printed."""

    url: str
    data: Path
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    passwords: dict[str, str] = field(default_factory=dict)
    door_cpu_s: float = 0.0  # processor time of the process until the door answered
    _tokens: dict[str, tuple[float, str]] = field(default_factory=dict)

    def token(self, username: str) -> str:
        """Return a bearer token as ``consilium token`` prints it."""
        command = [sys.executable, "-m", "consilium", "token", "--user", username, "--data", str(self.data)]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()

    def headers(self, username: str) -> dict[str, str]:
        """Return the Authorization header of a demo user; a token serves for a while, each costs a start of the command."""
        made_s, token = self._tokens.get(username, (-_TOKEN_SERVES_S, ""))
        if time.monotonic() - made_s >= _TOKEN_SERVES_S:
            made_s, token = time.monotonic(), self.token(username)
            self._tokens[username] = made_s, token
        return {"Authorization": f"Bearer {token}"}

    def get(self, path: str, username: str = "specialist", **more: Any) -> httpx2.Response:
        """GET as a demo user."""
        return httpx2.get(f"{self.url}{path}", headers=self.headers(username), timeout=30, trust_env=False, **more)

    def post(self, path: str, username: str = "operator", **more: Any) -> httpx2.Response:
        """POST as a demo user."""
        return httpx2.post(f"{self.url}{path}", headers=self.headers(username), timeout=60, trust_env=False, **more)

    def agent(self) -> psutil.Process:
        """Return the demo hospital's agent process."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            if "site" in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                return child
        raise LookupError("no site agent is running")

    def live(self) -> bool:
        """Say whether the demo room delivers packets."""
        return bool(self.get("/api/v1/rooms/demo").json().get("live"))


@contextmanager
def running_system(data: Path, *arguments: str, wait_live: bool = True, timeout_s: float = 180) -> Iterator[System]:
    """Start ``consilium up`` on a free port; yield it when the first live frame has arrived; Ctrl-C at the end."""
    port = free_port()
    command = [sys.executable, "-m", "consilium", "up", "--data", str(data), "--port", str(port), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)
    system = System(f"http://127.0.0.1:{port}", data, process)
    reader = threading.Thread(target=_read, args=(system,), name="system-output", daemon=True)
    reader.start()
    sign = "Live:" if wait_live else "consilium is at"
    try:
        wait_for(
            lambda: any(line.startswith(sign) for line in system.lines) or process.poll() is not None, sign, timeout_s
        )
        if process.poll() is not None:
            raise RuntimeError("consilium up has ended:\n" + "\n".join(system.lines[-40:]))
        yield system
    finally:
        if process.poll() is None:
            process.send_signal(2)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        reader.join(10)
        if process.stdout is not None:
            process.stdout.close()


def _read(system: System) -> None:
    assert system.process.stdout is not None
    for line in system.process.stdout:
        if line.startswith("consilium is at"):
            spent = psutil.Process(system.process.pid).cpu_times()
            system.door_cpu_s = spent.user + spent.system
        system.lines.append(line.rstrip("\n"))
        if match := re.match(r"  (\w+)\s+(\w+-\w+)$", line.rstrip("\n")):
            system.passwords[match[1]] = match[2]
