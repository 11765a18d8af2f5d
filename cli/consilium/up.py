"""``consilium up``: every service in one process behind one door, and a demo hospital beside it.

Owner of everything it opens: platform, services, HTTP server, agent process. Ctrl-C ends the agent first (it says goodbye to the
room), then the server, then the resources; data stays.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from consilium.compose import Dicom, Embedded, open_everything
from consilium.demo import SITE_ID, run_demo
from consilium.http_server import HttpServer
from consilium.state import remember
from consilium_core.errors import Conflict, Invalid, Unavailable
from consilium_platform.platform import open_platform
from consilium_platform.process import settle_garbage
from consilium_platform.settings import PlatformSettings
from consilium_platform.telemetry import set_up_logging

log = structlog.get_logger()


class PortTaken(Conflict):
    """The address is in use."""

    code = "port-taken"
    mend = "operator"


class HostUnusable(Invalid):
    """The host names no address of this machine."""

    code = "host-unusable"
    mend = "operator"


class FolderTaken(Conflict):
    """Another process keeps its data here."""

    code = "folder-taken"
    mend = "operator"


class FolderUnusable(Unavailable):
    """The data folder can't be written."""

    code = "folder-unusable"
    mend = "operator"


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What the command line chose."""

    data: Path
    host: str
    port: int
    demo: bool
    source: str
    web_dist: Path | None
    dicom_port: int | None = None


def check_folder(folder: Path) -> None:
    """Make the data folder or say in one sentence why it can't be used."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".write-probe"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as problem:
        raise FolderUnusable(
            f"The data folder {folder} can't be written ({problem.strerror}): choose another with --data DIR."
        ) from problem


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Keep every other ``consilium up`` out of the data folder for the length of the block; the kernel lets go of a dead holder's lock."""
    with (folder / ".lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            raise FolderTaken(
                f"Another consilium is running on the data folder {folder}: stop it, or choose another folder with --data DIR."
            ) from problem
        yield


def listen(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket, or raise HostUnusable or PortTaken with the way out."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
    except OSError as problem:
        raise HostUnusable(
            f"The host {host} is unknown ({problem.strerror}): give an address with --host."
        ) from problem
    sock = socket.socket(family, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(address)
        with socket.socket(family, socket.SOCK_DGRAM) as media:
            media.bind(address)
        sock.listen(2048)
    except OSError as problem:
        sock.close()
        raise _why_not(host, port, problem) from problem
    sock.setblocking(False)
    return sock


def _why_not(host: str, port: int, problem: OSError) -> Conflict | Invalid:
    other = 'choose another with --port N (make run ARGS="--port N").'
    if problem.errno == errno.EADDRINUSE:
        return PortTaken(f"Port {port} of {host} is taken: {other}")
    if problem.errno == errno.EACCES:
        return PortTaken(f"Port {port} is not for this user: {other}")
    return HostUnusable(f"{host} is no address of this machine ({problem.strerror}): give another with --host.")


def default_web_dist() -> Path:
    """Return where ``make web`` puts the client: beside the sources."""
    return Path(__file__).resolve().parents[2] / "web" / "dist"


def run_up(options: UpOptions) -> int:
    """Run until Ctrl-C; return the exit status."""
    set_up_logging("console", os.environ.get("CONSILIUM_LOG_LEVEL", "warning"))
    check_folder(options.data)
    with hold_folder(options.data):
        sock = listen(options.host, options.port)
        try:
            import uvloop

            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_up(options, sock))
        except KeyboardInterrupt:
            pass
        finally:
            sock.close()
    return 0


async def _up(options: UpOptions, sock: socket.socket) -> None:
    settings = PlatformSettings.load(data_dir=options.data)
    url = f"http://[{options.host}]:{options.port}" if ":" in options.host else f"http://{options.host}:{options.port}"
    async with AsyncExitStack() as stack:
        platform = await stack.enter_async_context(open_platform(settings))
        dicom = Dicom(options.host, options.dicom_port) if options.dicom_port is not None else None
        embedded = Embedded(options.host, options.port, SITE_ID if options.demo else "", dicom)
        web = options.web_dist or default_web_dist()
        door = await stack.enter_async_context(open_everything(platform, embedded, web))
        settle_garbage()
        demo: asyncio.Task[None] | None = None

        async def drain() -> None:
            """End the demo's agent while the rooms still listen, then let long polls and event streams go."""
            if demo is not None and not demo.done():
                demo.cancel()
                await asyncio.gather(demo, return_exceptions=True)
            door.begin_shutdown()

        server = HttpServer(door.app, drain)
        remember(options.data, url)
        serving = asyncio.create_task(server.serve(sockets=[sock]), name="http-server")
        await server.ready.wait()
        sys.stdout.write(f"consilium is at {url}  (data: {options.data})\n")
        if options.dicom_port is not None:
            sys.stdout.write(f"DICOM C-STORE is at {options.host}:{options.dicom_port}\n")
        sys.stdout.flush()
        try:
            if options.demo:
                demo = asyncio.create_task(run_demo(platform, url, options.data, options.source), name="demo")
                demo.add_done_callback(_tell_failure)
            await serving
        finally:
            server.should_exit = True
            await asyncio.gather(serving, return_exceptions=True)
            sys.stdout.write("Stopped. The data stays in place.\n")


def _tell_failure(demo: asyncio.Task[None]) -> None:
    """Say that the demo could not be started; the services go on without it."""
    if demo.cancelled() or (problem := demo.exception()) is None:
        return
    log.error("demo_failed", error=str(problem), exc_info=problem)
    sys.stdout.write(f"The demo hospital could not be started: {problem}\n")
    sys.stdout.flush()
