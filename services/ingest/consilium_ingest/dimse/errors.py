"""Why an association is refused or broken off, with the words that PS3.8 has for it."""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar

from consilium_core.errors import Denied, Exhausted, Invalid


class AbortReason(IntEnum):
    """The provider's reasons of A-ABORT (PS3.8 9.3.8)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


class ProtocolViolation(Invalid):
    """The peer does not keep to PS3.8 or PS3.7: the association is aborted."""

    code = "dimse-protocol"

    def __init__(self, detail: str, reason: AbortReason = AbortReason.INVALID_PARAMETER) -> None:
        super().__init__(detail, reason=reason.name.lower())
        self.reason = reason


class AssociationRefused(Denied):
    """No allow-list entry fits the peer, or its request is not one that is served here; ``rejection``: result, source, reason (PS3.8 9.3.4)."""

    code = "association-refused"

    def __init__(self, detail: str, rejection: tuple[int, int, int]) -> None:
        super().__init__(detail)
        self.rejection = rejection


class AssociationLimit(Exhausted):
    """As many associations as allowed are open, in all or from this peer."""

    code = "association-limit"
    rejection: ClassVar[tuple[int, int, int]] = (2, 3, 2)


class MessageInvalid(Invalid):
    """A C-STORE request lacks what it must say: the object can't be understood."""

    code = "dimse-message-invalid"
    failure_reason: ClassVar[int] = 0xC000


class SopClassRefused(Invalid):
    """The message's SOP class is not the one that its presentation context was negotiated for."""

    code = "sop-class-not-negotiated"
    failure_reason: ClassVar[int] = 0x0122


class ActionRefused(Invalid):
    """An N-ACTION that is none of storage commitment's; ``status``: PS3.7 10.1.4.1.10."""

    code = "action-refused"

    def __init__(self, detail: str, status: int) -> None:
        super().__init__(detail)
        self.status = status


class SpoolFailed(Exhausted):
    """The folder of objects in flight is full or can't be written."""

    code = "spool-failed"
    mend = "operator"
