"""What ingest refuses before or beside the archive's own refusals."""

from __future__ import annotations

from typing import ClassVar

from consilium_core.errors import Conflict, Invalid, NotFound


class MediaTypeUnsupported(Invalid):
    """The body is not one that STOW-RS takes here."""

    code = "unsupported-media-type"
    http_status: ClassVar[int] = 415


class AnswerNotAcceptable(Invalid):
    """The request accepts no media type that the answer can have."""

    code = "not-acceptable"
    http_status: ClassVar[int] = 406


class BodyInvalid(Invalid):
    """The multipart body is broken, empty, or ends too early."""

    code = "multipart-invalid"


class ObjectTooLarge(Invalid):
    """One object is larger than this archive takes."""

    code = "object-too-large"
    http_status: ClassVar[int] = 413
    failure_reason: ClassVar[int] = 0xA700


class NothingReadable(Invalid):
    """No part of the request is DICOM."""

    code = "nothing-readable"


class UploadNotFound(NotFound):
    """No such upload, or another site's."""

    code = "upload-not-found"


class UploadConflict(Conflict):
    """The offset is not where the upload stands; ask with HEAD."""

    code = "upload-offset-conflict"


class ChecksumMismatch(Invalid):
    """The chunk's bytes do not have the stated checksum (tus checksum extension, 460)."""

    code = "checksum-mismatch"
    http_status: ClassVar[int] = 460


class TusVersion(Invalid):
    """The request does not speak tus 1.0.0."""

    code = "tus-version"
    http_status: ClassVar[int] = 412


class UploadInvalid(Invalid):
    """A header of the tus protocol is missing or malformed."""

    code = "upload-invalid"


class UidInvalid(Invalid):
    """The path names no UID."""

    code = "uid-invalid"
