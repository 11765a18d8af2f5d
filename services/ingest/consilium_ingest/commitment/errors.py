"""What the commitment desk refuses."""

from __future__ import annotations

from typing import ClassVar

from consilium_core.errors import Conflict, ConsiliumError, Invalid, NotFound, Unavailable


class CommitmentInvalid(Invalid):
    """The request names no instances, too many, or what are no UIDs."""

    code = "commitment-invalid"


class CommitmentTooLarge(Invalid):
    """The request is larger than any list of instances that is taken."""

    code = "commitment-too-large"
    http_status: ClassVar[int] = 413


class TransactionInUse(Conflict):
    """The Transaction UID stands for another request (PS3.18 table 13.4.3-1)."""

    code = "transaction-uid-in-use"


class TransactionNotFound(NotFound):
    """No such transaction, or another site's."""

    code = "transaction-not-found"


class TransactionUndecided(Conflict):
    """The transaction is not decided yet: there is nothing to sign."""

    code = "transaction-undecided"
    mend = "retry"


class ReceiptKeyMissing(Unavailable):
    """This process has no key that receipts are signed with."""

    code = "receipt-key-missing"
    mend = "operator"


class ReportFailed(ConsiliumError):
    """A report could not be delivered; ``problem`` goes into the transaction's. ``whole_peer``: it would keep any report away."""

    code = "report-failed"
    mend = "operator"

    def __init__(self, detail: str, problem: str, *, whole_peer: bool = False) -> None:
        super().__init__(detail, problem=problem)
        self.problem = problem[:64]
        self.whole_peer = whole_peer
