"""Enrolment codes: ten characters that survive a telephone, and the digests that stand for secrets in the database."""

from __future__ import annotations

import hashlib
import secrets

ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # no 0/O, 1/I/L, U/V confusion; 30 letters: 49 bits in ten
CODE_LENGTH = 10


def new_code() -> str:
    """Return a random code of ten unambiguous characters."""
    return "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))


def normal(code: str) -> str:
    """Return the code as issued: people write it in lower case, with spaces or hyphens."""
    return "".join(c for c in code.upper() if c.isalnum())


def new_secret() -> str:
    """Return 256 random bits for URLs, cookies and files."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """Return SHA-256 (hex); enough for secrets of full entropy and for codes that live minutes."""
    return hashlib.sha256(secret.encode()).hexdigest()
