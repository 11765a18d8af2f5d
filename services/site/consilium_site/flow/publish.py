"""Keeps desired streams published: one WHIP session and one encode per room and codec, reconnected for ever (SP-40, SP-42).

``Publication`` follows the table in ``domain.publication``; ``Publishing`` owns them all and their tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import structlog

from consilium_core.errors import ConsiliumError
from consilium_core.site_protocol import AgentEventType
from consilium_site.domain.backoff import Backoff
from consilium_site.domain.publication import DesiredStream, PublicationState, Signal, after
from consilium_site.errors import ForeignOrigin, IdentityRefused, StreamGone, StreamPaused
from consilium_site.flow.encode import EncodeWorker
from consilium_site.flow.hub import FrameHub
from consilium_site.flow.renew import keep_renewed
from consilium_site.flow.report import Reporter
from consilium_site.flow.tasks import Tasks
from consilium_site.ports import Camera, EncodedPicture, EncoderFactory, MediaSession, Memory, Publisher

log = structlog.get_logger(__name__)
_FIRST_PICTURE_S = 5.0
_ORIGINS_KEPT = 8
_IDENTITY_RETRY_S = 60.0
_PAUSED_RETRY_S = 5.0


@dataclass(frozen=True, slots=True)
class StudioParts:
    """What every publication works with."""

    hub: FrameHub
    camera: Camera
    publisher: Publisher
    make_encoder: EncoderFactory
    reporter: Reporter
    media_epoch: int
    keyframe_interval_s: float
    reconnect_max_s: float


class Publication:
    """One desired stream; ``run`` ends only when it is gone or cancelled."""

    def __init__(
        self, stream: DesiredStream, parts: StudioParts, note_sent: Callable[[str, int | None, int], None]
    ) -> None:
        self.stream = stream
        self.state = PublicationState.IDLE
        self.started: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._parts = parts
        self._note_sent = note_sent
        self._session: MediaSession | None = None
        self._worker: EncodeWorker | None = None
        self._nudged = asyncio.Event()
        self._backoff = Backoff(first_s=0.5, max_s=parts.reconnect_max_s)

    def _take(self, signal: Signal) -> None:
        before, self.state = self.state, after(self.state, signal)
        if before is not self.state:
            log.info("publication_" + self.state.value, room_id=self.stream.room_id, codec=self.stream.codec)

    def request_keyframe(self) -> None:
        """Make the next picture a keyframe."""
        if self._worker is not None:
            self._worker.request_keyframe()

    @property
    def rtp_origin(self) -> int | None:
        """Return the present session's RTP origin."""
        return self._session.rtp_origin if self._session is not None else None

    async def hang_up(self) -> None:
        """Drop the present session; the publication tries again."""
        if self._session is not None:
            await self._session.close()

    async def run(self) -> str:
        """Keep the stream up; return why it ended for good."""
        while True:
            self._take(Signal.ATTEMPT)
            try:
                session = await self._parts.publisher.connect(self.stream, self.request_keyframe)
            except (StreamGone, ForeignOrigin) as error:
                self._take(Signal.GONE)
                if not self.started.done():
                    self.started.set_exception(error)
                    self.started.exception()
                return error.code
            except ConsiliumError as error:
                self._take(Signal.LOST)
                await self._pause(error)
                continue
            self._take(Signal.CONNECTED)
            await self._live(session)
            self._take(Signal.LOST)

    async def _pause(self, error: ConsiliumError) -> None:
        """Wait for the next attempt's time, or for ``nudge``."""
        least_s = min(30.0, getattr(error, "retry_after_s", 0.0))
        if isinstance(error, IdentityRefused):
            least_s = _IDENTITY_RETRY_S
        elif isinstance(error, StreamPaused):
            least_s = _PAUSED_RETRY_S
        delay_s = self._backoff.next_delay_s(least_s)
        log.warning("publication_retry", room_id=self.stream.room_id, code=error.code, delay_s=round(delay_s, 2))
        self._nudged.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._nudged.wait()

    def nudge(self) -> None:
        """Try at once if it is waiting."""
        self._nudged.set()

    async def _live(self, session: MediaSession) -> None:
        loop = asyncio.get_running_loop()
        pictures_came, failed = asyncio.Event(), asyncio.Event()

        def sink(picture: EncodedPicture) -> None:
            session.offer(picture)
            pictures_came.set()
            self._note_sent(self.stream.room_id, session.rtp_origin, picture.pts)

        fps = self._parts.camera.device().fps or 30.0
        worker = EncodeWorker(
            self._parts.hub,
            self.stream,
            fps,
            self._parts.make_encoder,
            lambda picture: _into_loop(loop, sink, picture),
            self._parts.keyframe_interval_s,
            lambda: _into_loop(loop, failed.set),
        )
        self._session, self._worker = session, worker
        try:
            worker.start()
            await self._announce(worker, pictures_came, fps)
            await _first(session.wait_lost(), failed.wait(), keep_renewed(session))
        finally:
            self._session = self._worker = None
            await asyncio.to_thread(worker.close)
            await session.close()

    async def _announce(self, worker: EncodeWorker, pictures_came: asyncio.Event, fps: float) -> None:
        try:
            async with asyncio.timeout(_FIRST_PICTURE_S):
                await pictures_came.wait()
            self._backoff.reset()
        except TimeoutError:
            log.warning("publication_without_picture", room_id=self.stream.room_id)
        made = worker.format
        facts: dict[str, Any] = {
            "room_id": self.stream.room_id,
            "codec": self.stream.codec,
            "width": made.width if made else 0,
            "height": made.height if made else 0,
            "fps": round(fps, 3),
            "media_epoch": self._parts.media_epoch,
        }
        await self._parts.reporter.add(AgentEventType.STREAM_STARTED, facts)
        if not self.started.done():
            self.started.set_result(facts)

    async def end(self) -> None:
        """Note that the stream is not wanted any more."""
        self._take(Signal.STOP)
        if not self.started.done():
            self.started.set_exception(StreamGone("The stream was stopped before it began."))
            self.started.exception()


