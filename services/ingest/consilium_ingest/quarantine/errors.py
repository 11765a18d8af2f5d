"""What the quarantine desk refuses."""

from __future__ import annotations

from typing import ClassVar

from consilium_core.errors import Conflict, Denied, Invalid, Mend, NotFound


class QuarantineNotFound(NotFound):
    """No such entry in the caller's tenant."""

    code = "quarantine-not-found"


class QuarantineDecided(Conflict):
    """The entry was released or rejected already."""

    code = "quarantine-decided"


class QuarantineMoved(Conflict):
    """Somebody else has changed the entry; look at it again."""

    code = "quarantine-moved"


class SecondPersonNeeded(Denied):
    """An identity that one person proposes is approved by another."""

    code = "second-person-needed"
    mend: ClassVar[Mend] = "operator"


class CorrectionInvalid(Invalid):
    """The correction says nothing new, or the object is too large to be corrected here."""

    code = "correction-invalid"
