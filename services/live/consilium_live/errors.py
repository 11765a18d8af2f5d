"""What can go wrong in a room; branches of ``consilium_core.errors`` with stable codes."""

from __future__ import annotations

from typing import ClassVar

from consilium_core.errors import Conflict, Denied, Exhausted, Gone, Invalid, NotFound


class RoomNotFound(NotFound):
    """No such room in the caller's tenant."""

    code = "room-not-found"


class RoomConflict(Conflict):
    """The room's id or consultation is taken by a room for another patient or study."""

    code = "room-conflict"


class RoomEnded(Gone):
    """The room has ended and never opens again."""

    code = "room-ended"


class RoomFull(Exhausted):
    """As many people are in the room as it takes."""

    code = "room-full"


class TooManySessions(RoomFull):
    """One person is connected as often as one person may be."""

    code = "too-many-sessions"


class SiteUnknown(Invalid):
    """A room was to be opened for a site that is not there."""

    code = "site-unknown"


class ForeignSite(Denied):
    """A site tried to publish into a room that is another site's."""

    code = "foreign-site"


class RoomPaused(Conflict):
    """The stream was stopped by the host; it must be started before anything is published."""

    code = "room-paused"


class RoomNotLive(Conflict):
    """No picture flows in the room now; come back later (in ``retry_after_s``, where it is known)."""

    code = "room-not-live"


class SessionNotFound(NotFound):
    """The WHIP or WHEP session is not there (any more)."""

    code = "session-not-found"


class SdpTooLarge(Invalid):
    """The body is larger than any session description needs."""

    code = "too-large"
    http_status: ClassVar[int] = 413


class MediaTypeUnsupported(Invalid):
    """The body is not of the type that this address takes."""

    code = "unsupported-media-type"
    http_status: ClassVar[int] = 415


class PreconditionRequired(Invalid):
    """PATCH needs ``If-Match`` (RFC 9725 4.3.1)."""

    code = "precondition-required"
    http_status: ClassVar[int] = 428


class PreconditionFailed(Conflict):
    """``If-Match`` names another ICE session (RFC 9725 4.3.1)."""

    code = "precondition-failed"
    http_status: ClassVar[int] = 412


class IceRestartUnsupported(Invalid):
    """A fragment that restarts ICE; the session goes on as it was (RFC 9725 4.3.2)."""

    code = "ice-restart-unsupported"
    http_status: ClassVar[int] = 422


class Malformed(Invalid):
    """A WebSocket frame that is not a message of ``consilium.room.v1``."""

    code = "malformed"
