"""What a sender says of an object's bytes: Content-Length and Content-Digest (RFC 9530), of a part or of a whole body."""

from __future__ import annotations

import base64
import binascii
import re

from consilium_dicom.transport import NOTHING_STATED, Stated
from consilium_ingest.errors import BodyInvalid

_SHA256 = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]+):")


def stated_of(length: str, digest: str) -> Stated:
    """Return the length and the SHA-256 of two header fields; other algorithms are left alone. Raise BodyInvalid for nonsense."""
    if not length and not digest:
        return NOTHING_STATED
    if length and not (length.isdecimal() and len(length) < 16):
        raise BodyInvalid("A part's Content-Length is not a number.")
    found = _SHA256.search(digest)
    sha256 = ""
    if found is not None:
        try:
            sha256 = base64.b64decode(found[1], validate=True).hex()
        except binascii.Error as problem:
            raise BodyInvalid("Content-Digest holds no base64 (RFC 9530).") from problem
        if len(sha256) != 64:
            raise BodyInvalid("Content-Digest holds no SHA-256 (RFC 9530).")
    return Stated(int(length) if length else None, sha256)
