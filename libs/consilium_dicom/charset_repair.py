"""Find text whose character set is stated wrongly or not at all, and read it right where only one reading is possible.

The stored bytes are never touched: a repair is a choice of codecs for the index, the JSON metadata and the screens. It is made
only if every text of the data set decodes strictly and encodes back to the same bytes (round trip), and if exactly one script
is plausible; else the text is unsafe and ``validate`` says so. Stated multi-byte sets are believed as long as they decode
(PS3.3 C.12.1.1.2); ISO_IR 100 and no statement at all are what devices write whose text is really GBK, UTF-8, Shift JIS or EUC-KR.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from pydicom.charset import CODES_TO_ENCODINGS

from consilium_dicom.charset import DEFAULT, Encodings, decode, encodings_of
from consilium_dicom.charset_scripts import (
    all_han,
    looks_chinese,
    looks_japanese,
    looks_korean,
    looks_latin,
    looks_western,
    opens_with_surname,
)
from consilium_dicom.scan import Scan
from consilium_dicom.structure import dictionary_vr

Kind = Literal["trusted", "repaired", "assumed", "unsafe"]
TEXT_VRS = frozenset({b"LO", b"SH", b"PN", b"ST", b"LT", b"UT", b"UC"})
_MAX_TEXT_BYTES, _MOST_TEXT_BYTES = 65_536, 1 << 17
_CACHED_BYTES = 4096
_CHARACTER_SET, _NAME = 0x00080005, 0x00100010
_CANDIDATES = {"GB18030": "gb18030", "ISO 2022 IR 149": "cp949", "ISO_IR 13": "cp932"}
_PLAUSIBLE = {"GB18030": looks_chinese, "ISO 2022 IR 149": looks_korean, "ISO_IR 13": looks_japanese}
_BARE = {"iso_ir_58": "gb2312", "euc_kr": "euc_kr"}  # G1 sets that some writers use without designating them
Texts = tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class CharsetReading:
    """How a data set's text is read.

    ``trusted``: as stated. ``repaired``: by ``encodings`` instead, whose DICOM term is ``term``. ``assumed``: nothing was stated
    and Latin 1 fits. ``unsafe``: no single reading fits; ``tags`` are the elements concerned.
    """

    kind: Kind
    encodings: Encodings
    stated: bytes = b""
    term: str = ""
    tags: tuple[int, ...] = ()


TRUSTED = CharsetReading("trusted", DEFAULT)


def read_charset(source: Scan) -> CharsetReading:
    """Return how the texts of the top-level data set are to be read; some 20 µs when all of them are ASCII."""
    stated = source.value(_CHARACTER_SET)
    texts = _unusual(source)
    if not texts:
        return TRUSTED if not stated else CharsetReading("trusted", encodings_of(stated), stated)
    small = sum(len(raw) for _, raw in texts) <= _CACHED_BYTES
    return assess(stated, texts) if small else assess.__wrapped__(stated, texts)


def _unusual(source: Scan) -> Texts:
    """Return the texts that are more than plain ASCII; past 128 KiB no more are needed to tell a script."""
    found = []
    buffer, room = source.buffer, _MOST_TEXT_BYTES
    for tag, (vr, at, length) in source.elements.items():
        if not 0 < length <= _MAX_TEXT_BYTES or (vr or dictionary_vr(tag)) not in TEXT_VRS:
            continue
        raw = bytes(buffer[at : at + length])
        if not raw.isascii() or b"\x1b" in raw:
            found.append((tag, raw))
            room -= length
            if room < 0:
                break
    return tuple(found)


@lru_cache(maxsize=512)
def assess(stated: bytes, texts: Texts) -> CharsetReading:
    """Return how ``texts`` (tag, raw value) under the raw Specific Character Set ``stated`` are to be read."""
    encodings = encodings_of(stated) if stated else DEFAULT
    first = stated.split(b"\\")[0].strip(b" \0").decode("latin_1")
    values = [raw for _, raw in texts]
    if any(b"\x1b" in raw for raw in values) or b"\\" in stated:
        found = _with_extensions(stated, encodings, texts)
        if found is not None:
            return found
    if first not in {"", "ISO_IR 6", "ISO 2022 IR 6", "ISO_IR 100", "ISO 2022 IR 100"}:
        if all(_exact(raw, encodings[0]) for raw in values) and not _is_utf8_instead(first, values):
            return CharsetReading("trusted", encodings, stated)
        return _chosen(stated, encodings, texts)
    latin = all(looks_latin(raw.decode("latin_1")) for raw in values)
    if latin and "100" in first:
        return CharsetReading("trusted", encodings, stated)
    found = _chosen(stated, encodings, texts)
    if found.kind == "unsafe" and latin:
        return CharsetReading("assumed", ("latin_1",), stated, "ISO_IR 100")
    return found


def _exact(raw: bytes, encoding: str) -> bool:
    """Tell whether the bytes decode strictly and come back the same."""
    try:
        return raw.decode(encoding).encode(encoding) == raw
    except (UnicodeError, LookupError):
        return False


def _clean(raw: bytes, encodings: Encodings) -> bool:
    text = decode(raw, encodings)
    return "\ufffd" not in text and "\x1b" not in text


def _with_extensions(stated: bytes, encodings: Encodings, texts: Texts) -> CharsetReading | None:
    """Judge values with escape sequences or bare G1 sets (PS3.5 6.1.2.5.3); None: it is not a matter of extensions."""
    escaped = [raw for _, raw in texts if b"\x1b" in raw]
    bare = [raw for _, raw in texts if b"\x1b" not in raw]
    if all(_clean(raw, encodings) for raw in escaped) and all(_bare_clean(raw, encodings) for raw in bare):
        return CharsetReading("trusted", encodings, stated)
    wide = (encodings[0], *_announced(escaped))
    if escaped and all(_clean(raw, wide) for raw in escaped) and all(_bare_clean(raw, wide) for raw in bare):
        return CharsetReading("repaired", wide, stated, _terms(wide))
    for declared in encodings[1:]:
        codec = _BARE.get(declared)
        if codec and bare and all(_exact(raw, codec) for raw in bare):
            mixed = (codec, *encodings[1:])
            if all(_clean(raw, mixed) for raw in escaped):
                return CharsetReading("repaired", mixed, stated, _terms(mixed))
    if escaped:
        return CharsetReading("unsafe", encodings, stated, tags=_tags(texts))
    return None


def _bare_clean(raw: bytes, encodings: Encodings) -> bool:
    """Tell whether a value without escapes is what the first set says; the default repertoire has no high bytes."""
    if encodings[0] in {DEFAULT[0], "latin_1", "iso8859"}:
        return raw.isascii() or looks_latin(raw.decode("latin_1"))
    return _exact(raw, encodings[0])


def _announced(escaped: list[bytes]) -> tuple[str, ...]:
    """Return the codecs that the values' own escape sequences name; () when one of them is unknown."""
    found: dict[str, None] = {}
    for raw in escaped:
        for part in raw.split(b"\x1b")[1:]:
            code = b"\x1b" + part
            codec = CODES_TO_ENCODINGS.get(code[: 4 if code.startswith((b"\x1b$(", b"\x1b$)")) else 3])
            if codec is None:
                return ()
            found[codec] = None
    return tuple(found)


