"""How each file of an import ended, and the sums; the report of a run is made of these (machine-readable, no patient data but UIDs)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from consilium_archive.errors import InstanceDoubtful, InstanceHeld, InstanceRejected
from consilium_archive.stages import Indexed
from consilium_core.errors import ConsiliumError, Exhausted, Unavailable
from consilium_dicom.catalogue import CATALOGUE

Ending = Literal["stored", "already", "resumed", "held", "refused", "failed"]
"""``resumed``: a run before had stored it. ``held``: in quarantine. ``failed``: not judged, the archive did not answer."""
Answer = Indexed | ConsiliumError


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one file ended; ``findings`` name code, element, sentence in both languages, and who can mend it."""

    name: str
    ending: Ending
    size_bytes: int = 0
    sha256: str = ""
    sop_instance_uid: str = ""
    code: str = ""
    detail: str = ""
    mend: str = ""
    findings: tuple[dict[str, Any], ...] = ()

    def wire(self) -> dict[str, Any]:
        """Return it as JSON."""
        found: dict[str, Any] = {"file": self.name, "ending": self.ending, "code": self.code, "detail": self.detail}
        found |= {"mend": self.mend, "size_bytes": self.size_bytes, "sha256": self.sha256}
        return found | {"sop_instance_uid": self.sop_instance_uid, "findings": list(self.findings)}


def outcome_of(name: str, size_bytes: int, sha256: str, answer: Answer) -> Outcome:
    """Return how a file ended that the archive gave this answer for."""
    if isinstance(answer, Indexed):
        ending: Ending = "stored" if answer.fresh else "already"
        findings = tuple({"code": one.code, "text_en": one.detail} for one in answer.warnings)
        return Outcome(name, ending, size_bytes, sha256, answer.sop_instance_uid, findings=findings)
    findings = tuple(answer.findings) if isinstance(answer, InstanceRejected | InstanceHeld | InstanceDoubtful) else ()
    uid = str(answer.facts.get("sop_instance_uid", ""))
    ending = "refused"
    if isinstance(answer, InstanceHeld | InstanceDoubtful):
        ending = "held"
    elif isinstance(answer, Exhausted | Unavailable):
        ending = "failed"
    return Outcome(name, ending, size_bytes, sha256, uid, answer.code, answer.detail, _mend(answer), findings)


def _mend(answer: ConsiliumError) -> str:
    """Return who can mend what kept a file out: of a refusal whoever the findings that reject name, not those that only warn."""
    if isinstance(answer, InstanceHeld | InstanceDoubtful):
        return InstanceHeld.mend
    if not isinstance(answer, InstanceRejected):
        return answer.mend
    named = {str(one["mend"]): None for one in answer.findings if "mend" in one and _rejects(str(one["code"]))}
    return ", ".join(named) or answer.mend


def _rejects(code: str) -> bool:
    return code in CATALOGUE and CATALOGUE[code].failure_reason != 0


@dataclass
class Tally:
    """The sums of a run, and every file that is not in."""

    counts: Counter[str] = field(default_factory=Counter)
    stored_bytes: int = 0
    not_dicom: int = 0
    warnings: Counter[str] = field(default_factory=Counter)
    missing: list[Outcome] = field(default_factory=list)

    def add(self, one: Outcome) -> None:
        """Count a file."""
        self.counts[one.ending] += 1
        if one.ending in ("held", "refused", "failed"):
            self.missing.append(one)
            return
        self.stored_bytes += one.size_bytes if one.ending == "stored" else 0
        self.warnings.update(str(found["code"]) for found in one.findings)

    @property
    def all_in(self) -> bool:
        """Tell whether everything that looks like DICOM is in the archive."""
        return not self.missing

    def wire(self) -> dict[str, Any]:
        """Return the sums and the files that are not in as JSON."""
        endings = ("stored", "already", "resumed", "held", "refused", "failed")
        return {
            "counts": {ending: self.counts[ending] for ending in endings} | {"not_dicom": self.not_dicom},
            "stored_bytes": self.stored_bytes,
            "warnings": dict(self.warnings.most_common()),
            "not_in": [one.wire() for one in self.missing],
        }
