"""Signed statements for others to keep: JWS in compact form (RFC 7515 7.1), Ed25519 (RFC 8037, RFC 9864), verified without us.

A statement is no token: its ``typ`` says what it is (RFC 8725 3.11), it has neither issuer nor audience, and it doesn't expire. The payload is
canonical JSON (sorted names, no spaces, UTF-8), so that the same content signed by the same key is the same text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OKPKey

from consilium_core.errors import Invalid

ALGORITHMS = ["Ed25519"]
# A receipt of 20,000 instances whose UIDs all have 64 characters has a payload of 11 MiB; base64 makes it a third longer.
MAX_STATEMENT_BYTES = 32 << 20
_SIGNER = "receipts"  # the key that may state something: the others sign tokens only


class StatementRefused(Invalid):
    """The text is no statement of this kind, was changed, or is signed by nobody whose key is known."""

    code = "statement-refused"


@dataclass(frozen=True, slots=True)
class Statement:
    """What a verified statement says, and which key signed it (RFC 7638 thumbprint)."""

    content: dict[str, Any]
    key_id: str
    thumbprint: str


def _sizes() -> jws.JWSRegistry:
    """Return joserfc's rules with room for long statements: by default it refuses payloads above 128 kB."""
    registry = jws.JWSRegistry(algorithms=ALGORITHMS)
    registry.max_payload_length = MAX_STATEMENT_BYTES
    return registry


def canonical(content: Mapping[str, Any]) -> bytes:
    """Return JSON that is the same for the same content."""
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


class StatementSigner:
    """Signs statements with one private key, which signs nothing else."""

    def __init__(self, key: OKPKey) -> None:
        self._key = key

    @property
    def key(self) -> tuple[str, str]:
        """Return the key's id and its RFC 7638 thumbprint."""
        return str(self._key.kid), self._key.thumbprint()

    def state(self, kind: str, content: Mapping[str, Any]) -> str:
        """Return ``content`` as a signed statement of a kind."""
        return sign_statement(self._key, kind, content)


def sign_statement(key: OKPKey, kind: str, content: Mapping[str, Any]) -> str:
    """Return the compact JWS of ``content``; ``kind`` is its media type without ``application/``. Raise ValueError when it is too large."""
    payload = canonical(content)
    if len(payload) > MAX_STATEMENT_BYTES // 4 * 3:
        raise ValueError("the statement is too large")
    header = {"alg": "Ed25519", "kid": key.kid, "typ": kind}
    return jws.serialize_compact(header, payload, key, registry=_sizes())


def verify_statement(text: str, keys: KeySet, kind: str) -> Statement:
    """Return what the statement says; raise StatementRefused. Needs nothing but the public keys."""
    try:
        found = jws.deserialize_compact(text.strip(), keys, registry=_sizes())
        content = json.loads(found.payload)
        key = keys.get_by_kid(str(found.headers().get("kid")))
    except (JoseError, ValueError, RecursionError) as problem:
        raise StatementRefused("The signature is not one of the given keys, or the text was changed.") from problem
    key_id = str(found.headers()["kid"])
    if found.headers().get("typ") != kind or not isinstance(content, dict):
        raise StatementRefused(f"The text is signed, but is no {kind}.")
    if key_id.partition(".")[0] != _SIGNER:
        raise StatementRefused("The text is signed by a key that states nothing.")
    return Statement(content, key_id, key.thumbprint())
