"""What the archive answers for: whether an instance is kept so that its sender may delete it (PS3.4 annex J, PS3.18 13).

Decided here for every door. An instance is committed when the index names it under the SOP Class that was asked for and its bytes lie in
the first place, with the length that was stored and no open damage; or, where the first place has lost them, in the second. What is held in
quarantine is **not** committed, though its bytes are durable: nobody can find or retrieve it, and a person may still refuse it. Nor is an instance
of which other bytes are held than those that are indexed: which of the two the sender has nobody knows.
Nothing is read: that bytes are still the right ones is the scrubber's work, whose marks count here. A commitment holds until the end of retention.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from functools import partial
from typing import Any, Literal

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from consilium_archive.errors import NotArchived, StudyTooLarge
from consilium_archive.quarantine_table import quarantine
from consilium_archive.stages import original_key
from consilium_archive.storage_status import iso_of
from consilium_archive.storage_tables import copy, damage, tombstone
from consilium_archive.tables import instance, study
from consilium_core.errors import Unavailable
from consilium_platform.blobs import BlobNotFound, BlobStore, Stores
from consilium_platform.sql import Database

MAX_REFERENCES = 20_000
_TOGETHER = 500  # instances of one question to the index
_LOOKS_AT_ONCE = 16
_LOOK_S = 30.0

Why = Literal["", "unknown", "held", "removed", "class-differs", "damaged", "undecided", "transaction-in-use"]


class FailureReason(IntEnum):
    """The failure reasons of storage commitment that are used here (PS3.3 C.14.1.1)."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    DUPLICATE_TRANSACTION_UID = 0x0131


REASONS: dict[str, FailureReason] = {
    "unknown": FailureReason.NO_SUCH_INSTANCE,
    "held": FailureReason.NO_SUCH_INSTANCE,
    "removed": FailureReason.NO_SUCH_INSTANCE,
    "class-differs": FailureReason.CLASS_INSTANCE_CONFLICT,
    "damaged": FailureReason.PROCESSING_FAILURE,
    "undecided": FailureReason.PROCESSING_FAILURE,
    "transaction-in-use": FailureReason.DUPLICATE_TRANSACTION_UID,
}


@dataclass(frozen=True, slots=True)
class Reference:
    """One instance that somebody asks about (PS3.3 table 10-11)."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided of one instance; ``why`` is empty when it is committed. Facts are those of the decision's moment.

    ``first``: stored, missing or corrupt; ``copy``: none (no second place), waiting, copied, missing or corrupt.
    """

    sop_class_uid: str
    sop_instance_uid: str
    why: Why = ""
    study_uid: str = ""
    series_uid: str = ""
    sha256: str = ""
    size_bytes: int = 0
    stored_at: str = ""
    first: str = ""
    copy: str = ""

    @property
    def committed(self) -> bool:
        """Tell whether the sender may rely on the archive."""
        return not self.why

    @property
    def failure_reason(self) -> FailureReason | None:
        """Return the standard's word for why not."""
        return REASONS[self.why] if self.why else None

    def wire(self) -> dict[str, Any]:
        """Return the verdict as JSON."""
        return asdict(self)


def refused(references: Sequence[Reference], why: Why) -> list[Verdict]:
    """Return the verdicts of a request that fails as a whole."""
    return [Verdict(one.sop_class_uid, one.sop_instance_uid, why) for one in references]


async def judge(database: Database, stores: Stores, tenant: str, references: Sequence[Reference]) -> list[Verdict]:
    """Decide of each instance, in the order asked; raise Unavailable when index or store do not answer (then nothing is decided)."""
    verdicts: list[Verdict] = []
    for at in range(0, len(references), _TOGETHER):
        group = references[at : at + _TOGETHER]
        known = await database.query(partial(_look_up, tenant=tenant, group=group))
        looks = asyncio.Semaphore(_LOOKS_AT_ONCE)
        for settled in await asyncio.gather(
            *(_settled(stores, tenant, one, looks) for one in known), return_exceptions=True
        ):
            if isinstance(settled, BaseException):
                raise settled
            verdicts.append(settled)
    return verdicts


def _look_up(session: Session, tenant: str, group: Sequence[Reference]) -> list[Verdict]:
    uids = sorted({one.sop_instance_uid for one in group})
    at_first, at_copy = damage.alias("at_first"), damage.alias("at_copy")
    rows = session.execute(
        select(
            instance.c.sop_instance_uid, instance.c.sop_class_uid, instance.c.study_uid, instance.c.series_uid,
            instance.c.sha256, instance.c.size_bytes, instance.c.received_at, copy.c.state,
            at_first.c.kind.label("first_damage"), at_copy.c.kind.label("copy_damage"),
        )
        .select_from(
            instance.outerjoin(copy, _same(copy))
            .outerjoin(at_first, _open(at_first, "first"))
            .outerjoin(at_copy, _open(at_copy, "copy"))
        )
        .where(instance.c.tenant_id == tenant, instance.c.sop_instance_uid.in_(uids))
    ).all()  # fmt: skip
    known = {row.sop_instance_uid: row for row in rows}
    held = _held(session, tenant, uids)
    gone = _gone(session, tenant, [uid for uid in uids if uid not in known])
    return [_verdict(one, known.get(one.sop_instance_uid), held, gone) for one in group]


