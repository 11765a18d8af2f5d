"""The agent's composition root: it alone reads settings, opens what the flows need and closes it again.

    camera thread -> FrameHub -> encoder threads -> WHIP            poll -> CommandDesk -> Orders
                        \\-> ring -> CaptureMaker -> spool -> Uploader -> ingest

``run`` ends when SIGTERM or SIGINT arrives (or ``stop`` is set); desired streams and the spool stay on disk for the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import structlog

from consilium_core.clock import SystemClock
from consilium_core.errors import ConsiliumError
from consilium_core.ids import new_ulid
from consilium_core.site_protocol import AgentDescription, SessionRequest
from consilium_site import __version__
from consilium_site.adapters.capture_cv2 import CaptureWorker, Source, SourceKind, compress_jpeg, source_kind
from consilium_site.adapters.demo_source import demo_video
from consilium_site.adapters.encoder_av import make_encoder
from consilium_site.adapters.http_client import Http, TokenKeeper, is_loopback, make_client
from consilium_site.adapters.http_gateway import HttpGateway, HttpWhip
from consilium_site.adapters.memory_sqlite import SqliteMemory
from consilium_site.adapters.objects_dicom import DicomObjects
from consilium_site.adapters.spool_folder import SpoolFolder
from consilium_site.adapters.state_folder import StateFolder
from consilium_site.adapters.tus_http import TusUploads
from consilium_site.adapters.whip_aiortc import WhipPublisher
from consilium_site.domain.backoff import Backoff
from consilium_site.domain.ring import FrameRing, RingLimits
from consilium_site.flow.diagnose import Health
from consilium_site.flow.hub import FrameHub
from consilium_site.flow.join import join
from consilium_site.flow.make_capture import CaptureMaker
from consilium_site.flow.obey import CommandDesk
from consilium_site.flow.orders import Orders
from consilium_site.flow.poll import Poller
from consilium_site.flow.presence import Presence
from consilium_site.flow.publish import Publishing, StudioParts
from consilium_site.flow.report import Reporter
from consilium_site.flow.tasks import Tasks
from consilium_site.flow.upload import Uploader
from consilium_site.logs import configure_logs
from consilium_site.settings import SiteSettings

log = structlog.get_logger(__name__)
_MIB = 2**20


def make_source(settings: SiteSettings) -> Source:
    """Return the capture source; the demo's video is made in the state folder on first use."""
    address, name = settings.source, settings.source_name
    if address == "demo":
        address, name = str(demo_video(settings.state_dir)), name or "Demo: colour echocardiogram"
    kind = source_kind(address)
    words = {SourceKind.DEVICE: "Capture card", SourceKind.FILE: "Video file", SourceKind.URL: "Network source"}
    return Source(
        kind=kind,
        address=address,
        name=name or words[kind],
        loop=settings.source_loop,
        realtime=settings.source_realtime,
        fps=settings.source_fps,
        width=settings.source_width,
        height=settings.source_height,
        open_timeout_s=settings.source_open_timeout_s,
    )


def ring_limits(settings: SiteSettings) -> RingLimits:
    """Return the ring's limits in bytes and seconds."""
    return RingLimits(
        seconds=settings.ring_seconds,
        max_bytes=settings.ring_max_mib * _MIB,
        raw_seconds=settings.ring_raw_seconds,
        raw_max_bytes=settings.ring_raw_max_mib * _MIB,
    )


def describe_agent(settings: SiteSettings) -> AgentDescription:
    """Return who is speaking; the boot id is new with each start."""
    return AgentDescription(name=settings.site_name, version=__version__, boot_id=new_ulid())


async def run(settings: SiteSettings, stop: asyncio.Event | None = None) -> None:
    """Run the agent until ``stop``, SIGTERM or SIGINT; raises errors of the tree when it cannot start."""
    stop = stop or asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
            loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        tasks = await _open(settings, stack, stop)
        if tasks is not None:
            await stop.wait()
            log.info("agent_stopping")
    log.info("agent_stopped")


