"""What imaging refuses."""

from __future__ import annotations

from typing import ClassVar

from consilium_core.errors import Conflict, Exhausted, Invalid


class NotAcceptable(Invalid):
    """No media type that the client accepts can be made of this resource."""

    code = "not-acceptable"
    http_status: ClassVar[int] = 406


class RequestInvalid(Invalid):
    """A path or query parameter does not fit."""

    code = "imaging-request-invalid"


class NotAPicture(Conflict):
    """The instance has no frames that can be drawn."""

    code = "not-a-picture"
    http_status: ClassVar[int] = 406


class RenderBusy(Exhausted):
    """Too many pictures wait to be drawn."""

    code = "render-busy"
