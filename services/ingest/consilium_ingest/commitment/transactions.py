"""A storage commitment transaction: who asked what, and how it stands. The DICOM JSON of request and result (PS3.18 J.1, J.2), pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from consilium_archive.commitment import MAX_REFERENCES, Reference, Verdict
from consilium_archive.receipt import Asked, receipt_of
from consilium_core.clock import iso
from consilium_dicom.json_read import JsonObject
from consilium_dicom.uids import is_valid_uid
from consilium_ingest.commitment.errors import CommitmentInvalid, TransactionUndecided

MAX_REQUEST_BYTES = 8 << 20


class State(StrEnum):
    """received -> (decided) -> waiting (its report is to be delivered) -> done or given-up; by DICOMweb received -> done.

    The same request again is received again: it is decided anew.
    """

    RECEIVED = "received"
    WAITING = "waiting"
    DONE = "done"
    GIVEN_UP = "given-up"


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks: ``name`` is the token's subject or the calling AE title; ``called`` is what a DIMSE peer calls us."""

    tenant: str
    name: str
    role: str
    origin: str  # dimse, dicomweb
    address: str = ""
    called: str = ""

    @property
    def peer(self) -> tuple[str, str]:
        """Return tenant and AE title, which have one address."""
        return self.tenant, self.name


@dataclass(frozen=True, slots=True)
class Ask:
    """One request."""

    transaction_uid: str
    references: tuple[Reference, ...]

    def digest(self, requester: Requester) -> str:
        """Return the SHA-256 by which the same request of the same requester is known again."""
        named = [[one.sop_class_uid, one.sop_instance_uid] for one in self.references]
        said = [requester.origin, requester.name, requester.called, self.transaction_uid, named]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Transaction:
    """One row: a request and how far it has come."""

    id: str
    ask: Ask
    requester: Requester
    duplicate: bool
    requested_at: datetime
    verdicts: tuple[Verdict, ...] | None
    decided_at: datetime | None
    state: State
    attempts: int
    problem: str
    reported_at: datetime | None

    def decided(self) -> tuple[tuple[Verdict, ...], datetime]:
        """Return the verdicts and when they were made; raise TransactionUndecided."""
        if self.verdicts is None or self.decided_at is None:
            raise TransactionUndecided("This request is not decided yet. Ask again in a moment.")
        return self.verdicts, self.decided_at

    def receipt(self) -> dict[str, Any]:
        """Return the content of its receipt: the same until it is asked again; raise TransactionUndecided."""
        verdicts, decided_at = self.decided()
        who = self.requester
        asked = Asked(who.name, who.role, who.origin, who.address, iso(self.requested_at))
        subject = {"transaction_uid": self.ask.transaction_uid}
        return receipt_of(who.tenant, subject, asked, iso(decided_at), verdicts)


@dataclass(frozen=True, slots=True)
class Summary:
    """A transaction without its instances, for lists; ``committed`` is None until it is decided."""

    id: str
    transaction_uid: str
    origin: str
    requested_by: str
    address: str
    requested_at: datetime
    decided_at: datetime | None
    state: str
    duplicate: bool
    instances: int
    committed: int | None
    attempts: int
    problem: str
    reported_at: datetime | None


_REFERENCED, _FAILED, _TRANSACTION = "00081199", "00081198", "00081195"
_CLASS, _INSTANCE, _REASON, _COMMENT = "00081150", "00081155", "00081197", "00000902"


def ask_of(found: JsonObject, transaction_uid: str = "") -> Ask:
    """Return the request of a Storage Commitment Request module; raise CommitmentInvalid. ``transaction_uid``: where the path names it."""
    uid = transaction_uid or _text(found, _TRANSACTION)
    if not is_valid_uid(uid):
        raise CommitmentInvalid("The request has no valid Transaction UID (0008,1195).")
    items = _values(found, _REFERENCED)
    if not items:
        raise CommitmentInvalid("The Referenced SOP Sequence (0008,1199) names no instances.")
    if len(items) > MAX_REFERENCES:
        raise CommitmentInvalid(f"A request names at most {MAX_REFERENCES} instances: send several transactions.")
    references = dict.fromkeys(_reference(item) for item in items)
    return Ask(uid, tuple(references))


def _reference(item: Any) -> Reference:
    named = Reference(_text(item, _CLASS), _text(item, _INSTANCE))
    if not is_valid_uid(named.sop_class_uid) or not is_valid_uid(named.sop_instance_uid):
        raise CommitmentInvalid("An item of the Referenced SOP Sequence lacks its SOP Class or SOP Instance UID.")
    return named


def _values(found: Any, key: str) -> list[Any]:
    element = found.get(key) if isinstance(found, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _text(found: Any, key: str) -> str:
    values = _values(found, key)
    return values[0] if len(values) == 1 and isinstance(values[0], str) else ""


def result_of(verdicts: Sequence[Verdict], transaction_uid: str = "", *, comments: bool = False) -> JsonObject:
    """Return the Storage Commitment Response module (PS3.18 J.2, PS3.3 C.14); ``transaction_uid`` where no path names it.

    ``comments`` adds an Error Comment to failed items: an element of group 0000, which only DICOM JSON may carry.
    """
    kept = [verdict for verdict in verdicts if verdict.committed]
    failed = [verdict for verdict in verdicts if not verdict.committed]
    found: JsonObject = {}
    if transaction_uid:
        found[_TRANSACTION] = {"vr": "UI", "Value": [transaction_uid]}
    if failed:
        found[_FAILED] = {"vr": "SQ", "Value": [_failed_item(verdict, comments) for verdict in failed]}
    if kept:
        found[_REFERENCED] = {"vr": "SQ", "Value": [_item(verdict) for verdict in kept]}
    return dict(sorted(found.items()))


def _item(verdict: Verdict) -> JsonObject:
    return {
        _CLASS: {"vr": "UI", "Value": [verdict.sop_class_uid]},
        _INSTANCE: {"vr": "UI", "Value": [verdict.sop_instance_uid]},
    }


COMMENTS = {
    "unknown": "not in the archive: send it",
    "held": "held in quarantine: not committed until a person releases it",
    "removed": "removed when its retention ended",
    "class-differs": "stored under another SOP class",
    "damaged": "the stored bytes are missing or damaged: send it again",
    "undecided": "the archive could not look: ask again",
    "transaction-in-use": "the Transaction UID is in use: take another",
}


def _failed_item(verdict: Verdict, comments: bool) -> JsonObject:
    item = _item(verdict) | {_REASON: {"vr": "US", "Value": [int(verdict.failure_reason or 0)]}}
    if comments:
        item[_COMMENT] = {"vr": "LO", "Value": [COMMENTS[verdict.why]]}
    return dict(sorted(item.items()))
