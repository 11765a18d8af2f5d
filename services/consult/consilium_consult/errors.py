"""What can be wrong with a patient, a consultation or a report."""

from __future__ import annotations

from typing import ClassVar

from consilium_core.errors import Conflict, Corrupt, Denied, Exhausted, Invalid, NotFound


class PatientNotFound(NotFound):
    """No such patient in this tenant."""

    code = "patient-not-found"


class PatientExists(Conflict):
    """The hospital's number is already in use by another person."""

    code = "patient-exists"


class ConsultationNotFound(NotFound):
    """No such consultation in this tenant."""

    code = "consultation-not-found"


class ReportNotFound(NotFound):
    """No such report in this tenant."""

    code = "report-not-found"


class TransitionRefused(Conflict):
    """The state machine does not go there from here."""

    code = "transition-refused"


class AlreadyAccepted(Conflict):
    """Somebody else was faster."""

    code = "already-accepted"


class SiteNeeded(Invalid):
    """A live consultation needs a hospital whose picture is shown."""

    code = "site-needed"


class ReportLocked(Conflict):
    """A signed report can't be changed; an addendum can be signed beside it."""

    code = "report-locked"


class ReportChanged(Conflict):
    """Somebody saved in between: compare and merge."""

    code = "report-changed"
    http_status: ClassVar[int] = 412


class VersionNeeded(Invalid):
    """``If-Match`` with the version that was read is needed (RFC 6585 3)."""

    code = "if-match-needed"
    http_status: ClassVar[int] = 428


class ReasonNeeded(Invalid):
    """After submission every change says why."""

    code = "reason-needed"


class ReportEmpty(Invalid):
    """Findings or impression are needed before a report goes on."""

    code = "report-empty"


class SignatureRefused(Denied):
    """The signer is the author, or does not stand above the author, or the password is wrong."""

    code = "signature-refused"


class SignatureBroken(Corrupt):
    """A signed report does not match the hash in its signature: somebody changed the database behind our back."""

    code = "signature-broken"
    mend = "admin"


class FontMissing(Invalid):
    """The font that printed reports embed is not installed."""

    code = "font-missing"
    mend = "operator"
    http_status: ClassVar[int] = 503


class PrinterBusy(Exhausted):
    """Too many prints wait already."""

    code = "printer-busy"
