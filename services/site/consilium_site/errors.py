"""The agent's branch of the error tree; ``code`` is what results, events and logs carry."""

from __future__ import annotations

from typing import Any, ClassVar

from consilium_core.errors import Conflict, Corrupt, Denied, Gone, Invalid, Mend, NotFound, Unauthenticated, Unavailable


class ServerUnavailable(Unavailable):
    """No answer, a broken connection, or 5xx; ``retry_after_s`` when the server named it (SP-22)."""

    code = "server-unavailable"

    def __init__(self, detail: str, /, *, retry_after_s: float = 0.0, cut: bool = False, **facts: Any) -> None:
        super().__init__(detail, **facts)
        self.retry_after_s = retry_after_s
        self.cut = cut


class ServerRefused(Invalid):
    """The server understood and said no (4xx other than those below)."""

    code = "server-refused"

    def __init__(self, detail: str, /, *, status: int, **facts: Any) -> None:
        super().__init__(detail, status=status, **facts)
        self.status = status


class IdentityRefused(Unauthenticated):
    """The refresh secret is no longer good: the site was revoked (SP-12)."""

    code = "identity-refused"
    mend: ClassVar[Mend] = "admin"


class EnrolmentRefused(Denied):
    """The one-time code is wrong, used or expired: make a new one on the sites page (SP-10)."""

    code = "enrolment-refused"


class NotEnrolled(Unauthenticated):
    """No identity on disk and no code in the settings."""

    code = "not-enrolled"
    mend: ClassVar[Mend] = "operator"


class SessionRequired(Conflict):
    """The server does not know this boot of the agent: say hello again (SP-13)."""

    code = "session-required"
    mend: ClassVar[Mend] = "retry"


class ForeignOrigin(Denied):
    """A URL points away from the server that the token belongs to (SP-03)."""

    code = "foreign-origin"


class StreamGone(Gone):
    """The room does not want this stream any more: WHIP answered 403, 404 or 410 (SP-40)."""

    code = "gone"


class StreamPaused(Unavailable):
    """The room exists but takes no picture now (WHIP 409): ask less often until a command comes."""

    code = "stream-paused"


class SettingsInvalid(Invalid):
    """A setting is unknown or out of range."""

    code = "settings-invalid"
    mend: ClassVar[Mend] = "operator"


class NoSignal(Unavailable):
    """The capture source gives no picture."""

    code = "no-signal"
    mend: ClassVar[Mend] = "operator"


class SourceFailed(Unavailable):
    """The capture source cannot be opened; ``detail`` says what a person can do."""

    code = "source-failed"
    mend: ClassVar[Mend] = "operator"


class FrameNotKept(NotFound):
    """The named frame is not among the frames of the last minute (SP-43)."""

    code = "frame-not-kept"


class NotPublishing(Conflict):
    """Nothing is published into the room, so nothing of it can be captured (SP-45)."""

    code = "not-publishing"


class SpoolFull(Unavailable):
    """The spool has reached its limit; nothing unacknowledged is ever evicted."""

    code = "spool-full"
    mend: ClassVar[Mend] = "operator"


class UploadRejected(Invalid):
    """Ingest refuses this object for good (SP-37)."""

    code = "upload-rejected"


class UploadHeld(Conflict):
    """The archive keeps this object in quarantine until a person decides; the entry stays and is asked for again (SP-35)."""

    code = "upload-held"
    mend: ClassVar[Mend] = "operator"
    retry_after_s: ClassVar[float] = 60.0


class ChecksumMismatch(Unavailable):
    """One chunk arrived damaged (tus 460): send it again."""

    code = "checksum-mismatch"


class OffsetConflict(Conflict):
    """The server holds another offset (tus 409): ask and continue there."""

    code = "offset-conflict"
    mend: ClassVar[Mend] = "retry"


class UploadGone(Gone):
    """The upload resource no longer exists (tus 404/410): create it anew."""

    code = "upload-gone"
    mend: ClassVar[Mend] = "retry"


class ReceiptMismatch(Corrupt):
    """The receipt names other bytes than ours: the entry stays in the spool."""

    code = "receipt-mismatch"


class StateInUse(Conflict):
    """Another agent runs on the same state folder."""

    code = "state-in-use"
    mend: ClassVar[Mend] = "operator"


class StateUnreadable(Corrupt):
    """A file in the state folder is damaged."""

    code = "state-unreadable"


class MediaLibraryChanged(Corrupt):
    """aiortc no longer has the part that we hook into."""

    code = "media-library-changed"
