"""Send instances by C-STORE (PS3.4 B, PS3.7 9.1.1): one association per batch, each object in the transfer syntax in which it is stored.

pynetdicom is the SCU. It blocks, so a destination has threads of its own: one that hangs holds up nobody else. Objects pass through
a spool file and are sent from it in pieces, undecoded.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from pynetdicom import AE, _config, evt
from pynetdicom.association import Association

from consilium_archive.reader import Place
from consilium_core.errors import ConsiliumError
from consilium_ingest.routing.batch import Batch, Outcomes
from consilium_ingest.routing.errors import SendingFailed
from consilium_ingest.routing.originals import STORE_OUT, Originals, note
from consilium_ingest.routing.rules import Priority
from consilium_ingest.routing.settings import DimseDestination, RoutingSettings
from consilium_ingest.routing.stow_out import reason_word

T = TypeVar("T")
_PRIORITY = {Priority.STAT: 1, Priority.ROUTINE: 0, Priority.BACKGROUND: 2}
"""PS3.7 9.1.1.1.5: medium 0, high 1, low 2."""


class DimseSender:
    """Sends batches to one SCP; open with ``open_dimse_out``."""

    def __init__(
        self, to: DimseDestination, settings: RoutingSettings, originals: Originals, pool: ThreadPoolExecutor
    ) -> None:
        self._to = to
        self._settings = settings
        self._originals = originals
        self._pool = pool

    async def send(self, batch: Batch, outcomes: Outcomes) -> None:
        """Send the batch and note what came of it; raise SendingFailed."""
        places = await self._originals.places(batch, outcomes)
        if not places:
            return
        contexts = sorted({(place.sop_class_uid, place.transfer_syntax_uid) for place in places})
        began = time.monotonic()
        opening = self._pool.submit(self._associate, contexts)
        try:
            association = await asyncio.wrap_future(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_abort_late)
            raise
        ended = False
        try:
            outcomes.seconds = max(time.monotonic() - began, 1e-6)
            taken = {
                (str(context.abstract_syntax), str(context.transfer_syntax[0]))
                for context in association.accepted_contexts
            }
            for number, place in enumerate(places, 1):
                if (place.sop_class_uid, place.transfer_syntax_uid) not in taken:
                    outcomes.problems[place.sop_instance_uid] = "syntax-not-accepted"
                    continue
                await self._one(association, number, place, batch.priority, outcomes)
                if STORE_OUT in outcomes.problems.values():
                    outcomes.unread(batch, STORE_OUT)
                    break
            await self._in_thread(association.release)
            ended = True
        finally:
            if not ended:  # nobody waits for it: who was cancelled must go; ``open_dimse_out`` waits at the end
                self._pool.submit(association.abort)

    async def _one(
        self, association: Association, number: int, place: Place, priority: Priority, outcomes: Outcomes
    ) -> None:
        try:
            path = await self._originals.file(place, outcomes)
        except ConsiliumError as problem:
            note(outcomes, place.sop_instance_uid, problem)
            return
        began = time.monotonic()
        try:
            status = await self._in_thread(partial(_store, association, path, number, _PRIORITY[priority]))
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)
        outcomes.seconds += time.monotonic() - began
        if status == 0 or status & 0xF000 == 0xB000:  # success, or with a warning
            outcomes.sent.add(place.sop_instance_uid)
            outcomes.sent_bytes += place.size_bytes
            return
        word = reason_word(status)
        if word == "no-room":  # of the whole destination: the others would fare the same
            raise SendingFailed("no-room")
        outcomes.problems[place.sop_instance_uid] = word

    def _associate(self, contexts: list[tuple[str, str]]) -> Association:
        """Open the association in the calling thread; raise SendingFailed."""
        ae = AE(ae_title=self._to.calling)
        ae.connection_timeout = ae.acse_timeout = self._settings.connect_s
        ae.dimse_timeout = ae.network_timeout = self._settings.answer_s
        for sop_class, syntax in contexts:  # a context of its own for each: the SCP can't choose another syntax
            ae.add_requested_context(sop_class, [syntax])
        try:
            association = ae.associate(
                self._to.host, self._to.port, ae_title=self._to.called, evt_handlers=[(evt.EVT_CONN_OPEN, _at_once)]
            )
        except OSError as problem:  # the name is not known
            raise SendingFailed("unreachable") from problem
        if association.is_established:
            return association
        raise SendingFailed("association-rejected" if association.is_rejected else "unreachable")

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


def _at_once(event: evt.Event) -> None:
    """Send small pieces at once: else Nagle's wait for the peer's delayed acknowledgement costs 40 ms per message."""
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _abort_late(opening: Future[Association]) -> None:
    """End, in the thread that opened it, an association that nobody waits for any more."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().abort()


def _store(association: Association, path: Path, number: int, priority: int) -> int:
    """Send one file in the calling thread; return the status word. Raise SendingFailed when there is no answer."""
    try:
        answer = association.send_c_store(path, msg_id=number, priority=priority)
    except RuntimeError as problem:  # the association has ended
        raise SendingFailed("broken-off") from problem
    if "Status" not in answer:
        raise SendingFailed("broken-off")
    return int(answer.Status)


@asynccontextmanager
async def open_dimse_out(
    to: DimseDestination, settings: RoutingSettings, originals: Originals
) -> AsyncIterator[DimseSender]:
    """Yield a sender with threads of its own: as many again as workers, for the ends of associations whose thread still waits."""
    _config.STORE_SEND_CHUNKED_DATASET = True  # files go out as they are, not decoded
    pool = ThreadPoolExecutor(2 * to.workers, thread_name_prefix=f"routing-{to.name}")
    try:
        yield DimseSender(to, settings, originals, pool)
    finally:
        await asyncio.to_thread(pool.shutdown, wait=True)
