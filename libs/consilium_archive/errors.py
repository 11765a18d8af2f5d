"""What the archive refuses, and why; ``failure_reason`` is the STOW-RS status word (PS3.18 annex I.2)."""

from __future__ import annotations

from typing import Any, ClassVar

from consilium_core.errors import Conflict, Invalid, Mend, NotFound, Unavailable
from consilium_dicom.findings import Finding


class InstanceConflict(Conflict):
    """The SOP Instance UID is taken by other bytes; what is stored never changes."""

    code = "instance-conflict"
    failure_reason: ClassVar[int] = 0x0111


class PatientMismatch(Conflict):
    """The study is stored for another patient: one study never mixes two people."""

    code = "patient-mismatch"
    failure_reason: ClassVar[int] = 0xA900


class IdentityDiffers(PatientMismatch):
    """The study is stored for a person of another birth date, sex or name; ``found``: the findings. The writer holds it."""

    code = "identity-differs"

    def __init__(self, detail: str, found: tuple[Finding, ...], **facts: str) -> None:
        super().__init__(detail, **facts)
        self.found = found


class StudyMismatch(Invalid):
    """The instance belongs to another study than the one the request names (PS3.18 10.5.1)."""

    code = "study-mismatch"
    failure_reason: ClassVar[int] = 0xA900


class InstanceMismatch(Invalid):
    """The data set is another instance than the message says that carries it (PS3.4 B.2.3)."""

    code = "instance-mismatch"
    failure_reason: ClassVar[int] = 0xA900


class OriginalDamaged(Unavailable):
    """The stored file of an instance is missing or damaged in every place: its operator can restore it, whoever asks can't."""

    code = "original-damaged"
    mend: ClassVar[Mend] = "operator"


class OriginalArchived(Unavailable):
    """The stored file of an instance is in the store's archive; it is being restored (``restoring``), or its operator must have it done."""

    code = "original-archived"

    def __init__(self, detail: str, /, *, retry_after_s: float, restoring: bool, **facts: Any) -> None:
        super().__init__(detail, retry_after_s=retry_after_s, restoring=restoring, **facts)
        self.retry_after_s = retry_after_s
        if not restoring:
            self.mend = "operator"  # type: ignore[misc]  # nobody who only waits will see it


class QueryInvalid(Invalid):
    """The search names a key, a value or a page that can't be matched."""

    code = "query-invalid"


class NotArchived(NotFound):
    """No such study, series, instance or frame in the caller's tenant."""

    code = "not-archived"


class StudyTooLarge(Invalid):
    """The study has more instances than one receipt names; its transactions have receipts of their own."""

    code = "study-too-large"
    http_status: ClassVar[int] = 422


class InstanceRejected(Invalid):
    """Validation refuses the object; ``facts["findings"]`` say what is wrong, in both languages, and who can mend it."""

    code = "instance-rejected"

    def __init__(self, detail: str, failure_reason: int, findings: list[dict[str, str]], **facts: str) -> None:
        super().__init__(detail, findings=findings, failure_reason=failure_reason, **facts)
        self.failure_reason = failure_reason
        self.findings = findings
        self.http_status = _STATUS_OF_REASON.get(failure_reason, 422)


class InstanceDoubtful(Invalid):
    """Validation wants a person to look before the object is stored; the writer turns this into a quarantine entry."""

    code = "instance-doubtful"
    failure_reason: ClassVar[int] = 0x0110

    def __init__(self, detail: str, reasons: list[str], findings: list[dict[str, str]], **facts: str) -> None:
        super().__init__(detail, findings=findings, **facts)
        self.reasons = reasons
        self.findings = findings


class InstanceHeld(Conflict):
    """The object is durable but in quarantine: not to be found or read until a person has decided (0x0110 = processing failure)."""

    code = "instance-held"
    mend: ClassVar[Mend] = "operator"
    failure_reason: ClassVar[int] = 0x0110

    def __init__(self, detail: str, quarantine_id: str, findings: list[dict[str, str]], **facts: Any) -> None:
        super().__init__(detail, quarantine_id=quarantine_id, findings=findings, **facts)
        self.quarantine_id = quarantine_id
        self.findings = findings
        self.reasons: list[str] = facts.get("reasons", [])


class QuarantineRefused(Invalid):
    """The quarantine desk has refused exactly these bytes."""

    code = "quarantine-refused"
    http_status: ClassVar[int] = 422
    failure_reason: ClassVar[int] = 0xA900


_STATUS_OF_REASON = {0xC000: 400, 0x0122: 415, 0xC122: 415, 0xA700: 507, 0xA900: 422}