def _same(table: Any) -> Any:
    return and_(table.c.tenant_id == instance.c.tenant_id, table.c.sha256 == instance.c.sha256)


def _open(table: Any, place: str) -> Any:
    return and_(_same(table), table.c.place == place, table.c.repaired_at.is_(None))


def _held(session: Session, tenant: str, uids: Sequence[str]) -> dict[str, set[str]]:
    """Return the SHA-256 of what is held under each of the UIDs."""
    waits = select(quarantine.c.sop_instance_uid, quarantine.c.sha256).where(
        quarantine.c.tenant_id == tenant, quarantine.c.sop_instance_uid.in_(uids), quarantine.c.state == "held"
    )
    found: dict[str, set[str]] = {}
    for row in session.execute(waits):
        found.setdefault(row.sop_instance_uid, set()).add(row.sha256)
    return found


def _gone(session: Session, tenant: str, uids: Sequence[str]) -> set[str]:
    if not uids:
        return set()
    gone = select(tombstone.c.sop_instance_uid).where(
        tombstone.c.tenant_id == tenant, tombstone.c.sop_instance_uid.in_(uids)
    )
    return set(session.scalars(gone))


def _verdict(asked: Reference, row: Any, held: Mapping[str, set[str]], gone: Set[str]) -> Verdict:
    """Return what the index (``row``, or None) and its marks say; whether the bytes are there is looked at afterwards."""
    waiting = held.get(asked.sop_instance_uid, set())
    why: Why = ""
    if row is None:
        why = "held" if waiting else "removed" if asked.sop_instance_uid in gone else "unknown"
        return Verdict(asked.sop_class_uid, asked.sop_instance_uid, why)
    if asked.sop_class_uid != row.sop_class_uid:
        why = "class-differs"
    elif waiting - {row.sha256}:
        why = "held"
    return Verdict(
        asked.sop_class_uid, asked.sop_instance_uid, why, row.study_uid, row.series_uid, row.sha256, row.size_bytes,
        iso_of(row.received_at) or "", row.first_damage or "stored",
        row.copy_damage or ("copied" if row.state == "copied" else "waiting"),
    )  # fmt: skip


async def _settled(stores: Stores, tenant: str, found: Verdict, looks: asyncio.Semaphore) -> Verdict:
    """Look where the bytes lie; the second place is only asked when the first one fails."""
    if not found.sha256:
        return found
    key = original_key(tenant, found.sha256)
    first, second = found.first, found.copy if stores.copy is not None else "none"
    async with looks:
        if first == "stored":
            first = await _state(stores.first, key, found.size_bytes, "stored")
        if first != "stored" and second == "copied" and stores.copy is not None:
            second = await _state(stores.copy, key, found.size_bytes, "copied")
    lost: Why = "" if first == "stored" or second == "copied" else "damaged"
    return replace(found, first=first, copy=second, why=found.why or lost)


async def _state(place: BlobStore, key: str, size_bytes: int, whole: str) -> str:
    try:
        async with asyncio.timeout(_LOOK_S):
            return whole if await place.size(key) == size_bytes else "corrupt"
    except BlobNotFound:
        return "missing"
    except TimeoutError:
        raise Unavailable("The object store did not answer in time. Ask again.") from None


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What is said of a study beside its instances; the patient is for people and the trail, never for senders."""

    study_uid: str
    patient_id: str
    accession_number: str
    study_date: str


async def study_references(database: Database, tenant: str, study_uid: str) -> list[Reference]:
    """Return the instances of a study, oldest first; raise NotArchived or StudyTooLarge."""
    found = await database.query(partial(_references, tenant=tenant, study_uid=study_uid))
    if not found:
        raise NotArchived("There is no such study.")
    return found


def _references(session: Session, tenant: str, study_uid: str) -> list[Reference]:
    mine = (instance.c.tenant_id == tenant, instance.c.study_uid == study_uid)
    count = session.scalar(select(func.count()).where(*mine)) or 0
    if count > MAX_REFERENCES:
        raise StudyTooLarge(f"A receipt names at most {MAX_REFERENCES} instances, the study has {count}.")
    asked = select(instance.c.sop_class_uid, instance.c.sop_instance_uid).where(*mine).order_by(instance.c.id)
    return [Reference(row.sop_class_uid, row.sop_instance_uid) for row in session.execute(asked)]


async def study_facts(database: Database, tenant: str, study_uids: Sequence[str]) -> list[StudyFacts]:
    """Return what is known of the studies, by UID."""
    asked = (
        select(study.c.study_uid, study.c.patient_id, study.c.accession_number, study.c.study_date)
        .where(study.c.tenant_id == tenant)
        .order_by(study.c.study_uid)
    )
    wanted = sorted(set(study_uids))
    found: list[StudyFacts] = []
    for at in range(0, len(wanted), _TOGETHER):
        page = asked.where(study.c.study_uid.in_(wanted[at : at + _TOGETHER]))
        found += await database.query(partial(_facts, asked=page))
    return found


def _facts(session: Session, asked: Any) -> list[StudyFacts]:
    return [StudyFacts(*row) for row in session.execute(asked)]
