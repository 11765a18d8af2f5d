"""Decode text by Specific Character Set (PS3.3 C.12.1.1.2, PS3.5 6.1.2), with pydicom's tables and its leniency.

Unlike pydicom's own function it never warns: text that does not decode gets replacement characters, and
``validate`` reports it.
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache

from pydicom.charset import (
    CODES_TO_ENCODINGS,
    STAND_ALONE_ENCODINGS,
    default_encoding,
    handled_encodings,
    python_encoding,
)

_TEXT_DELIMITERS = re.compile(rb"[\r\n\t\f]")
_FRAGMENTS = re.compile(rb"(^[^\x1b]+|\x1b[^\x1b]*)")
Encodings = tuple[str, ...]
DEFAULT: Encodings = (default_encoding,)
_GB2312 = "iso_ir_58"  # pydicom passes its escape sequence on into the text


def _python_name(term: str) -> str:
    if term in python_encoding:
        return python_encoding[term]
    if re.match("^ISO[^_]IR", term):
        return python_encoding.get("ISO_IR" + term[6:], default_encoding)
    if re.match("^ISO.2022.IR.", term):
        return python_encoding.get("ISO 2022 IR " + term[12:], default_encoding)
    try:
        codecs.lookup(term)
    except (LookupError, ValueError):
        return default_encoding
    return term


@lru_cache(maxsize=256)
def encodings_of(value: bytes) -> Encodings:
    """Return the Python codecs for a raw Specific Character Set value; unknown terms mean the default repertoire."""
    text = value.decode("latin_1")
    terms = [term.strip(" \0") for term in text.split("\\")]
    if not terms[0]:
        terms[0] = "ISO_IR 6"
    names = [_python_name(term) for term in terms]
    if len(names) == 1 or terms[0] in STAND_ALONE_ENCODINGS:
        return (names[0],)
    return (names[0], *(n for t, n in zip(terms[1:], names[1:], strict=True) if t not in STAND_ALONE_ENCODINGS))


def decode(value: bytes, encodings: Encodings) -> str:
    """Return text decoded with code extensions; undecodable bytes become U+FFFD."""
    if b"\x1b" not in value:
        return value.decode(encodings[0], "replace")
    return "".join(_fragment(part, encodings) for part in _FRAGMENTS.findall(value))


def _fragment(part: bytes, encodings: Encodings) -> str:
    try:
        return _escaped(part, encodings) if part.startswith(b"\x1b") else part.decode(encodings[0])
    except UnicodeError:
        return part.decode(encodings[0], "replace")


def _escaped(part: bytes, encodings: Encodings) -> str:
    """Decode one fragment that begins with an escape sequence; a delimiter ends its effect (PS3.5 6.1.2.5.3)."""
    length = 4 if part.startswith((b"\x1b$(", b"\x1b$)")) else 3
    encoding = CODES_TO_ENCODINGS.get(part[:length], "")
    if not encoding or (encoding not in encodings and encoding != default_encoding):
        return part.decode(encodings[0], "replace")
    if encoding in handled_encodings and encoding != _GB2312:
        return part.decode(encoding)
    part = part[length:]
    if encoding == _GB2312:
        encoding = "gb18030"  # its superset: what devices write under ISO-IR 58 is often GBK
    delimiter = _TEXT_DELIMITERS.search(part)
    if delimiter is None:
        return part.decode(encoding)
    at = delimiter.start()
    return part[:at].decode(encoding) + part[at:].decode(encodings[0])
