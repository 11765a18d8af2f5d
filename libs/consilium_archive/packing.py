"""Metadata that is compressed once, at store time, and joined without being opened.

Each instance's JSON is kept as raw deflate (RFC 1951) that ends in a sync flush: whole bytes, no final block, no reference to
earlier data. Such pieces can be strung together into one zlib stream (RFC 1950, HTTP's ``deflate`` coding), whose Adler-32
is computed from the pieces' own: a series of 600 instances is answered without inflating or encoding anything.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_BASE = 65521
_ZLIB_HEADER = b"\x78\x9c"
_FINAL_BLOCK = b"\x03\x00"


@dataclass(frozen=True, slots=True)
class Packed:
    """One piece: its deflated bytes, the plain length in bytes, and the plain Adler-32."""

    data: bytes
    plain_bytes: int
    adler: int


def pack(plain: bytes, level: int = 1) -> Packed:
    """Compress one piece."""
    engine = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    data = engine.compress(plain) + engine.flush(zlib.Z_SYNC_FLUSH)
    return Packed(data, len(plain), zlib.adler32(plain))


def unpack(data: bytes) -> bytes:
    """Return one piece's, or several joined pieces', plain bytes."""
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data)


def adler_combine(first: int, second: int, second_bytes: int) -> int:
    """Return the Adler-32 of two strings joined, from each one's and the second's length (RFC 1950 section 9)."""
    a1, b1, a2, b2 = first & 0xFFFF, first >> 16, second & 0xFFFF, second >> 16
    a = (a1 + a2 - 1) % _BASE
    b = (b1 + b2 + second_bytes * (a1 - 1)) % _BASE
    return b << 16 | a


_OPEN, _COMMA, _CLOSE = pack(b"["), pack(b","), pack(b"]")


def json_array(pieces: Iterable[Packed]) -> Iterator[Packed]:
    """Yield the pieces of a JSON array around the given objects."""
    before = _OPEN
    empty = True
    for piece in pieces:
        yield before
        yield piece
        before, empty = _COMMA, False
    if empty:
        yield _OPEN
    yield _CLOSE


def zlib_stream(pieces: Iterable[Packed]) -> bytes:
    """Return the pieces as one zlib stream: the body of ``Content-Encoding: deflate``."""
    out, adler = [_ZLIB_HEADER], 1
    for piece in pieces:
        out.append(piece.data)
        adler = adler_combine(adler, piece.adler, piece.plain_bytes)
    out += [_FINAL_BLOCK, adler.to_bytes(4, "big")]
    return b"".join(out)


def plain(pieces: Iterable[Packed]) -> bytes:
    """Return the pieces inflated and joined."""
    return unpack(b"".join(piece.data for piece in pieces))
