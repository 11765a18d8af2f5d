"""Real PostgreSQL, Redis and S3 (Ceph radosgw) on loopback for the contract suites, each from its Debian package.

A server is started once per test run on a free port, in a folder of the run, and stopped at its end. Outside CI a missing program skips
the test with the package's name; in CI it fails.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def need(program: str, package: str, *folders: str) -> str:
    """Return the path of ``program``; without it skip (outside CI) or fail (in CI), naming the Debian package."""
    path = shutil.which(program, path=os.pathsep.join([*folders, os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
    if path is not None:
        return path
    words = f"{program} is not installed: apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(words)
    pytest.skip(words)


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    """Poll ``condition`` until it holds; fail with ``what`` after ``timeout_s``."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not happen within {timeout_s:.0f} s")
        time.sleep(0.05)


def answers(port: int) -> bool:
    """Say whether something accepts connections on the port."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextmanager
def process(
    command: list[str], log: Path, *, user: str | None = None, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server for the length of the block; SIGTERM at the end, SIGKILL after 10 s."""
    who = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=env,
            **who,  # type: ignore[call-overload]
        )
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait(10)


def _postgres_bin() -> str:
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name))
    return str(versions[-1]) if versions else ""


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL server; yield its URL without a database name (``postgresql+asyncpg://...:port``)."""
    initdb = need("initdb", "postgresql", _postgres_bin())
    server = need("postgres", "postgresql", _postgres_bin())
    user = "postgres" if os.geteuid() == 0 else None
    folder.mkdir(parents=True, exist_ok=True)
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        for parent in folder.parents:
            if parent.stat().st_uid == 0 and parent != Path("/"):
                parent.chmod(parent.stat().st_mode | 0o011)
    data = folder / "data"
    who = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    subprocess.run(
        [
            initdb,
            "-D",
            str(data),
            "-U",
            "consilium",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-sync",
            "--locale=C.UTF-8",
        ],
        check=True,
        capture_output=True,
        cwd="/",
        **who,  # type: ignore[call-overload]
    )
    port = free_port()
    command = [
        server,
        "-D",
        str(data),
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
        "-k",
        str(folder),
        "-c",
        "max_connections=200",
    ]
    with process(command, folder.parent / "postgres.log", user=user) as child:
        wait_for(lambda: answers(port) or child.poll() is not None, "PostgreSQL listening")
        if child.poll() is not None:
            raise RuntimeError((folder.parent / "postgres.log").read_text())
        yield f"postgresql+asyncpg://consilium@127.0.0.1:{port}"


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """Run a Redis server; yield its URL."""
    server = need("redis-server", "redis-server")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with process(command, folder / "redis.log"):
        wait_for(lambda: answers(port), "Redis listening")
        yield f"redis://127.0.0.1:{port}"


@dataclass(frozen=True, slots=True)
class S3Server:
    """Where the S3 server is and the keys of its only user."""

    endpoint: str
    access_key: str
    secret_key: str


_CEPH_CONF = """[global]
fsid = {fsid}
mon host = [v1:127.0.0.1:{mon}]
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 2000
run dir = {folder}
admin socket = {folder}/$name.asok
log file = {folder}/$name.log
keyring = {folder}/keyring
ms bind ipv4 = true
ms bind ipv6 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
[mon]
mon data = {folder}/mon
mon data avail crit = 1
mon data avail warn = 2
mon initial members = a
[osd]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = {bytes}
osd class update on start = false
osd crush update on start = true
osd class load list = *
osd class default list = *
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw enable usage log = false
rgw run sync thread = false
rgw enable quota threads = false
rgw enable gc threads = false
"""


@contextmanager
def s3(folder: Path, gib: int = 4) -> Iterator[S3Server]:
    """Run a one-node Ceph (monitor, memory-backed OSD of ``gib`` GiB, radosgw); yield the S3 endpoint."""
    mon, osd, gateway = need("ceph-mon", "ceph-mon"), need("ceph-osd", "ceph-osd"), need("radosgw", "radosgw")
    admin, tool = need("radosgw-admin", "radosgw"), need("monmaptool", "ceph-common")
    ceph = need("ceph", "ceph-common")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("mon", "osd"):
        (folder / name).mkdir(exist_ok=True)
    fsid = str(uuid4())
    mon_port, port = free_port(), free_port()
    conf = folder / "ceph.conf"
    conf.write_text(_CEPH_CONF.format(fsid=fsid, folder=folder, port=port, mon=mon_port, bytes=gib << 30))
    (folder / "keyring").write_text("")
    base = ["-c", str(conf)]

    def run(*command: str) -> str:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stderr[-2000:]}")
        return done.stdout

    def insist(*command: str, timeout_s: float = 60) -> str:
        """Run what asks the monitor: while it forms its quorum on a busy machine it refuses its clients (EPERM)."""
        end = time.monotonic() + timeout_s
        while True:
            try:
                return run(*command)
            except RuntimeError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.25)

    run(
        tool,
        "--create",
        "--clobber",
        "--fsid",
        fsid,
        "--addv",
        "a",
        f"[v1:127.0.0.1:{mon_port}]",
        str(folder / "monmap"),
    )
    run(mon, *base, "--mkfs", "-i", "a", "--monmap", str(folder / "monmap"))
    with process([mon, *base, "-i", "a", "-f"], folder / "mon.out"):
        wait_for(lambda: answers(mon_port), "the monitor listening")
        uuid = "0c0c5b8a-4b5e-4d62-9a5d-0f3f6a3b1a01"
        insist(ceph, *base, "osd", "new", uuid, "0")
        insist(osd, *base, "-i", "0", "--mkfs", "--osd-uuid", uuid)
        with ExitStack() as stack:
            osds = [stack.enter_context(process([osd, *base, "-i", "0", "-f"], folder / "osd.out"))]

            def up() -> bool:
                if (
                    osds[-1].poll() is not None and len(osds) < 4
                ):  # it gives up if it speaks before it has the monitor map
                    osds.append(stack.enter_context(process([osd, *base, "-i", "0", "-f"], folder / "osd.out")))
                return "1 up" in insist(ceph, *base, "osd", "stat")

            wait_for(up, "the OSD up")
            access, secret = "CONSILIUMTEST", "consilium-test-secret"
            insist(
                admin,
                *base,
                "-n",
                "client.rgw",
                "user",
                "create",
                "--uid=test",
                "--display-name=test",
                f"--access-key={access}",
                f"--secret-key={secret}",
            )
            with process([gateway, *base, "-n", "client.rgw", "-f"], folder / "rgw.out"):
                wait_for(lambda: answers(port), "radosgw listening")
                yield S3Server(f"http://127.0.0.1:{port}", access, secret)
