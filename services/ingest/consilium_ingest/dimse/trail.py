"""What the audit trail holds of an association: who stored what for whom, before the first success is sent, and how it ended.

One entry opens each study, in the transaction that indexes its first instance; one closes it with the count: two for an association
that brings one study, however many instances. Refused associations are written too, a flood of them only counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy.orm import Session

from consilium_archive.index import Outcome
from consilium_archive.stages import Indexed
from consilium_core.errors import ConsiliumError
from consilium_platform.audit import AuditLog, AuditRecord
from consilium_platform.http.auth import DEFAULT_TENANT
from consilium_platform.http.refusals import Refusals

ROLE = "dicom-peer"
_STUDIES = 256


@dataclass(frozen=True, slots=True)
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


@dataclass(slots=True)
class _Study:
    patient_id: str
    stored: int = 0


@dataclass(slots=True)
class Trail:
    """The entries of one association."""

    audit: AuditLog
    peer: Peer
    stored: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    _open: dict[str, _Study] = field(default_factory=dict)

    async def make_room(self) -> None:
        """Close the studies when very many are open."""
        if len(self._open) >= _STUDIES:
            await self._close_studies()

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

    def refuse(self, refusal: ConsiliumError) -> None:
        """Count a refused instance."""
        self.refused[refusal.code] += 1

    async def close(self) -> None:
        """Write how many instances of each study were stored, and what was refused."""
        await self._close_studies()
        if self.refused:
            codes = ", ".join(f"{count} {code}" for code, count in sorted(self.refused.items()))
            await self.audit.record(self._record("failure", f"refused {codes} {self.peer.words}"))

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
