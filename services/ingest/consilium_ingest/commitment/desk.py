"""What happens at the addresses of storage commitment: ask, look, and receipts with their audit entries."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from consilium_archive.commitment import StudyFacts, judge, study_facts, study_references
from consilium_archive.receipt import RECEIPT, Asked, receipt_of
from consilium_core.clock import iso
from consilium_core.errors import Unavailable
from consilium_core.roles import Principal
from consilium_ingest.commitment.errors import ReceiptKeyMissing
from consilium_ingest.commitment.keeper import LEASE_S, Keeper
from consilium_ingest.commitment.pauses import pause_s
from consilium_ingest.commitment.rows import CommitmentRows
from consilium_ingest.commitment.transactions import Ask, Requester, Transaction
from consilium_platform.audit import AuditLog, AuditRecord
from consilium_platform.blobs import Stores
from consilium_platform.statements import StatementSigner

_STUDIES_AT_ONCE = 2  # a study of 20,000 instances is as many questions to the store
_STUDY_S = 60.0  # the door waits no longer for its answer


@dataclass(frozen=True, slots=True)
class Signed:
    """A receipt with its signature, and whose the named studies are (for the printed page; not part of what is signed)."""

    content: dict[str, Any]
    jws: str
    studies: list[StudyFacts]


@dataclass(frozen=True, slots=True)
class CommitmentDesk:
    """What the addresses need of their room; ``signer`` None: this process has no key."""

    rows: CommitmentRows
    keeper: Keeper
    stores: Stores
    audit: AuditLog
    signer: StatementSigner | None
    answer_s: float
    _looks: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_STUDIES_AT_ONCE))

    async def ask(self, who: Principal, ask: Ask) -> Transaction:
        """Keep the request and decide of it, if that takes no longer than ``answer_s``; else the keeper does."""
        requester = Requester(who.tenant, who.subject, who.role.value, "dicomweb")
        known = await self.rows.keep(requester, ask, LEASE_S)
        try:
            async with asyncio.timeout(self.answer_s):
                return await self.keeper.settle(known)
        except TimeoutError:
            problem = "timeout"
        except Unavailable as outage:
            problem = outage.code
        await self.rows.postpone(known, pause_s(1), problem)
        return known

    async def look(self, who: Principal, transaction_uid: str) -> Transaction:
        """Return a transaction; a site sees only its own."""
        return await self.rows.get(who.tenant, transaction_uid, who.subject if who.kind == "site" else "")

    async def transaction_receipt(self, who: Principal, transaction_uid: str) -> Signed:
        """Return the receipt of a decided transaction: the same text until it is asked again."""
        content = await asyncio.to_thread((await self.look(who, transaction_uid)).receipt)
        return await self._signed(who, content, transaction_uid)

    async def study_receipt(self, who: Principal, study_uid: str) -> Signed:
        """Look where each instance of a study is now, and return the receipt of that; raise Unavailable when it takes too long."""
        asked = Asked(who.subject, who.role.value, "api", "", iso(self.rows.clock.now()))
        references = await study_references(self.rows.database, who.tenant, study_uid)
        try:
            async with asyncio.timeout(_STUDY_S), self._looks:
                verdicts = await judge(self.rows.database, self.stores, who.tenant, references)
        except TimeoutError:
            raise Unavailable("The study's objects could not be looked at in time. Ask again.") from None
        subject, now = {"study_uid": study_uid}, iso(self.rows.clock.now())
        content = await asyncio.to_thread(receipt_of, who.tenant, subject, asked, now, verdicts)
        return await self._signed(who, content, study_uid)

    async def _signed(self, who: Principal, content: dict[str, Any], subject: str) -> Signed:
        if self.signer is None:
            raise ReceiptKeyMissing("Receipts can't be signed here: CONSILIUM_PLATFORM_RECEIPT_KEY_FILE is not set.")
        studies = [one["study_uid"] for one in content["instances"] if one["study_uid"]]
        facts = await study_facts(self.rows.database, who.tenant, studies)
        jws = await asyncio.to_thread(self.signer.state, RECEIPT, content)
        await self._trace(who, content, subject, facts)
        return Signed(content, jws, facts)

    async def _trace(self, who: Principal, content: dict[str, Any], subject: str, facts: list[StudyFacts]) -> None:
        """Audit the view, once for each patient whose studies are named."""
        detail = f"{content['committed']} committed, {content['not_committed']} not"
        entry = who.tenant, who.subject, who.role.value, "receipt.view", "success", subject
        patients = sorted({one.patient_id for one in facts}) or [""]
        records = [AuditRecord(*entry, patient_id=patient, detail=detail) for patient in patients]  # type: ignore[arg-type]
        await self.audit.record_all(records)
