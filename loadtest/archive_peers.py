"""The archives that ``bench_archive`` measures, each a process of its own: consilium in either world, and Debian's Orthanc.

A ``Target`` is where it answers and which processes serve it; CPU time is read from the kernel for the whole process tree, so
that neither the client's work nor an idle neighbour is counted. Who opens a target ends its processes.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from consilium_core.clock import SystemClock
from consilium_core.roles import Role
from consilium_platform.tokens import Claims, ensure_embedded_keys, load_signer
from consilium_testkit import servers

_START_S = 120.0
_LEFT_FREE_BYTES, _DISK_FREE_BYTES = 512 << 20, 16 << 30


@dataclass(frozen=True)
class Target:
    """One measured archive: its DICOMweb root, what a request must carry, and the processes whose CPU counts."""

    name: str
    url: str
    root: str
    pids: tuple[int, ...]
    headers: dict[str, str] = field(default_factory=dict)

    def cpu_ms(self) -> float:
        """Return user and system time of the process trees so far, ms."""
        total = 0.0
        for pid in self.pids:
            parent = psutil.Process(pid)
            for one in (parent, *parent.children(recursive=True)):
                times = one.cpu_times()
                total += times.user + times.system
        return total * 1000

    def client(self) -> Client:
        """Return a connection of its own."""
        return Client(self)


class Client:
    """One kept-alive connection by the standard library: the lightest client there is, so that the server is what is measured."""

    def __init__(self, target: Target) -> None:
        parts = urlsplit(target.url)
        self._target = target
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
        """Return the body of a 200; ``path`` is below the DICOMweb root, or begins with ``//`` for below the host."""
        path = path[1:] if path.startswith("//") else self._target.root + path
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, body, self._target.headers | named)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{self._target.name} answers {answer.status} to {method} {path}: {content[:300]!r}")
        return content

    def get(self, path: str, accept: str = "application/dicom+json", encoding: str = "identity") -> bytes:
        """Return the body of a GET."""
        return self.ask("GET", path, Accept=accept, Accept_Encoding=encoding)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _await_answer(url: str, headers: dict[str, str], process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when ``url`` answers 200; raise with the log when the process ends before."""
    parts = urlsplit(url)
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"it ended at once: {log.read_text()[-2000:]}")
        try:
            probe = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=2)
            probe.request("GET", parts.path, headers=headers)
            if probe.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"{url} did not answer within {_START_S:.0f} s")


def fill_page_cache(folder: Path) -> None:
    """Write a file as large as the free memory: on a machine that has been running for long the page cache has taken it all.

    In a fresh virtual machine each page that the cache takes first is asked of the host: up to 1 ms of CPU per 512 KiB written, whoever writes.
    """
    block = bytes(4 << 20)
    with (folder / "page-cache").open("wb", buffering=0) as file:
        while (
            psutil.virtual_memory().free > _LEFT_FREE_BYTES and psutil.disk_usage(str(folder)).free > _DISK_FREE_BYTES
        ):
            file.write(block)


@contextmanager
def consilium(folder: Path, env: dict[str, str] | None = None, more: tuple[int, ...] = ()) -> Iterator[Target]:
    """Serve ingest and imaging in one process: embedded in ``folder``, or in the world that ``env`` names."""
    folder.mkdir(parents=True, exist_ok=True)
    ensure_embedded_keys(folder / "keys")
    signer = load_signer(folder / "keys" / "users.json", SystemClock())
    port = servers.free_port()
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "consilium_testkit.archive_rooms", str(folder), str(port)],
            stdout=output, stderr=output, env={**os.environ, "PYTHONPATH": ":".join(sys.path), **(env or {})},
        )  # fmt: skip
    try:
        token = signer.sign(Claims("user", "bench", "demo", Role.ADMIN, "bench"))
        url = f"http://127.0.0.1:{port}"
        headers = {"Authorization": f"Bearer {token}"}
        _await_answer(f"{url}/healthz", headers, process, log)
        name = "consilium-servers" if env else "consilium"
        yield Target(name, url, "/dicomweb", (process.pid, *more), headers)
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def real_world(folder: Path, s3_gib: int = 4) -> Iterator[dict[str, str]]:
    """Run PostgreSQL, Redis and S3 (in memory) for the length of the block; yield the settings that lead a server to them."""
    with (
        servers.postgres(folder / "postgres") as database,
        servers.redis(folder / "redis") as redis,
        servers.s3(folder / "s3", s3_gib) as s3,
    ):
        servers.wait_for(lambda: _made(database, "bench"), "the database made")
        yield {
            "CONSILIUM_PLATFORM_DATABASE_URL": f"{database}/bench",
            "CONSILIUM_PLATFORM_REDIS_URL": redis,
            "CONSILIUM_PLATFORM_BLOB_STORE": "s3",
            "CONSILIUM_PLATFORM_S3_ENDPOINT": s3.endpoint,
            "CONSILIUM_PLATFORM_S3_BUCKET": "bench",
            "CONSILIUM_PLATFORM_S3_ACCESS_KEY": s3.access_key,
            "CONSILIUM_PLATFORM_S3_SECRET_KEY": s3.secret_key,
        }


def _made(url: str, name: str) -> bool:
    """Make the database; False while the server is still starting."""
    psql = servers.need("psql", "postgresql-client")
    plain = url.replace("+asyncpg", "")
    done = subprocess.run(
        [psql, f"{plain}/postgres", "-qc", f"CREATE DATABASE {name}"], check=False, capture_output=True
    )
    return done.returncode == 0


def orthanc_there() -> bool:
    """Tell whether Debian's packages orthanc and orthanc-dicomweb are installed."""
    return shutil.which("Orthanc", path="/usr/sbin:/usr/bin") is not None and _plugin().exists()


def _plugin() -> Path:
    return Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@contextmanager
def orthanc(folder: Path) -> Iterator[Target]:
    """Run Orthanc with the DICOMweb plugin and its default SQLite, TCP_NODELAY set, nothing else tuned."""
    folder.mkdir(parents=True, exist_ok=True)
    port, dicom_port = servers.free_port(), servers.free_port()
    settings = {
        "Name": "bench", "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "storage"),
        "HttpPort": port, "DicomPort": dicom_port, "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
        "TcpNoDelay": True, "DicomAet": "ORTHANC", "DicomCheckCalledAet": False, "DicomAlwaysAllowStore": True,
        "Plugins": [str(_plugin())],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    log = folder / "orthanc.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["/usr/sbin/Orthanc", str(folder / "orthanc.json")], stdout=output, stderr=output,
            env={**os.environ, "TCP_NODELAY": "1"},
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        _await_answer(f"{url}/system", {}, process, log)
        yield Target("orthanc", url, "/dicom-web", (process.pid,))
    finally:
        process.terminate()
        process.wait(60)
