"""The JSON of receipts and of the list of transactions."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel

from consilium_ingest.commitment.transactions import Transaction

StateName = Literal["received", "waiting", "done", "given-up"]


class ReceiptDocument(BaseModel):
    """A receipt as it is kept: what was signed, readable, and its compact JWS (RFC 7515). ``consilium verify-receipt`` checks both."""

    receipt: dict[str, Any]
    jws: str


class TransactionOut(BaseModel):
    """One transaction: who asked, what came of it, and whether the report arrived (DIMSE)."""

    id: str
    transaction_uid: str
    origin: Literal["dimse", "dicomweb"]
    requested_by: str
    address: str
    requested_at: datetime
    decided_at: datetime | None
    state: StateName
    duplicate: bool
    instances: int
    committed: int
    attempts: int
    problem: str
    reported_at: datetime | None


class TransactionPage(BaseModel):
    """Transactions, newest first."""

    items: list[TransactionOut]
    next_cursor: str | None


def transaction_out(one: Transaction) -> TransactionOut:
    """Return a transaction as JSON."""
    return TransactionOut.model_validate(
        {
            "id": one.id, "transaction_uid": one.ask.transaction_uid, "origin": one.requester.origin,
            "requested_by": one.requester.name, "address": one.requester.address, "requested_at": one.requested_at,
            "decided_at": one.decided_at, "state": one.state.value, "duplicate": one.duplicate,
            "instances": len(one.ask.references), "committed": sum(v.committed for v in one.verdicts or ()),
            "attempts": one.attempts, "problem": one.problem, "reported_at": one.reported_at,
        }
    )  # fmt: skip
