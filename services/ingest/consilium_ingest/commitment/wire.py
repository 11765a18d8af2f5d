"""The JSON of receipts and of the list of transactions."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

StateName = Literal["received", "waiting", "done", "given-up"]


class ReceiptDocument(BaseModel):
    """A receipt as it is kept: what was signed, readable, and its compact JWS (RFC 7515). ``consilium verify-receipt`` checks both."""

    receipt: dict[str, Any]
    jws: str


class TransactionOut(BaseModel):
    """One transaction: who asked, what came of it, and whether the report arrived (DIMSE)."""

    model_config = ConfigDict(from_attributes=True)

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
    committed: int | None
    attempts: int
    problem: str
    reported_at: datetime | None


class TransactionPage(BaseModel):
    """Transactions, newest first."""

    items: list[TransactionOut]
    next_cursor: str | None
