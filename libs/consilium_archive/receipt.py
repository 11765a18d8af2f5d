"""The receipt of what is kept: its content, its signature, and its verification, which needs nothing but the public key.

Flows in: verdicts (``commitment``) and who asked when; flows out: a JSON document for people and programs with its compact JWS
(``consilium_platform.statements``). It names no patient: it travels to senders.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from joserfc.jwk import KeySet

from consilium_archive.commitment import Verdict
from consilium_platform.statements import Statement, StatementRefused, verify_statement

RECEIPT = "consilium-storage-receipt+jws"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asked for a receipt or a commitment, when (RFC 3339), by which door."""

    name: str
    role: str
    origin: str  # dimse, dicomweb, api
    address: str
    at: str


def receipt_of(
    tenant: str, subject: dict[str, str], asked: Asked, decided_at: str, verdicts: Sequence[Verdict]
) -> dict[str, Any]:
    """Return the receipt's content; ``subject`` is ``{"transaction_uid": ...}`` or ``{"study_uid": ...}``."""
    kept = sum(verdict.committed for verdict in verdicts)
    return {
        "type": "consilium.storage-receipt",
        "version": _VERSION,
        "tenant": tenant,
        "subject": subject,
        "requested_by": {"name": asked.name, "role": asked.role, "origin": asked.origin, "address": asked.address},
        "requested_at": asked.at,
        "decided_at": decided_at,
        "committed": kept,
        "not_committed": len(verdicts) - kept,
        "instances": [_instance(verdict) for verdict in verdicts],
    }


def _instance(verdict: Verdict) -> dict[str, Any]:
    facts = {name: value or None for name, value in verdict.wire().items()}
    reason = verdict.failure_reason
    return facts | {"committed": verdict.committed, "failure_reason": f"{reason:04X}" if reason is not None else None}


def verify_receipt(text: str, keys: KeySet) -> Statement:
    """Return what a receipt says, given as the JSON document or its JWS alone; raise StatementRefused.

    The readable part of a document must say exactly what was signed.
    """
    if not text.lstrip().startswith("{"):
        return verify_statement(text, keys, RECEIPT)
    try:
        document = json.loads(text)
        said, signature = document["receipt"], str(document["jws"])
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise StatementRefused("The file is no receipt: it has no receipt and jws.") from problem
    statement = verify_statement(signature, keys, RECEIPT)
    if said != statement.content:
        raise StatementRefused("The readable part of the receipt is not what was signed: it was changed.")
    return statement
