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


class VideoUnplayable(Conflict):
    """The stored video has no form that this request can be answered with."""

    code = "video-unplayable"
    http_status: ClassVar[int] = 406


class VideoHasNoFrames(Conflict):
    """A video is one stream: single frames of it are not stored."""

    code = "video-has-no-frames"
    http_status: ClassVar[int] = 406


class VideosFull(Exhausted):
    """The room for videos that are being played is used up."""

    code = "videos-full"


class RenderBusy(Exhausted):
    """Too many pictures wait to be drawn."""

    code = "render-busy"