async def _open(settings: SiteSettings, stack: AsyncExitStack, stop: asyncio.Event) -> Tasks | None:
    """Open everything in order onto ``stack``; None when ``stop`` came before the agent had an identity."""
    clock, agent = SystemClock(), describe_agent(settings)
    state = StateFolder(settings.state_dir)
    stack.enter_context(state.lock())
    policy = state.policy()
    memory = SqliteMemory(state.path / "agent.db")
    stack.callback(memory.close)
    spool = SpoolFolder(state.path / "spool", settings.spool_max_mib * _MIB)
    source = await asyncio.to_thread(make_source, settings)
    client = make_client(
        settings.server_url,
        ca_bundle=settings.ca_bundle,
        use_proxy_env=settings.use_proxy_env,
        timeout_s=settings.request_timeout_s,
    )
    await stack.enter_async_context(client)
    http = Http(client, settings.server_url)
    server = HttpGateway(http)

    tasks = Tasks()
    stack.push_async_callback(tasks.close)
    reporter = Reporter(memory, server, clock, Backoff(max_s=10.0))
    media_epoch = await asyncio.to_thread(memory.next_media_epoch)
    hub = FrameHub(FrameRing(ring_limits(settings)), compress_jpeg(settings.jpeg_quality))
    hub.start()
    stack.push_async_callback(asyncio.to_thread, hub.close)
    presence = Presence(spool, reporter)
    camera = CaptureWorker(source, media_epoch, hub.publish, presence.changed)
    presence.watch(camera)
    camera.start()
    stack.push_async_callback(asyncio.to_thread, camera.close)
    log.info("agent_started", version=__version__, media_epoch=media_epoch, source=source.kind.value)

    code = settings.enrolment_code.get_secret_value() if settings.enrolment_code else ""
    joined = await _unless_stopped(join(state, server, settings.server_url, code, agent, Backoff(max_s=10.0)), stop)
    if joined is None:
        return None
    identity, enrolment = joined
    parts = StudioParts(
        hub=hub,
        camera=camera,
        publisher=WhipPublisher(HttpWhip(http), server_is_local=is_loopback(settings.server_url)),
        make_encoder=make_encoder,
        reporter=reporter,
        media_epoch=media_epoch,
        keyframe_interval_s=settings.keyframe_interval_s,
        reconnect_max_s=settings.reconnect_max_s,
    )
    publishing = Publishing(parts, memory)
    stack.push_async_callback(publishing.close)
    http.tokens = TokenKeeper(http, identity, clock, lambda: _hang_up(tasks, publishing))
    if enrolment is not None:
        http.tokens.adopt(enrolment.access_token, enrolment.expires_in_s)

    builder = DicomObjects(settings.site_name, source.name)
    captures = CaptureMaker(hub.ring, camera, spool, memory, builder, clock, publishing)
    uploader = Uploader(spool, TusUploads(http), reporter, presence, clock, Backoff(max_s=30.0))
    health = Health(clock, camera, hub, spool, memory, publishing, media_epoch, state.path)
    orders = Orders(publishing, captures, uploader, reporter, presence, health.report)
    desk = CommandDesk(memory, server, reporter, policy, clock, orders.obey)
    stack.push_async_callback(desk.close)
    health.clock_offset_s = lambda: desk.clock_offset_s

    async def hello() -> SessionRequest:
        count, size = await asyncio.to_thread(spool.unacknowledged)
        return SessionRequest(
            agent=agent, devices=[camera.device()], spool_unacknowledged=count, spool_bytes=size, sent_at=clock.now()
        )

    def server_back() -> None:
        uploader.server_back()
        reporter.server_back()
        publishing.nudge()

    poller = Poller(server, desk, clock, hello, Backoff(max_s=identity.intervals.backoff_max_s), server_back)
    await desk.settle_interrupted(spool)
    tasks.keep("poll", poller.run)
    tasks.keep("leases", desk.run_leases)
    tasks.keep("reports", reporter.run)
    tasks.keep("uploads", uploader.run)
    tasks.keep("presence", presence.run)
    await publishing.restore()
    stack.callback(publishing.begin_close)
    return tasks


_T = TypeVar("_T")


async def _unless_stopped(work: Coroutine[Any, Any, _T], stop: asyncio.Event) -> _T | None:
    """Return what ``work`` returns, or None when ``stop`` comes first."""
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for waiting in (task, stopped):
            waiting.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)


def _hang_up(tasks: Tasks, publishing: Publishing) -> None:
    tasks.start("hang-up", publishing.hang_up())


def main(settings: SiteSettings) -> int:
    """Run the agent to its end (``consilium site run``); return the exit status, 2 when it could not start."""
    configure_logs(settings.log_level)
    return _told(lambda: asyncio.run(run(settings)))


def enroll(settings: SiteSettings) -> int:
    """Trade the one-time code of the settings for an identity and end (``consilium site enroll``)."""
    configure_logs(settings.log_level)
    return _told(lambda: asyncio.run(_enroll(settings)))


async def _enroll(settings: SiteSettings) -> None:
    state = StateFolder(settings.state_dir)
    code = settings.enrolment_code.get_secret_value() if settings.enrolment_code else ""
    client = make_client(
        settings.server_url,
        ca_bundle=settings.ca_bundle,
        use_proxy_env=settings.use_proxy_env,
        timeout_s=settings.request_timeout_s,
    )
    async with client:
        server = HttpGateway(Http(client, settings.server_url))
        agent = describe_agent(settings)
        with state.lock():
            identity, _ = await join(state, server, settings.server_url, code, agent, Backoff(max_s=10.0))
    sys.stdout.write(f"enrolled as site {identity.site_id} ({identity.name or settings.site_name})\n")


def status(settings: SiteSettings) -> int:
    """Say in words who the agent is, whether it runs and what waits in its spool (``consilium site status``)."""
    return _told(lambda: _status(settings))


def _status(settings: SiteSettings) -> None:
    state = StateFolder(settings.state_dir)
    identity = state.identity()
    spool_dir = state.path / "spool"
    waiting = [f for f in spool_dir.glob("*.dcm") if f.with_suffix(".json").exists()]
    set_aside = list((spool_dir / "quarantine").glob("*.dcm"))
    lines = [
        f"site:       {identity.site_id} at {identity.server_url}" if identity else "site:       not enrolled",
        f"agent:      {'running' if state.in_use() else 'not running'}",
        f"spool:      {len(waiting)} objects, {sum(f.stat().st_size for f in waiting)} bytes wait for a receipt",
        f"quarantine: {len(set_aside)} objects",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def _told(work: Callable[[], None]) -> int:
    try:
        work()
    except ConsiliumError as error:
        sys.stderr.write(f"consilium site: {error.detail}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"consilium site: the state folder cannot be used: {error.strerror}\n")
        return 2
    return 0
