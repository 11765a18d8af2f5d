"""The error tree that every room shares; transports map it once (problem+json, DIMSE status, WebSocket close code).

Rooms subclass a branch with facts as attributes and a stable kebab-case ``code``.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

Mend = Literal["caller", "operator", "admin", "retry", "vendor"]


class ConsiliumError(Exception):
    """Root of the tree: a sentence for people, a stable code for programs, and who can put it right."""

    code: ClassVar[str] = "error"
    mend: ClassVar[Mend] = "vendor"

    def __init__(self, detail: str, /, **facts: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts: dict[str, Any] = facts


class Invalid(ConsiliumError):
    """The caller must change the request."""

    code = "invalid"
    mend: ClassVar[Mend] = "caller"


class Unauthenticated(ConsiliumError):
    """Nobody we know, or a token that has expired: sign in again."""

    code = "unauthenticated"
    mend: ClassVar[Mend] = "caller"


class Denied(ConsiliumError):
    """Known, but not allowed."""

    code = "denied"
    mend: ClassVar[Mend] = "admin"


class NotFound(ConsiliumError):
    """No such thing, or not in the caller's tenant."""

    code = "not-found"
    mend: ClassVar[Mend] = "caller"


class Conflict(ConsiliumError):
    """The state has moved on, or the transition is not allowed from it."""

    code = "conflict"
    mend: ClassVar[Mend] = "caller"


class Gone(ConsiliumError):
    """It was here and never will be again."""

    code = "gone"
    mend: ClassVar[Mend] = "caller"


class Exhausted(ConsiliumError):
    """A limit is reached; ``retry_after_s`` says when to come back."""

    code = "exhausted"
    mend: ClassVar[Mend] = "retry"

    def __init__(self, detail: str, /, *, retry_after_s: float = 1.0, **facts: Any) -> None:
        super().__init__(detail, retry_after_s=retry_after_s, **facts)
        self.retry_after_s = retry_after_s


class Unavailable(ConsiliumError):
    """Something outside does not answer; try again."""

    code = "unavailable"
    mend: ClassVar[Mend] = "retry"


class Corrupt(ConsiliumError):
    """An invariant of ours is broken: our bug."""

    code = "corrupt"
    mend: ClassVar[Mend] = "vendor"
