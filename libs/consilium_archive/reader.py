"""The archive's one reader: searches and metadata from the index, bytes from the store; every question names a tenant.

Nothing here opens a pixel file to answer a search or metadata; a frame is one range read of the original.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from consilium_archive.dicom_json import study_counts
from consilium_archive.errors import NotArchived
from consilium_archive.hot_tier import WHOLE_BELOW_BYTES, HotTier
from consilium_archive.included import with_fields
from consilium_archive.packing import Packed
from consilium_archive.prepare import unpack_frame_index
from consilium_archive.proof import Proof
from consilium_archive.query import Level, Query
from consilium_archive.search import Ask, Scope, Totals, page
from consilium_archive.shown import Shown, shown_by
from consilium_archive.stages import original_key
from consilium_archive.storage_tables import damage
from consilium_archive.tables import instance, study
from consilium_dicom.frames import FrameIndex
from consilium_dicom.uids import transfer_syntax
from consilium_platform.blobs import BlobNotFound, BlobStore, BlobsUnavailable, GetsHere, checked, first_place
from consilium_platform.hot import Hot
from consilium_platform.sql import Database

__all__ = ["ArchiveReader", "Found", "Place", "Scope"]


@dataclass(frozen=True, slots=True)
class Found:
    """One page of DICOM JSON objects as text, how many match in all (at least so many if not ``exact``), and whose data the page shows.

    Inside one study nobody's is named: the view of the study is.
    """

    objects: tuple[str, ...]
    total: int
    exact: bool = True
    patients: tuple[Shown, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where one instance lies and what one must know to serve it."""

    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    number: int | None
    frames: int
    sha256: str
    size_bytes: int
    key: str
    tenant: str = ""
    first_damage: str = ""  # what is known to be wrong with it in either place: "missing", "corrupt" or nothing
    copy_damage: str = ""

    @property
    def is_video(self) -> bool:
        """Tell whether the instance is one stream instead of frames."""
        known = transfer_syntax(self.transfer_syntax_uid)
        return known is not None and known.codec == "video"

    @property
    def is_original(self) -> bool:
        """Tell it from the place of a derivative, which can be made again."""
        return self.key == original_key(self.tenant, self.sha256)


def _damage(place: str) -> Any:
    mine = (damage.c.tenant_id == instance.c.tenant_id, damage.c.sha256 == instance.c.sha256)
    asked = select(damage.c.kind).where(*mine, damage.c.place == place, damage.c.repaired_at.is_(None))
    return asked.scalar_subquery().label(f"{place}_damage")


_PLACE = (
    instance.c.study_uid, instance.c.series_uid, instance.c.sop_instance_uid, instance.c.sop_class_uid,
    instance.c.transfer_syntax_uid, instance.c.number, instance.c.frames, instance.c.sha256, instance.c.size_bytes,
    _damage("first"), _damage("copy"),
)  # fmt: skip


_ONE = Hot(
    select(*_PLACE, instance.c.frame_index).where(
        instance.c.tenant_id == bindparam("tenant"),
        instance.c.study_uid == bindparam("study"),
        instance.c.series_uid == bindparam("series"),
        instance.c.sop_instance_uid == bindparam("sop"),
    )
)
_SMALL_INDEX_BYTES = 16 << 10
_AHEAD_BYTES = 4 << 20


