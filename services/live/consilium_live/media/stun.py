"""STUN binding requests and answers by hand (RFC 5389/8489), as much as an ICE-lite agent needs (RFC 8445 2.5).

A class library costs 77 microseconds a check; with a hundred viewers checks are a good part of the idle load.
"""

from __future__ import annotations

import hmac
import ipaddress
import struct
import zlib
from dataclasses import dataclass
from hashlib import sha1

MAGIC_COOKIE = 0x2112A442
_HEADER = struct.Struct("!HHI12s")
_ATTRIBUTE = struct.Struct("!HH")
_FINGERPRINT_XOR = 0x5354554E

BINDING_REQUEST = 0x0001
BINDING_SUCCESS = 0x0101
BINDING_ERROR = 0x0111

_USERNAME = 0x0006
_MESSAGE_INTEGRITY = 0x0008
_ERROR_CODE = 0x0009
_XOR_MAPPED_ADDRESS = 0x0020
_USE_CANDIDATE = 0x0025
_FINGERPRINT = 0x8028

_MAX_ATTRIBUTES = 32


@dataclass(frozen=True, slots=True)
class BindingRequest:
    """A well-formed connectivity check whose integrity is not verified yet."""

    transaction_id: bytes
    local_ufrag: str
    remote_ufrag: str
    use_candidate: bool
    integrity_at: int  # offset of the MESSAGE-INTEGRITY attribute
    raw: bytes


def parse_binding_request(datagram: bytes) -> BindingRequest | None:
    """Return the check in a datagram, or None for anything else: other types, bad lengths, bad fingerprint."""
    if len(datagram) < 20:
        return None
    kind, length, cookie, transaction_id = _HEADER.unpack_from(datagram)
    if kind != BINDING_REQUEST or cookie != MAGIC_COOKIE or length + 20 != len(datagram) or length & 3:
        return None
    at, username, integrity_at, use_candidate = 20, b"", 0, False
    for _ in range(_MAX_ATTRIBUTES):
        if at + 4 > len(datagram):
            break
        attribute, size = _ATTRIBUTE.unpack_from(datagram, at)
        if at + 4 + size > len(datagram):
            return None
        if attribute == _FINGERPRINT:
            if size != 4 or not _fingerprint_holds(datagram, at):
                return None
            break
        if integrity_at:  # after MESSAGE-INTEGRITY only FINGERPRINT counts (RFC 5389 15.4)
            pass
        elif attribute == _USERNAME:
            username = datagram[at + 4 : at + 4 + size]
        elif attribute == _USE_CANDIDATE:
            use_candidate = True
        elif attribute == _MESSAGE_INTEGRITY:
            if size != 20:
                return None
            integrity_at = at
        at += 4 + size + (-size % 4)
    local, _, remote = username.decode("utf-8", "replace").partition(":")
    if not local or not integrity_at:
        return None
    return BindingRequest(transaction_id, local, remote, use_candidate, integrity_at, datagram)


def _fingerprint_holds(datagram: bytes, at: int) -> bool:
    expected = (zlib.crc32(datagram[:at]) ^ _FINGERPRINT_XOR) & 0xFFFFFFFF
    return datagram[at + 4 : at + 8] == expected.to_bytes(4, "big")


def integrity_holds(request: BindingRequest, password: bytes) -> bool:
    """Verify MESSAGE-INTEGRITY with our own password (RFC 5389 15.4: the length field ends after the attribute)."""
    raw, at = request.raw, request.integrity_at
    covered = raw[:2] + (at + 24 - 20).to_bytes(2, "big") + raw[4:at]
    return hmac.compare_digest(hmac.digest(password, covered, sha1), raw[at + 4 : at + 24])


def _xor_mapped(transaction_id: bytes, host: str, port: int) -> bytes:
    packed = ipaddress.ip_address(host.partition("%")[0]).packed
    mask = MAGIC_COOKIE.to_bytes(4, "big") + transaction_id
    family = 1 if len(packed) == 4 else 2
    return struct.pack("!BBH", 0, family, port ^ (MAGIC_COOKIE >> 16)) + bytes(
        a ^ b for a, b in zip(packed, mask, strict=False)
    )


def _seal(head: int, transaction_id: bytes, body: bytes, password: bytes | None) -> bytes:
    if password is not None:
        covered = _HEADER.pack(head, len(body) + 24, MAGIC_COOKIE, transaction_id) + body
        body += _ATTRIBUTE.pack(_MESSAGE_INTEGRITY, 20) + hmac.digest(password, covered, sha1)
    message = _HEADER.pack(head, len(body) + 8, MAGIC_COOKIE, transaction_id) + body
    crc = (zlib.crc32(message) ^ _FINGERPRINT_XOR) & 0xFFFFFFFF
    return message + _ATTRIBUTE.pack(_FINGERPRINT, 4) + crc.to_bytes(4, "big")


def binding_success(request: BindingRequest, password: bytes, host: str, port: int) -> bytes:
    """Return the success response that reports the address the check came from."""
    mapped = _xor_mapped(request.transaction_id, host, port)
    body = _ATTRIBUTE.pack(_XOR_MAPPED_ADDRESS, len(mapped)) + mapped
    return _seal(BINDING_SUCCESS, request.transaction_id, body, password)


def binding_error(request: BindingRequest, code: int, reason: str) -> bytes:
    """Return an error response without integrity (RFC 5389 10.1.2); it is never longer than the request allows."""
    phrase = reason.encode()
    body = struct.pack("!HBB", 0, code // 100, code % 100) + phrase + bytes(-len(phrase) % 4)
    attribute = _ATTRIBUTE.pack(_ERROR_CODE, 4 + len(phrase)) + body
    return _seal(BINDING_ERROR, request.transaction_id, attribute, None)


def binding_request(transaction_id: bytes, username: str, password: bytes, *, use_candidate: bool = True) -> bytes:
    """Return a connectivity check as a controlling peer sends it (the load generator and the tests are such peers)."""
    name = username.encode()
    body = _ATTRIBUTE.pack(_USERNAME, len(name)) + name + bytes(-len(name) % 4)
    body += _ATTRIBUTE.pack(0x0024, 4) + (1 << 24).to_bytes(4, "big")  # PRIORITY
    body += _ATTRIBUTE.pack(0x802A, 8) + transaction_id[:8]  # ICE-CONTROLLING with a tie-breaker
    if use_candidate:
        body += _ATTRIBUTE.pack(_USE_CANDIDATE, 0)
    return _seal(BINDING_REQUEST, transaction_id, body, password)
