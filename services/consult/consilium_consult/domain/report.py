"""The life of a report: drafted below, signed above; every change after a word was saved is traced; a signature locks.

The hash in a signature is SHA-256 over the canonical JSON (sorted keys, no blanks, UTF-8) of what the signer saw.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from consilium_consult.errors import ReasonNeeded, ReportEmpty, ReportLocked, SignatureRefused, TransitionRefused
from consilium_core.roles import GRADE, Role

SECTIONS = ("findings", "impression", "recommendation")
TRACED = (*SECTIONS, "key_images", "language")


class ReportState(StrEnum):
    """States of a report (FHIR R5: partial, preliminary, preliminary, partial, final)."""

    DRAFTING = "drafting"
    SUBMITTED = "submitted"
    IN_REVIEW = "in_review"
    RETURNED = "returned"
    SIGNED = "signed"


class ReportVerb(StrEnum):
    """What people do to a report."""

    EDIT = "edit"
    SUBMIT = "submit"
    REVIEW = "review"
    RETURN = "return"
    SIGN = "sign"


_S = ReportState
TRANSITIONS: dict[tuple[ReportState, ReportVerb], ReportState] = {
    (_S.DRAFTING, ReportVerb.EDIT): _S.DRAFTING,
    (_S.DRAFTING, ReportVerb.SUBMIT): _S.SUBMITTED,
    (_S.SUBMITTED, ReportVerb.REVIEW): _S.IN_REVIEW,
    (_S.IN_REVIEW, ReportVerb.REVIEW): _S.IN_REVIEW,
    (_S.IN_REVIEW, ReportVerb.EDIT): _S.IN_REVIEW,
    (_S.IN_REVIEW, ReportVerb.RETURN): _S.RETURNED,
    (_S.IN_REVIEW, ReportVerb.SIGN): _S.SIGNED,
    (_S.RETURNED, ReportVerb.EDIT): _S.DRAFTING,
    (_S.RETURNED, ReportVerb.SUBMIT): _S.SUBMITTED,
}


def next_state(state: ReportState, verb: ReportVerb) -> ReportState:
    """Return the state after ``verb``; a signed report raises ReportLocked, anything else impossible TransitionRefused."""
    if state is ReportState.SIGNED:
        raise ReportLocked("The report is signed and locked. Write an addendum; it is signed beside the report.")
    following = TRANSITIONS.get((state, verb))
    if following is None:
        raise TransitionRefused(
            f"A report that is {state.value.replace('_', ' ')} can't be changed by {verb.value}.",
            state=state.value,
            verb=verb.value,
        )
    return following


@dataclass(frozen=True, slots=True)
class Change:
    """One section's change, as the trace keeps it."""

    section: str
    before: str
    after: str


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    """Return what differs of everything that is traced."""
    return [
        Change(name, before.get(name, ""), after.get(name, ""))
        for name in TRACED
        if before.get(name, "") != after.get(name, "")
    ]


def check_edit(state: ReportState, reason: str) -> None:
    """Raise ReasonNeeded when a reviewer changes an author's words without saying why."""
    if state is ReportState.IN_REVIEW and not reason.strip():
        raise ReasonNeeded("After submission every change says why: give a reason.")


def check_complete(sections: Mapping[str, str]) -> None:
    """Raise ReportEmpty unless findings and impression hold words."""
    missing = [name for name in ("findings", "impression") if not sections.get(name, "").strip()]
    if missing:
        raise ReportEmpty(f"The report needs {' and '.join(missing)} before it goes on.", missing=missing)


def check_signer(author_id: str, author_role: Role, signer_id: str, signer_role: Role) -> None:
    """Raise SignatureRefused unless the signer is another person who stands above the author."""
    if author_id == signer_id:
        raise SignatureRefused("The author can't sign the own report: another, higher colleague signs.", rule="author")
    if GRADE.get(signer_role, 0) <= GRADE.get(author_role, 0):
        raise SignatureRefused(
            f"A {signer_role.value} does not stand above a {author_role.value}: a higher colleague signs.", rule="grade"
        )


def content_hash(content: Mapping[str, Any]) -> str:
    """Return SHA-256 (hex) over the canonical JSON of ``content``."""
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
