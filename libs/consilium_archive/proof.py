"""Reading originals so that nobody is given fewer bytes than he asked for: what is short is as good as missing.

Every read knows what length it must have. A place that gives less, has nothing, or is marked as holding other bytes is passed over for the
second one. What the first place has lost, and what either holds with another digest, is marked as damage for the scrubber if its instance
is still indexed. What lies in the store's archive (cold) is asked back: reading it is what restores it, whoever only cares for the archive
does not.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property, partial
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from consilium_archive.damage import Kind, mark_damage
from consilium_archive.damage import Place as Which
from consilium_archive.errors import NotArchived, OriginalArchived, OriginalDamaged
from consilium_archive.tables import instance
from consilium_core.errors import Exhausted, NotFound, Unavailable
from consilium_platform.blobs import (
    BlobArchived,
    BlobDamaged,
    BlobNotFound,
    BlobStore,
    check_whole,
    checked,
    first_place,
    is_whole,
    read_checked,
    start_restore,
)
from consilium_platform.sql import Database

if TYPE_CHECKING:
    from consilium_archive.reader import Place

log = structlog.get_logger()
T = TypeVar("T")
_ASK_AGAIN_S = 600.0
_RESTORING = 65_536  # more than the small objects of all priors of one consultation


class Proof:
    """Reads originals from either place and checks what comes; holds no resources of its own."""

    def __init__(self, database: Database, blobs: BlobStore, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._database = database
        self._blobs = blobs
        self._marking: set[tuple[str, Which]] = set()
        self._restoring: OrderedDict[str, tuple[float, float]] = OrderedDict()  # when asked, when it should be back

    @cached_property
    def _first(self) -> BlobStore:
        return first_place(self._blobs)

    async def read(self, place: Place, read: Callable[[BlobStore], Awaitable[bytes]], length: int) -> bytes:
        """Return what ``read`` gives in its full length; raise OriginalDamaged, or of a derivative BlobNotFound."""

        async def work(store: BlobStore) -> bytes:
            return checked(await read(store), length)

        return await self.checked(place, work)

    async def sure(self, place: Place) -> None:
        """Raise OriginalDamaged unless a place has the object in its whole length."""
        await self.checked(place, lambda store: check_whole(store, place.key, place.size_bytes))

    async def checked(self, place: Place, work: Callable[[BlobStore], Awaitable[T]]) -> T:
        """Do ``work``, which raises BlobDamaged for what is not whole, with the first place that has the original; raise as ``read`` does."""
        if not place.is_original:
            return await work(self._blobs)
        lost: list[_Lost] = []

        async def attempt(store: BlobStore) -> T:
            first = store is self._first
            known = place.first_damage if first else place.copy_damage
            if known == "corrupt":
                raise BlobDamaged("The object in the store is known to be damaged.")
            try:
                return await work(store)
            except BlobNotFound as problem:
                hashed = isinstance(problem, BlobDamaged) and problem.hashed
                if (first or hashed) and not known:
                    kind: Kind = "corrupt" if isinstance(problem, BlobDamaged) else "missing"
                    lost.append(_Lost(store, "first" if first else "copy", kind, hashed))
                raise

        try:
            return await read_checked(self._blobs, place.key, attempt)
        except BlobNotFound as problem:
            raise await self._gone(place) from problem
        except BlobArchived as problem:
            raise await self._restored(place) from problem
        finally:
            for one in lost:
                await self._mark(place, one)

    async def indexed(self, place: Place) -> bool:
        """Tell whether the original still has its row: what was removed from the archive has none."""
        return await self._database.query(partial(_indexed, place=place))

    async def _gone(self, place: Place) -> NotFound | OriginalDamaged:
        """Return what to say of an original that no place has: damage, unless its row has gone too (removed on purpose)."""
        if not await self.indexed(place):
            return NotArchived("There is no such instance: it was removed just now.")
        log.error("original_damaged", key=place.key)
        return OriginalDamaged(
            "The stored file of this instance is missing or damaged. The operator restores it (consilium scrub, a backup, or sending it again).",
            sop_instance_uid=place.sop_instance_uid,
        )

    async def _restored(self, place: Place) -> OriginalArchived:
        """Have the original restored, asked for again only when it should have been back, and return what to say until it is."""
        now = self._clock()
        asked_at, due_at = self._restoring.get(place.key, (now, now))
        if now >= due_at:
            try:
                after_s = await start_restore(self._blobs, place.key)
            except (Unavailable, NotFound, TimeoutError) as problem:
                log.warning("restore_refused", key=place.key, error=type(problem).__name__)
                return OriginalArchived(
                    "The stored file of this instance is in the archive, and the object store does not restore it. The operator has it restored.",
                    retry_after_s=_ASK_AGAIN_S, restoring=False, sop_instance_uid=place.sop_instance_uid,
                )  # fmt: skip
            log.info("restore_asked", key=place.key)
            if now - asked_at < 2 * (due_at - asked_at):  # it is late: not long any more
                after_s = min(after_s, _ASK_AGAIN_S)
            due_at = now + max(after_s, 60.0)
            self._restoring[place.key] = now, due_at
            self._restoring.move_to_end(place.key)
            while len(self._restoring) > _RESTORING:
                self._restoring.popitem(last=False)
        return OriginalArchived(
            "The stored file of this instance is in the archive and is being brought back. Come back later.",
            retry_after_s=max(60.0, due_at - now), restoring=True, sop_instance_uid=place.sop_instance_uid,
        )  # fmt: skip

    async def _mark(self, place: Place, lost: _Lost) -> None:
        """Remember damage for the scrubber; a reader who can't does not fail for it."""
        marking = place.sha256, lost.which
        if marking in self._marking:  # by another reader
            return
        self._marking.add(marking)

        def work(session: Session) -> None:
            if _indexed(session, place):
                mark_damage(session, place.tenant, place.sha256, lost.which, lost.kind)

        try:  # a length tells nothing of wrong bytes; of what was short it tells whether it was put again meanwhile
            if lost.hashed or not await is_whole(lost.store, place.key, place.size_bytes):
                await self._database.transact(work, durable=False)
        except (Unavailable, Exhausted, TimeoutError) as problem:
            log.warning("damage_not_marked", key=place.key, error=type(problem).__name__)
        finally:
            self._marking.discard(marking)


@dataclass(frozen=True, slots=True)
class _Lost:
    """What a read found wrong in one place; ``hashed``: by its digest."""

    store: BlobStore
    which: Which
    kind: Kind
    hashed: bool


def _indexed(session: Session, place: Place) -> bool:
    mine = (instance.c.tenant_id == place.tenant, instance.c.sop_instance_uid == place.sop_instance_uid)
    return session.execute(select(instance.c.id).where(*mine, instance.c.sha256 == place.sha256)).first() is not None
