"""What the desk does with a held object: propose a corrected identity, withdraw it, release, reject.

Whoever proposes an identity cannot release it: two people see it. The corrected object is written from the original, the proposal
and its time alone, so that a release that was cut off after storing can be done again and meets its own bytes. The original
stays under its quarantine key in every case.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from consilium_archive.commits import Also
from consilium_archive.identity import Person, differences
from consilium_archive.prepare import finding_json
from consilium_archive.quarantine import HELD, REJECTED, RELEASED
from consilium_archive.stages import Indexed, Received
from consilium_archive.writer import ArchiveWriter
from consilium_core.errors import ConsiliumError
from consilium_core.roles import Principal
from consilium_dicom.amend import Correction, amend
from consilium_dicom.errors import DicomInvalid
from consilium_dicom.findings import finding
from consilium_dicom.header import read_header
from consilium_dicom.policy import Policy
from consilium_dicom.validate import Circumstances, validate
from consilium_ingest.quarantine.errors import CorrectionInvalid, QuarantineDecided, QuarantineMoved, SecondPersonNeeded
from consilium_ingest.quarantine.rows import Archived, Decision, Entry, Facts, QuarantineRows
from consilium_ingest.spool import Part, Spool
from consilium_platform.blobs import BlobStore

_MODIFYING_SYSTEM = "consilium"
_LARGEST_CORRECTED_BYTES = 1 << 30
_STRETCH_BYTES = 8 << 20
_COMPARED = (
    "patient_id", "issuer", "patient_name", "birth_date", "sex", "study_date", "accession_number", "study_description",
)  # fmt: skip
_CORRECTED = frozenset({"patient_id", "patient_name", "birth_date", "sex"})


@dataclass(frozen=True, slots=True)
class Compared:
    """One fact of the held object beside the archive's and the proposal's; "" and None: not there."""

    field: str
    held: str
    archived: str | None
    proposed: str | None

    @property
    def same(self) -> bool | None:
        """Tell whether what would be stored is what the archive has; None when it has nothing."""
        mine = self.held if self.proposed is None else self.proposed
        return None if self.archived is None else mine == self.archived


@dataclass(frozen=True, slots=True)
class Released:
    """The outcome of a release: the archived instance and the entry as it ended."""

    indexed: Indexed
    entry: Entry


class QuarantineDesk:
    """The desk of one process; who may come to it is the API's matter."""

    def __init__(self, rows: QuarantineRows, writer: ArchiveWriter, blobs: BlobStore, spool: Spool) -> None:
        self.rows = rows
        self._writer = writer
        self._blobs = blobs
        self._spool = spool

    async def compare(self, entry: Entry) -> tuple[Archived | None, list[Compared]]:
        """Return whom the archive knows and, fact by fact, what is held, archived and proposed."""
        changes: dict[str, str] = (entry.proposal or {}).get("changes", {})
        archived = await self.rows.archived(entry, changes.get("patient_id", entry.identity["patient_id"]))
        compared = [
            Compared(
                name,
                entry.identity.get(name, ""),
                archived.identity.get(name) if archived is not None else None,
                changes.get(name) if name in _CORRECTED else None,
            )
            for name in _COMPARED
        ]
        return archived, compared

    async def propose(self, principal: Principal, entry: Entry, correction: Correction, reason: str) -> Entry:
        """Record a corrected identity with what validation would say of it; raise CorrectionInvalid or QuarantineMoved."""
        _still_held(entry)
        changes = {name: value for name, value in asdict(correction).items() if value is not None}
        if not changes or all(entry.identity.get(name) == value for name, value in changes.items()):
            raise CorrectionInvalid("Name at least one value that differs from the object's.")
        at = datetime.now(UTC)
        corrected = await self._corrected(entry, correction, at)
        archived = await self.rows.archived(entry, "")
        after, verdict, shown = await asyncio.to_thread(_judged, corrected, self._writer.limits.policy, archived)
        proposal: Facts = {
            "by": principal.subject, "name": principal.name, "at": at.isoformat(), "reason": reason, "changes": changes,
            "shown": shown, "findings": after, "verdict": verdict,
        }  # fmt: skip
        return await self.rows.propose(entry, proposal)

    async def withdraw(self, entry: Entry) -> Entry:
        """Forget a proposal; raise CorrectionInvalid when there is none, QuarantineDecided or QuarantineMoved."""
        _still_held(entry)
        if entry.proposal is None:
            raise CorrectionInvalid("No identity was proposed for this entry.")
        return await self.rows.propose(entry, None)

    async def release(self, principal: Principal, entry: Entry, reason: str, audited: Also) -> Released:
        """Store the object, corrected as proposed, and let it be found; ``audited`` writes into the transaction that indexes it.

        Raises SecondPersonNeeded when the proposal is the caller's own, what the writer raises (a study of another patient, a UID with
        other content, a fatal finding), QuarantineDecided or QuarantineMoved.
        """
        _still_held(entry)
        proposal = entry.proposal
        if proposal is not None and proposal["by"] == principal.subject:
            raise SecondPersonNeeded("You have proposed this identity: another person must approve it.")
        part = self._spool.part()
        try:
            await self._fill(part, entry)
            data = None if part.path is not None else part.memory
            received = Received(entry.tenant, data, part.path, origin=entry.origin, cleared=True)
            indexed = await self._store(received, audited)
        finally:
            part.discard()
        verdict = "accept_with_warnings" if indexed.warnings else "accept"
        decision = Decision(RELEASED, principal.subject, reason, indexed.sha256, verdict)
        return Released(indexed, await self.rows.decide(entry, decision))

    async def _store(self, received: Received, audited: Also) -> Indexed:
        held = await self._writer.hold(received)
        if isinstance(held, Indexed):  # a release before this one was cut off
            await self._writer.index_all([], lambda session, _: audited(session, [held]))
            return held
        [outcome] = await self._writer.index_all([held], audited)
        if isinstance(outcome, ConsiliumError):
            raise outcome
        return outcome

    async def reject(self, principal: Principal, entry: Entry, reason: str) -> Entry:
        """Refuse the object for good; its bytes are kept, and sent again they are refused with this reason."""
        _still_held(entry)
        problem: Facts = {
            "type": "urn:consilium:problem:quarantine-refused", "title": "Quarantine refused", "status": 422,
            "detail": f"The quarantine desk has refused this object: {reason}", "code": "quarantine-refused",
            "mend": "operator", "quarantine_id": entry.id,
        }  # fmt: skip
        return await self.rows.decide(entry, Decision(REJECTED, principal.subject, reason, problem=problem))

    async def _fill(self, part: Part, entry: Entry) -> None:
        """Bring what is to be stored into a spool part: the original in stretches, or the corrected object."""
        if entry.proposal is not None:
            correction = Correction(**entry.proposal["changes"])
            part.write(await self._corrected(entry, correction, datetime.fromisoformat(entry.proposal["at"])))
            await part.drain()
        else:
            for start in range(0, entry.size_bytes, _STRETCH_BYTES):
                part.write(await self._blobs.get_range(entry.blob_key, start, _STRETCH_BYTES))
                await part.drain()
        await part.finish()

    async def _corrected(self, entry: Entry, correction: Correction, at: datetime) -> bytes:
        if entry.size_bytes > _LARGEST_CORRECTED_BYTES:
            raise CorrectionInvalid("The object is too large to be corrected here; correct it at its source.")
        data = await self._blobs.get(entry.blob_key)
        try:
            return await asyncio.to_thread(amend, data, correction, at, _MODIFYING_SYSTEM)
        except DicomInvalid as problem:
            raise CorrectionInvalid(f"The object cannot be written anew: {problem.detail}") from problem