class ArchiveReader:
    """Answers questions about what is stored; holds no resources of its own."""

    def __init__(self, database: Database, blobs: BlobStore, hot: HotTier | None = None) -> None:
        self._hot = hot
        self._database = database
        self._blobs = blobs
        self._totals = Totals()
        self._proof = Proof(database, blobs)

    @cached_property
    def _here(self) -> GetsHere | None:
        return self._blobs if isinstance(self._blobs, GetsHere) else None

    @cached_property
    def _local(self) -> bool:
        """Tell whether originals lie where this process reads them itself, whatever copy there is besides."""
        return isinstance(first_place(self._blobs), GetsHere)

    # -- searches (PS3.18 10.6) ------------------------------------------------------------------------------------

    async def search(self, tenant: str, query: Query, scope: Scope, base_url: str) -> Found:
        """Return the page of ``query`` inside ``scope``; ``base_url`` (``.../dicomweb``) goes into Retrieve URL."""
        ask = Ask(tenant, query, scope, self._database.is_sqlite)
        return await self._database.query(partial(self._search, ask, base_url))

    def _search(self, ask: Ask, base_url: str, session: Session) -> Found:
        rows, total = page(session, ask, self._totals)
        query = ask.query
        objects = _objects(query.level, rows, ask.scope, base_url)
        if query.include and objects:
            objects = with_fields(session, ask.tenant, query, objects, rows)
        patients = () if ask.scope.study_uid else shown_by(rows)
        return Found(tuple(objects), total.count, total.exact, patients)

    # -- places, metadata, bytes (PS3.18 10.4) ---------------------------------------------------------------------

    async def places(self, tenant: str, scope: Scope, limit: int = 100_000) -> list[Place]:
        """Return every instance inside the scope in order of series and number; raise NotArchived if there is none."""
        asked = select(*_PLACE).where(instance.c.tenant_id == tenant, *scope.conditions(instance))
        ordered = asked.order_by(instance.c.series_uid, instance.c.number, instance.c.id).limit(limit)
        rows = await self._database.query(lambda session: session.execute(ordered).all())
        if not rows:
            raise NotArchived("There is no such study, series or instance.")
        return [_place(tenant, row) for row in rows]

    async def metadata(self, tenant: str, scope: Scope) -> list[Packed]:
        """Return the stored metadata of every instance inside the scope, still packed; raise NotArchived."""
        columns = (instance.c.metadata, instance.c.metadata_bytes, instance.c.metadata_adler)
        asked = select(*columns).where(instance.c.tenant_id == tenant, *scope.conditions(instance))
        ordered = asked.order_by(instance.c.series_uid, instance.c.number, instance.c.id)
        rows = await self._database.query(lambda session: session.execute(ordered).all())
        if not rows:
            raise NotArchived("There is no such study, series or instance.")
        return [Packed(*row) for row in rows]

    async def frame_index(self, tenant: str, scope: Scope) -> tuple[Place, FrameIndex | None]:
        """Return one instance's place and where its frames lie (None: it has no frames); raise NotArchived.

        All three UIDs of ``scope`` are named: an instance is found in its own series and study alone.
        """
        return await self._database.query(partial(_one, tenant=tenant, scope=scope))

    @property
    def look_here(self) -> Callable[[str, Scope], tuple[Place, FrameIndex | None]] | None:
        """Return what does ``frame_index`` in the calling thread, which must not be the loop's; None: this database can't."""
        if not self._database.answers_here:
            return None
        return lambda tenant, scope: self._database.glance_here(partial(_one, tenant=tenant, scope=scope))

    async def frame(self, tenant: str, scope: Scope, number: int) -> tuple[Place, FrameIndex | None, bytes | None]:
        """Return what ``frame_index`` does, and frame ``number`` (from 0) as it is stored if that took no other visit to a thread.

        No bytes: there may be no such frame, it may be damaged, or the store is another one; ``original_range`` tells.
        """
        blobs = self._here if self._database.answers_here else None

        def work(session: Session) -> tuple[Place, FrameIndex | None, bytes | None]:
            place, index = _one(session, tenant, scope)
            if blobs is None or index is None or index.inflated or not 0 <= number < index.count or place.first_damage:
                return place, index, None
            start, length = index.span(number)
            if length > _AHEAD_BYTES:
                return place, index, None
            try:
                span = checked(blobs.get_range_here(place.key, start, length), length)
            except (BlobNotFound, BlobsUnavailable):
                return place, index, None
            return place, index, index.cut(number, span)

        return await self._database.query(work)

    async def middle(self, tenant: str, scope: Scope) -> tuple[Place, FrameIndex | None] | None:
        """Return the instance in the middle of those with frames inside the scope, None without any; raise NotArchived."""
        of_scope = [instance.c.tenant_id == tenant, *scope.conditions(instance)]
        drawn = [*of_scope, instance.c.frames > 0, instance.c.frame_index.is_not(None)]
        ordered = select(*_PLACE, instance.c.frame_index).where(*drawn)
        ordered = ordered.order_by(instance.c.series_uid, instance.c.number, instance.c.id).limit(1)

        def find(session: Session) -> tuple[int, Any]:
            count = session.scalar(select(func.count()).select_from(instance).where(*drawn)) or 0
            if count:
                return count, session.execute(ordered.offset(count // 2)).first()
            return session.scalar(select(func.count()).select_from(instance).where(*of_scope)) or 0, None

        count, row = await self._database.query(find)
        if not count:
            raise NotArchived("There is no such study, series or instance.")
        return None if row is None else (_place(tenant, row), _frame_index(row.frame_index))

    async def patient_of(self, tenant: str, study_uid: str) -> str:
        """Return the patient id of a study (may be empty); raise NotArchived."""
        asked = select(study.c.patient_id).where(study.c.tenant_id == tenant, study.c.study_uid == study_uid)
        row = await self._database.query(lambda session: session.execute(asked).first())
        if row is None:
            raise NotArchived("There is no such study.")
        return str(row.patient_id)

    async def original(self, place: Place) -> bytes:
        """Return the whole original; raise OriginalDamaged or OriginalArchived."""
        if self._hot is not None:
            found = await self._hot.read(place, 0, place.size_bytes)
            if found is not None:
                return found
            if place.is_original and place.size_bytes <= WHOLE_BELOW_BYTES:
                return await self._hot.whole(place, self._proof)
            self._hot.wish(place, self._proof)
        return await self._proof.read(place, lambda store: store.get(place.key), place.size_bytes)

    def here(self, place: Place) -> Callable[[], bytes] | None:
        """Return what reads the whole original in the calling thread, which must not be the loop's; None: this store can't.

        It raises BlobNotFound for what is missing or short: ``original`` then says what of it, and remembers it.
        """
        blobs = self._here
        if place.first_damage or blobs is None:
            return None

        def read() -> bytes:
            return checked(blobs.get_here(place.key), place.size_bytes)

        return read

    async def original_range(self, place: Place, start: int, length: int) -> bytes:
        """Return a part of the original, never a shorter one (but at the end); raise OriginalDamaged or OriginalArchived."""
        wanted = max(0, min(length, place.size_bytes - start))
        if self._hot is not None:
            found = await self._hot.read(place, start, wanted)
            if found is not None:
                return found
            if place.is_original and place.size_bytes <= WHOLE_BELOW_BYTES:
                return (await self._hot.whole(place, self._proof))[start : start + wanted]
            self._hot.wish(place, self._proof)
        return await self._proof.read(place, lambda store: store.get_range(place.key, start, wanted), wanted)

    async def sure(self, place: Place) -> None:
        """Raise OriginalDamaged or OriginalArchived unless a place gives the original in its whole length: before what is read in stretches."""
        if self._hot is not None and await self._hot.held([place]):
            return
        await self._proof.sure(place)

    # -- tiers (docs/decisions/0007) -------------------------------------------------------------------------------

    async def warm(self, place: Place) -> bool:
        """Make the original hot; tell whether it is (always, where originals are local). Raise OriginalDamaged or OriginalArchived."""
        return self._local if self._hot is None else await self._hot.fill(place, self._proof, "prefetch")

    async def hot(self, places: Sequence[Place]) -> set[str]:
        """Return the keys of those originals that need no asking of a remote store."""
        if self._hot is not None:
            return await self._hot.held(places)
        return {place.key for place in places} if self._local else set()


def _one(session: Session, tenant: str, scope: Scope) -> tuple[Place, FrameIndex | None]:
    named = {"tenant": tenant, "study": scope.study_uid, "series": scope.series_uid, "sop": scope.sop_instance_uid}
    row = _ONE.first(session, named)
    if row is None:
        raise NotArchived("There is no such instance.")
    return _place(tenant, row), _frame_index(row.frame_index)


def _frame_index(packed: bytes | None) -> FrameIndex | None:
    if not packed:
        return None
    return _small_index(packed) if len(packed) <= _SMALL_INDEX_BYTES else unpack_frame_index(packed)


@lru_cache(maxsize=1024)
def _small_index(packed: bytes) -> FrameIndex:
    return unpack_frame_index(packed)


def _place(tenant: str, row: Any) -> Place:
    return Place(
        row.study_uid,
        row.series_uid,
        row.sop_instance_uid,
        row.sop_class_uid,
        row.transfer_syntax_uid,
        row.number,
        row.frames,
        row.sha256,
        row.size_bytes,
        original_key(tenant, row.sha256),
        tenant,
        row.first_damage or "",
        row.copy_damage or "",
    )


def _objects(level: Level, rows: Sequence[Any], scope: Scope, base_url: str) -> list[str]:
    """Join the stored texts of the levels into one DICOM JSON object for each row."""
    with_study = level is Level.STUDY or not scope.study_uid
    with_series = level is Level.SERIES or not scope.series_uid
    root = json.dumps(f"{base_url}/studies/")[1:-1]
    found: list[str] = []
    for row in rows:
        url = root + row.study_uid
        if with_study:
            counts = study_counts(row.modalities, row.sop_classes, row.series_count, row.instance_count)
            parts = [row.study_attributes, counts]
        else:
            parts = [_uid("0020000D", row.study_uid)]
        if level >= Level.SERIES:
            url = f"{url}/series/{row.series_uid}"
            if with_series:
                parts += (row.attributes, f'"00201209":{{"vr":"IS","Value":[{row.in_series}]}}')
            else:
                parts.append(_uid("0020000E", row.series_uid))
        if level is Level.INSTANCE:
            url = f"{url}/instances/{row.sop_instance_uid}"
            parts.append(row.summary)
        parts.append(f'"00081190":{{"vr":"UR","Value":["{url}"]}}')
        found.append(f"{{{','.join(filter(None, parts))}}}")
    return found


def _uid(tag: str, uid: str) -> str:
    return f'"{tag}":{{"vr":"UI","Value":["{uid}"]}}'
