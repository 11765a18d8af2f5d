"""The desk's JSON (docs/architecture.md section 5): entries, proposals, comparisons, differences."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from consilium_archive.stages import Indexed
from consilium_dicom.amend import Correction
from consilium_ingest.quarantine.desk import Compared, difference
from consilium_ingest.quarantine.rows import Archived, Entry

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=500)]
Text64 = Annotated[str, StringConstraints(max_length=64, pattern=r"^[^\\\x00-\x1f\x7f]*$")]
Name = Annotated[str, StringConstraints(max_length=194, pattern=r"^[^\\\x00-\x1f\x7f]*$")]
Date = Annotated[str, StringConstraints(pattern=r"^([12]\d{3}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01]))?$")]
State = Literal["held", "released", "rejected"]
CharacterSet = Literal["ISO_IR 192", "GB18030", "ISO 2022 IR 149", "ISO_IR 13", "ISO_IR 100"]


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FindingOut(_Wire):
    """One finding of validation."""

    code: str
    level: str
    tag_path: str
    text_en: str
    text_zh: str
    mend: str


class IdentityIn(_Wire):
    """A corrected identity; what is not named stays. ``patient_name`` is a PN value, ``character_set`` how the text is really written."""

    version: int = Field(ge=1)
    reason: Reason
    patient_id: Text64 | None = None
    patient_name: Name | None = None
    birth_date: Date | None = None
    sex: Literal["M", "F", "O", ""] | None = None
    character_set: CharacterSet | None = None

    def correction(self) -> Correction:
        """Return the correction as the library takes it."""
        return Correction(self.patient_id, self.patient_name, self.birth_date, self.sex, self.character_set)


class DecisionIn(_Wire):
    """Why an object is released or rejected; ``version`` is the entry's as the person has seen it."""

    version: int = Field(ge=1)
    reason: Reason


class DifferenceOut(_Wire):
    """What a correction changes in the findings."""

    mended: list[FindingOut]
    new: list[FindingOut]
    kept: list[FindingOut]


class ProposalOut(_Wire):
    """A corrected identity that waits for a second person."""

    by: str
    name: str
    at: datetime
    reason: str
    changes: dict[str, str]
    shown: dict[str, str]
    verdict: str
    difference: DifferenceOut


class ComparedOut(_Wire):
    """One fact side by side; ``same`` is null when the archive knows nobody to compare with."""

    field: str
    held: str
    archived: str | None
    proposed: str | None
    same: bool | None


class ComparisonOut(_Wire):
    """With whom the object was compared: its own study, or the newest study of the same patient id."""

    study_uid: str | None
    same_study: bool
    facts: list[ComparedOut]


class EntryOut(_Wire):
    """A held object in a list; ``proposal_digest``: equal for equal corrections (SHA-256 of what they change)."""

    id: str
    state: State
    version: int
    held_at: datetime
    reasons: list[str]
    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    modality: str
    size_bytes: int
    origin: dict[str, str]
    identity: dict[str, str]
    proposed_by: str | None
    proposal_digest: str | None
    decided_by: str | None
    decided_at: datetime | None
    reason: str | None


class EntryWhole(EntryOut):
    """A held object with everything that a person needs to decide."""

    findings: list[FindingOut]
    comparison: ComparisonOut
    proposal: ProposalOut | None


class EntryPage(_Wire):
    """A page of entries, newest first."""

    items: list[EntryOut]
    next_cursor: str | None


class ReleasedOut(_Wire):
    """Where a released object now is, and the entry as it ended."""

    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sha256: str
    corrected: bool
    entry: EntryOut


def entry_out(entry: Entry) -> EntryOut:
    """Return an entry for a list."""
    return EntryOut(**_common(entry))


def entry_whole(entry: Entry, archived: Archived | None, compared: list[Compared]) -> EntryWhole:
    """Return an entry with findings, comparison and proposal."""
    proposal = None
    if entry.proposal is not None:
        said = {key: value for key, value in entry.proposal.items() if key != "findings"}
        proposal = ProposalOut.model_validate(
            {**said, "difference": difference(entry.findings, entry.proposal["findings"])}
        )
    return EntryWhole.model_validate(
        {
            **_common(entry),
            "findings": entry.findings,
            "comparison": {
                "study_uid": archived.study_uid if archived is not None else None,
                "same_study": archived is not None and archived.same_study,
                "facts": [
                    {"field": c.field, "held": c.held, "archived": c.archived, "proposed": c.proposed, "same": c.same}
                    for c in compared
                ],
            },
            "proposal": proposal,
        }
    )


def released_out(indexed: Indexed, entry: Entry) -> ReleasedOut:
    """Return the outcome of a release."""
    return ReleasedOut(
        study_uid=indexed.study_uid,
        series_uid=indexed.series_uid,
        sop_instance_uid=indexed.sop_instance_uid,
        sha256=indexed.sha256,
        corrected=entry.proposal is not None and indexed.sha256 != entry.sha256,
        entry=entry_out(entry),
    )


def _digest(changes: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(changes, sort_keys=True).encode()).hexdigest()


def _common(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id, "state": entry.state, "version": entry.version, "held_at": entry.held_at, "reasons": entry.reasons,
        "study_uid": entry.study_uid, "series_uid": entry.series_uid, "sop_instance_uid": entry.sop_instance_uid,
        "sop_class_uid": entry.sop_class_uid, "modality": entry.modality, "size_bytes": entry.size_bytes,
        "origin": entry.origin.told(), "identity": entry.identity,
        "proposed_by": entry.proposal["by"] if entry.proposal is not None else None,
        "proposal_digest": _digest(entry.proposal["changes"]) if entry.proposal is not None else None,
        "decided_by": entry.decided_by, "decided_at": entry.decided_at, "reason": entry.reason,
    }  # fmt: skip
