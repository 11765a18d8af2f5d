"""What a hospital holds back for a person: the codes that send an object to quarantine instead of the archive.

A fatal finding always rejects; a code named here holds; everything else is stored. A code may be any of the catalogue's that does
not reject, notes too (``burned-in-annotation`` for an archive that publishes).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from consilium_dicom.catalogue import CATALOGUE
from consilium_dicom.findings import Finding

Verdict = Literal["accept", "accept_with_warnings", "quarantine", "reject"]
HELD_BY_DEFAULT = frozenset(
    {
        "charset-unsafe",
        "birth-after-study",
        "birth-date-future",
        "patient-mismatch",
        "identity-differs",
        "order-mismatch",
        "pixel-data-missing",
    }
)


@dataclass(frozen=True, slots=True)
class Policy:
    """Which codes hold an object; none: nothing is ever held."""

    hold: frozenset[str] = HELD_BY_DEFAULT

    def verdict(self, found: list[Finding]) -> Verdict:
        """Return what becomes of an object with these findings."""
        if any(item.fatal for item in found):
            return "reject"
        if any(item.code in self.hold for item in found):
            return "quarantine"
        return "accept" if all(item.note for item in found) else "accept_with_warnings"


DEFAULT_POLICY = Policy()
STORE_ALL = Policy(frozenset())


def parse_policy(codes: str) -> Policy:
    """Return the policy of a comma-separated list; raise ValueError for a code that is unknown or rejects anyway."""
    named = frozenset(code.strip() for code in codes.split(",") if code.strip())
    for code in sorted(named):
        if code not in CATALOGUE:
            raise ValueError(f"{code} is no finding's code")
        if CATALOGUE[code].failure_reason:
            raise ValueError(f"{code} rejects an object: it cannot be held")
    return Policy(named)