def _judged(data: bytes, policy: Policy, archived: Archived | None) -> tuple[list[dict[str, str]], str, dict[str, str]]:
    """Return findings, verdict and the patient as they would be shown, of a corrected object."""
    today = datetime.now(UTC).strftime("%Y%m%d")
    run = validate(data, known=Circumstances(today=today, policy=policy))
    header = run.header or read_header(data)
    found, verdict = list(run.findings), str(run.verdict)
    if archived is not None and archived.same_study:
        theirs, mine = Person.read(archived.identity), Person.of(header)
        against = list(differences(theirs, mine))
        if theirs.patient_id and mine.patient_id and mine.patient_id != theirs.patient_id:
            against.insert(0, finding("patient-mismatch", "(0010,0020)"))
        found[:0] = against
        holds = any(one.code == "patient-mismatch" or one.code in policy.hold for one in against)
        verdict = "quarantine" if holds and verdict != "reject" else verdict
    shown = {"patient_id": header.patient_id, "patient_name": str(header.patient_name)}
    return [finding_json(one) for one in found], verdict, shown


def difference(before: list[dict[str, str]], after: list[dict[str, str]]) -> dict[str, list[dict[str, Any]]]:
    """Return which findings a correction mends, which it brings, and which stay."""

    def keys(findings: list[dict[str, str]]) -> set[tuple[str, str]]:
        return {(one["code"], one["tag_path"]) for one in findings}

    was, now = keys(before), keys(after)
    return {
        "mended": [one for one in before if (one["code"], one["tag_path"]) not in now],
        "new": [one for one in after if (one["code"], one["tag_path"]) not in was],
        "kept": [one for one in after if (one["code"], one["tag_path"]) in was],
    }


def _still_held(entry: Entry) -> None:
    if entry.state != HELD:
        raise QuarantineDecided(f"This entry was {entry.state} by {entry.decided_by}.", quarantine_id=entry.id)


def expect(entry: Entry, version: int) -> Entry:
    """Return the entry if it is the one that the caller has looked at; raise QuarantineMoved."""
    if entry.version != version:
        raise QuarantineMoved("Somebody has changed this entry meanwhile. Look at it again.", quarantine_id=entry.id)
    return entry
