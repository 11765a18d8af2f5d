"""What routing refuses, and why sending failed."""

from __future__ import annotations

from consilium_core.errors import Conflict, Exhausted, Invalid, NotFound, Unavailable


class RuleNotFound(NotFound):
    """No such rule in the caller's tenant."""

    code = "routing-rule-not-found"


class RuleMoved(Conflict):
    """Somebody has changed the rule since the caller looked at it."""

    code = "routing-rule-moved"


class RulesFull(Exhausted):
    """The tenant has as many rules as are taken."""

    code = "routing-rules-full"
    mend = "admin"


class DestinationUnknown(Invalid):
    """No destination of that name is set up for the tenant; whoever runs the server adds it."""

    code = "routing-destination-unknown"
    mend = "operator"


class DryRunBusy(Exhausted):
    """As many dry runs as are made at once are under way."""

    code = "routing-dry-run-busy"


class NothingToRetry(Conflict):
    """The study has no instance that waits for a destination or was given up."""

    code = "routing-nothing-to-retry"


class SendingFailed(Unavailable):
    """The destination itself did not take a request; ``problem`` is the word of ``words.PROBLEMS``."""

    code = "routing-sending-failed"

    def __init__(self, problem: str, retry_after_s: float = 0.0) -> None:
        super().__init__(f"The destination did not take the request: {problem}.")
        self.problem = problem
        self.retry_after_s = retry_after_s
