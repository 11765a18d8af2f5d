"""What the audit trail holds of an association: who stored what for whom, before the first success is sent, and how it ended.

One entry opens each study, in the transaction that indexes its first instance; one closes it with the count: two for an association
that brings one study, however many instances. What was refused is one entry per study and patient, with each instance's cause and the
quarantine's entry. Refused associations are written too, a flood of them only counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from sqlalchemy.orm import Session

from consilium_archive.index import Outcome
from consilium_archive.stages import Indexed, Origin
from consilium_core.errors import ConsiliumError
from consilium_ingest.about import About, Refused
from consilium_ingest.store_audit import named_cause
from consilium_platform.audit import AuditLog, AuditRecord
from consilium_platform.http.auth import DEFAULT_TENANT
from consilium_platform.http.refusals import Refusals

ROLE = "dicom-peer"
_STUDIES = 256
_NAMED = 100


@dataclass(frozen=True)
class Peer:
    """Who associates: AE titles as claimed, the address as seen, the tenant as allowed (empty: none)."""

    address: str
    calling: str
    called: str
    tenant: str

    @property
    def words(self) -> str:
        """Return the peer as a part of a sentence."""
        return f"by C-STORE from {self.address} to {self.called}"

    @cached_property
    def origin(self) -> Origin:
        """Return what objects of this peer keep of it."""
        return Origin("dimse", sender=self.calling, address=self.address)


@dataclass(slots=True)
class _Study:
    patient_id: str
    stored: int = 0


@dataclass(slots=True)
class _Failed:
    codes: Counter[str] = field(default_factory=Counter)
    named: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Trail:
    """The entries of one association."""

    audit: AuditLog
    peer: Peer
    stored: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    _open: dict[str, _Study] = field(default_factory=dict)
    _failed: dict[tuple[str, str], _Failed] = field(default_factory=dict)

    async def make_room(self) -> None:
        """Close the studies when very many are open, and write down what was refused of very many."""
        if len(self._open) >= _STUDIES:
            await self._close_studies()
        if len(self._failed) >= _STUDIES:
            await self._close_failed()

    def opening(self, session: Session, outcomes: Sequence[Outcome]) -> None:
        """Write the entry of a study's first instance into the transaction that indexes it."""
        first = {one.study_uid: one for one in outcomes if isinstance(one, Indexed) and one.study_uid not in self._open}
        if first:
            self.audit.append(session, [self._opened(indexed) for indexed in first.values()])

    async def known(self, indexed: Indexed) -> None:
        """Write that entry for an instance that was indexed before."""
        if indexed.study_uid not in self._open:
            await self.audit.record(self._opened(indexed))

    def count(self, indexed: Indexed) -> None:
        """Count a stored instance whose study's entry is durable."""
        self._open.setdefault(indexed.study_uid, _Study(indexed.patient_id)).stored += 1
        self.stored += 1

    def refuse(self, refusal: ConsiliumError, about: About) -> None:
        """Count a refused instance; keep which it was, of whom, and where it is held."""
        self.refused[refusal.code] += 1
        key = about.study_uid, about.patient_id
        if len(self._failed) >= _STUDIES and key not in self._failed:
            key = "", ""  # a flood of what is no DICOM: ``make_room`` is not reached
        failed = self._failed.setdefault(key, _Failed())
        failed.codes[refusal.code] += 1
        if len(failed.named) < _NAMED:
            failed.named.append(named_cause(Refused(refusal, about)).strip())

    async def close(self) -> None:
        """Write how many instances of each study were stored, and what was refused."""
        await self._close_studies()
        await self._close_failed()

    async def _close_failed(self) -> None:
        while self._failed:
            (study_uid, patient_id), failed = self._failed.popitem()
            codes = ", ".join(f"{count} {code}" for code, count in sorted(failed.codes.items()))
            named = "; ".join(failed.named)
            detail = f"refused {codes} {self.peer.words}: {named}"
            await self.audit.record(self._record("failure", detail, study_uid, patient_id))

    async def _close_studies(self) -> None:
        while self._open:
            uid, study = self._open.popitem()
            detail = f"stored {study.stored} {self.peer.words}"
            await self.audit.record(self._record("success", detail, uid, study.patient_id))

    def _opened(self, indexed: Indexed) -> AuditRecord:
        return self._record("success", f"storing {self.peer.words}", indexed.study_uid, indexed.patient_id)

    def _record(
        self, outcome: Literal["success", "failure"], detail: str, study_uid: str = "", patient_id: str = ""
    ) -> AuditRecord:
        peer = self.peer
        return AuditRecord(
            peer.tenant, peer.calling, ROLE, "instance.store", outcome, study_uid[:256], patient_id[:128], detail
        )


async def record_refusal(refusals: Refusals, peer: Peer, refusal: ConsiliumError) -> None:
    """Write that an association was refused; nobody knows the peer, so the entry stands in the default tenant's trail."""
    detail = f"{refusal.code}: {refusal.detail} From {peer.address} to {peer.called}."
    record = AuditRecord(
        peer.tenant or DEFAULT_TENANT, peer.calling or "unknown", ROLE, "association.refused", "denied", detail=detail
    )
    await refusals.record(peer.address, record)