_TERM_OF = {
    "gb2312": "ISO 2022 IR 58", "iso_ir_58": "ISO 2022 IR 58", "euc_kr": "ISO 2022 IR 149", "cp949": "ISO 2022 IR 149",
    "iso2022_jp": "ISO 2022 IR 87", "iso2022_jp_2": "ISO 2022 IR 159", "shift_jis": "ISO 2022 IR 13", "gb18030": "GB18030",
}  # fmt: skip


def _terms(encodings: Encodings) -> str:
    return "\\".join(dict.fromkeys(_TERM_OF.get(codec, "ISO 2022 IR 6") for codec in encodings))


def _is_utf8_instead(first: str, values: list[bytes]) -> bool:
    """Tell whether text stated as GB18030 or GBK is really UTF-8: it would also decode, into characters nobody writes."""
    if first not in {"GB18030", "GBK"} or not all(_exact(raw, "utf-8") for raw in values):
        return False
    return looks_chinese([raw.decode("utf-8") for raw in values]) and not looks_chinese(
        [raw.decode("gb18030") for raw in values]
    )


def _says_utf8(decoded: list[str]) -> bool:
    """Tell whether a UTF-8 reading is the writer's: pairs of bytes alone occur in GBK too (``平扫`` would be ``ƽɨ``)."""
    wide = any(c > "\u07ff" for text in decoded for c in text)
    return wide or (
        all(looks_western(text) for text in decoded) and any("\xc0" <= c <= "\u017f" for text in decoded for c in text)
    )


def _chosen(stated: bytes, encodings: Encodings, texts: Texts) -> CharsetReading:
    """Return the one plausible reading of text that is not what its label says, or ``unsafe``."""
    values = [raw for _, raw in texts]
    if all(_exact(raw, "utf-8") for raw in values) and _says_utf8([raw.decode("utf-8") for raw in values]):
        return CharsetReading("repaired", ("utf-8",), stated, "ISO_IR 192")
    readings = {
        term: [raw.decode(codec) for raw in values]
        for term, codec in _CANDIDATES.items()
        if all(_exact(raw, codec) for raw in values)
    }
    plausible = [term for term, decoded in readings.items() if _PLAUSIBLE[term](decoded)]
    name = next((number for number, (tag, _) in enumerate(texts) if tag == _NAME), None)
    if name is not None:
        plausible = _by_surname(plausible, readings, name)
    if len(plausible) == 1:
        return CharsetReading("repaired", (_CANDIDATES[plausible[0]],), stated, plausible[0])
    return CharsetReading("unsafe", encodings, stated, tags=_tags(texts))


def _by_surname(plausible: list[str], readings: dict[str, list[str]], name: int) -> list[str]:
    """Let the surname decide between scripts; one of rare characters also makes a Chinese reading possible."""
    chinese = readings.get("GB18030")
    if chinese and "GB18030" not in plausible and all_han(chinese) and opens_with_surname("GB18030", chinese[name]):
        plausible = [*plausible, "GB18030"]
    if len(plausible) < 2:
        return plausible
    return [term for term in plausible if opens_with_surname(term, readings[term][name])]


def _tags(texts: Texts) -> tuple[int, ...]:
    return tuple(tag for tag, _ in texts)