def _into_loop(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *values: Any) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(call, *values)


async def _first(*waits: Coroutine[Any, Any, Any]) -> None:
    """Return when the first of ``waits`` ends; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Publishing:
    """All publications of the agent; the composition root closes it."""

    def __init__(self, parts: StudioParts, memory: Memory) -> None:
        self._parts = parts
        self._memory = memory
        self._tasks = Tasks()
        self._open: dict[tuple[str, str], tuple[Publication, asyncio.Task[None]]] = {}
        self._origins: dict[str, deque[int]] = {}
        self._since: dict[str, int] = {}
        self._changing = asyncio.Lock()
        self._closing = False

    def begin_close(self) -> None:
        """From now on nothing is stopped for good: what is desired stays on disk for the next start."""
        self._closing = True

    async def restore(self) -> None:
        """Publish again what was desired before the restart (SP-40)."""
        for stream in await asyncio.to_thread(self._memory.streams):
            await self.start(stream)

    async def start(self, stream: DesiredStream) -> Publication:
        """Make a stream desired and publish it; the same parameters again change nothing."""
        async with self._changing:
            return await self._start(stream)

    async def _start(self, stream: DesiredStream) -> Publication:
        known = self._open.get(stream.key)
        if known is not None and known[0].stream == stream:
            known[0].nudge()
            return known[0]
        if known is not None:
            await self._end(stream.key)
        await asyncio.to_thread(self._memory.put_stream, stream)
        publication = Publication(stream, self._parts, self._note_sent)
        task = self._tasks.start(f"publish-{stream.room_id}-{stream.codec}", self._keep(publication))
        self._open[stream.key] = (publication, task)
        return publication

    async def _keep(self, publication: Publication) -> None:
        reason = await publication.run()
        stream = publication.stream
        await asyncio.to_thread(self._memory.drop_stream, stream.room_id, stream.codec)
        self._open.pop(stream.key, None)
        self._forget(stream.room_id)
        await self._stopped(stream, reason)

    async def stop(self, room_id: str, codec: str | None, reason: str) -> None:
        """Stop a room's streams for good."""
        if self._closing:
            return
        async with self._changing:
            for key in [k for k in self._open if k[0] == room_id and codec in (None, k[1])]:
                await asyncio.to_thread(self._memory.drop_stream, *key)
                publication = await self._end(key)
                self._forget(room_id)
                await self._stopped(publication.stream, reason)

    async def _end(self, key: tuple[str, str]) -> Publication:
        publication, task = self._open.pop(key)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await publication.end()
        return publication

    async def _stopped(self, stream: DesiredStream, reason: str) -> None:
        facts = {"room_id": stream.room_id, "codec": stream.codec, "reason": reason}
        await self._parts.reporter.add(AgentEventType.STREAM_STOPPED, facts)

    def _forget(self, room_id: str) -> None:
        """A room that nothing is published into any more has no frames; when it goes on, a new run begins."""
        if not any(room == room_id for room, _ in self._open):
            self._since.pop(room_id, None)

    def _note_sent(self, room_id: str, origin: int | None, pts: int) -> None:
        self._since.setdefault(room_id, pts)
        if origin is None:  # the first packet has not left yet
            return
        kept = self._origins.setdefault(room_id, deque(maxlen=_ORIGINS_KEPT))
        if origin not in kept:
            kept.append(origin)

    def origins(self, room_id: str) -> list[int]:
        """Return the RTP origins that frames of this room were sent with, newest last."""
        return list(self._origins.get(room_id, ()))

    def since(self, room_id: str) -> int | None:
        """Return the ``pts`` of the first frame that was sent into the room in its present run; None before."""
        return self._since.get(room_id)

    def keyframe(self, room_id: str) -> bool:
        """Request keyframes of a room's streams; say whether there is any."""
        wanted = [publication for (room, _), (publication, _) in self._open.items() if room == room_id]
        for publication in wanted:
            publication.request_keyframe()
        return bool(wanted)

    def nudge(self) -> None:
        """Let waiting publications try at once (the server answers again)."""
        for publication, _ in list(self._open.values()):
            publication.nudge()

    async def hang_up(self) -> None:
        """Drop every session (the identity was refused); they are tried again."""
        for publication, _ in list(self._open.values()):
            await publication.hang_up()

    def describe(self) -> list[dict[str, str]]:
        """Return room, codec and state of each."""
        return [{"room_id": r, "codec": c, "state": p.state.value} for (r, c), (p, _) in self._open.items()]

    async def close(self) -> None:
        """Hang up everything; desired streams stay on disk for the next start."""
        await self._tasks.close()
        self._open.clear()
