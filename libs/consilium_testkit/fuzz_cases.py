"""Broken DICOM files for the fuzzer: a real file and a list of edits, so that a case is small, repeatable and no patient's file.

``Cases.draw`` makes one; ``Case.data`` is its bytes; ``minimised`` drops every edit that the failure does not need. Edits know where
elements and fragments of the unbroken file lie: lengths, pixel module and tables are hit far more often than by chance.
"""

from __future__ import annotations

import json
import random
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pydicom

from consilium_dicom.errors import DicomInvalid
from consilium_dicom.frames import walk_fragments
from consilium_dicom.header import header_of
from consilium_dicom.scan import UNDEFINED, scan

Edit = tuple[int, int, bytes]
"""At which byte, how many bytes go, what comes instead."""
_ITEM = b"\xfe\xff\x00\xe0"
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_NUMBERS = (0, 1, 2, 7, 8, 0x7F, 0xFF, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
_PIXEL_MODULE = (
    0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103,
    0x00281050, 0x00281051, 0x00281052, 0x00281053, 0x00281101, 0x00281201,
)  # fmt: skip
_CHARSETS = (
    "ISO_IR 100", "ISO_IR 192", "GB18030", "GBK", "ISO 2022 IR 58", "ISO 2022 IR 6\\ISO 2022 IR 87", "ISO 2022 IR 149",
    "\\ISO 2022 IR 13", "ISO_IR 13", "utf-8", "ISO_IR 999", "\\", "",
)  # fmt: skip
_TEXTS = (
    b"\xff\xfe",
    b"\x1b$B\x1b(B",
    b"\x1b$)A\xb0\xa1",
    b"\x81\x30\x81\x30",
    b"=\\^^",
    b"\0",
    "王^小东".encode("gb18030"),
)
LARGEST_BYTES = 300_000


@dataclass(frozen=True, slots=True)
class Case:
    """A base file's name, the edits in order, and whether the data set is deflated afterwards."""

    base: str
    edits: tuple[Edit, ...]
    deflated: bool = False

    def data(self, bases: Bases) -> bytes:
        """Return the broken file."""
        out = bytearray(bases.read(self.base))
        for at, removed, put in self.edits:
            out[at : at + removed] = put
        return _deflated(bytes(out)) if self.deflated else bytes(out)

    def to_json(self) -> dict[str, Any]:
        """Return the case as it is kept."""
        edits = [[at, removed, put.hex()] for at, removed, put in self.edits]
        return {"base": self.base, "edits": edits, "deflated": self.deflated}

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Case:
        """Return the case that ``to_json`` wrote."""
        edits = tuple((at, removed, bytes.fromhex(put)) for at, removed, put in body["edits"])
        return cls(body["base"], edits, body["deflated"])


def _deflated(data: bytes) -> bytes:
    """Return the file with its data set deflated, behind a meta group that says so."""
    try:
        at = scan(data, to_pixels=True).dataset_offset
    except DicomInvalid:
        at = min(132, len(data))
    engine = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = engine.compress(data[at:]) + engine.flush()
    meta = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(_DEFLATED)) + _DEFLATED
    return bytes(128) + b"DICM" + meta + body


class Bases:
    """The files that are broken: pydicom's own and those of a folder, by name."""

    def __init__(self, folder: Path | None) -> None:
        roots = {"pydicom": Path(pydicom.__file__).parent / "data"} | ({"shared": folder} if folder else {})
        self._paths: dict[str, Path] = {}
        for name, root in roots.items():
            for path in sorted(root.rglob("*.dcm")):
                if path.stat().st_size <= LARGEST_BYTES:
                    self._paths[f"{name}/{path.relative_to(root).as_posix()}"] = path
        self.names = list(self._paths)
        self._kept: dict[str, bytes] = {}

    def __contains__(self, name: str) -> bool:
        return not name or name in self._paths

    def read(self, name: str) -> bytes:
        """Return a file's bytes; "" is the empty file, all of whose content is edits."""
        if not name:
            return b""
        if name not in self._kept:
            self._kept[name] = self._paths[name].read_bytes()
        return self._kept[name]


@dataclass(frozen=True, slots=True)
class _Places:
    """Where things lie in an unbroken file: (tag, value offset, length) of elements, offsets of item heads, of the data set."""

    elements: tuple[tuple[int, int, int], ...]
    items: tuple[int, ...]
    dataset: int
    size: int


def _places(data: bytes) -> _Places:
    try:
        source = scan(data)
        if source.inflated:
            return _Places((), (), source.dataset_offset, len(data))
        elements = tuple((tag, one[1], one[2]) for tag, one in source.elements.items())
        header = header_of(source)
        items: tuple[int, ...] = ()
        if header.has_pixels and header.encapsulated:
            found = walk_fragments(data, header.pixel_offset).segments
            items = (header.pixel_offset, *(at - 8 for at, _ in found))
        return _Places(elements, items, source.dataset_offset, len(data))
    except DicomInvalid:
        return _Places((), (), 0, len(data))


class Cases:
    """Draws cases from ``bases`` by ``chance``."""

    def __init__(self, bases: Bases, chance: random.Random) -> None:
        self.bases = bases
        self._chance = chance
        self._known: dict[str, _Places] = {}

    def draw(self) -> Case:
        """Return the next case."""
        chance, name = self._chance, self._chance.choice(self.bases.names)
        data = self.bases.read(name)
        if name not in self._known:
            self._known[name] = _places(data)
        places, edits = self._known[name], []
        for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
            edits.append(chance.choice(_EDITS)(self, data, places))
        # from the end on, so that what is known of the places in front still holds
        edits.sort(key=lambda edit: -edit[0])
        return Case(name, tuple(edits), chance.random() < 0.08)

    def _anywhere(self, places: _Places) -> int:
        """Return a place; mostly near the beginning, where the elements are."""
        return int(self._chance.random() ** 3 * max(places.size - 1, 0))

    def _element(self, places: _Places) -> tuple[int, int, int]:
        if not places.elements:
            return 0, self._anywhere(places), 4
        return self._chance.choice(places.elements)

    def _flip(self, data: bytes, places: _Places) -> Edit:
        at = self._anywhere(places)
        return at, 1, bytes([data[at] ^ (1 << self._chance.randrange(8))])

    def _bytes(self, data: bytes, places: _Places) -> Edit:
        put = self._chance.randbytes(self._chance.choice((1, 2, 4, 8, 64)))
        return self._anywhere(places), self._chance.choice((0, len(put), 2 * len(put))), put

    def _length(self, data: bytes, places: _Places) -> Edit:
        """Change the length field of an element: two or four bytes before its value."""
        _, at, length = self._element(places)
        near = (length + self._chance.choice((-2, -1, 1, 2, 8))) & 0xFFFFFFFF
        number = self._chance.choice((*_NUMBERS, near, near, near))
        if self._chance.random() < 0.5:
            return max(at - 2, 0), 2, struct.pack("<H", number & 0xFFFF)
        return max(at - 4, 0), 4, struct.pack("<I", number)

    def _pixel_module(self, data: bytes, places: _Places) -> Edit:
        """Change a value of the image pixel module or of the look."""
        found = [one for one in places.elements if one[0] in _PIXEL_MODULE and one[2] != UNDEFINED]
        if not found:
            return self._flip(data, places)
        tag, at, length = self._chance.choice(found)
        if length == 2 and tag != 0x00280008:
            old = int.from_bytes(data[at : at + 2], "little")
            near = (old + self._chance.choice((-1, 1, 8, old))) & 0xFFFF
            return at, 2, struct.pack("<H", self._chance.choice((0, 1, 3, 8, 12, 16, 32, 64, 0xFFFF, near, near, near)))
        words = (
            b"0",
            b"1",
            b"2",
            b"-1",
            b"999999999",
            b"1e30",
            b"nan",
            b"inf",
            b"RGB",
            b"PALETTE COLOR",
            b"MONOCHROME2",
        )
        return at, length, self._chance.choice(words).ljust(length)[:length]

    def _charset(self, data: bytes, places: _Places) -> Edit:
        """Change the character set's name, or some text."""
        for tag, at, length in places.elements:
            if tag == 0x00080005 and self._chance.random() < 0.5:
                return at, length, self._chance.choice(_CHARSETS).encode().ljust(length)[: length + length % 2]
        _, at, length = self._element(places)
        put = self._chance.choice(_TEXTS)[: max(min(length, 64), 0)]
        return at, len(put), put

    def _truncate(self, data: bytes, places: _Places) -> Edit:
        """Cut the end off: somewhere, at an element, or the last few bytes."""
        _, at, _ = self._element(places)
        keep = self._chance.choice((self._anywhere(places), at, places.size - self._chance.randrange(1, 20)))
        return max(keep, 0), places.size, b""

    def _splice(self, data: bytes, places: _Places) -> Edit:
        """Put a piece of another file in, at an element's head."""
        other = self.bases.read(self._chance.choice(self.bases.names))
        start = self._chance.randrange(max(len(other), 1))
        piece = other[start : start + self._chance.choice((8, 64, 1024, 8192))]
        _, at, _ = self._element(places)
        return max(at - 8, 0), self._chance.choice((0, 0, len(piece))), piece

    def _nest(self, data: bytes, places: _Places) -> Edit:
        """Put nested sequences in, closed, open or with lengths that lie."""
        depth, kind = self._chance.choice((1, 3, 31, 40, 300)), self._chance.randrange(3)
        inner = b"\x08\x00\x04\x01LO\x02\0ab"
        for _ in range(depth):
            lie = self._chance.choice((0, 0, 0, 2, -2)) if kind == 2 else 0
            item = _ITEM + (b"\xff\xff\xff\xff" if kind == 1 else struct.pack("<I", max(len(inner) + lie, 0))) + inner
            inner = (
                b"\x40\x00\x75\x02SQ\0\0" + (b"\xff\xff\xff\xff" if kind == 1 else struct.pack("<I", len(item))) + item
            )
        _, at, _ = self._element(places)
        return max(at - 8, 0), 0, inner

    def _fragment(self, data: bytes, places: _Places) -> Edit:
        """Change the head of a fragment or an entry of the offset table; without any the pixel data's own length."""
        if not places.items:
            return self._length(data, places)
        at = self._chance.choice(places.items)
        kind = self._chance.randrange(4)
        if kind == 0:
            return at + 4, 4, struct.pack("<I", self._chance.choice(_NUMBERS))
        if kind == 1:
            return at, 0, (_ITEM + b"\0\0\0\0") * self._chance.choice((1, 3, 500))
        if kind == 2:
            return at, 4, b"\xfe\xff\xdd\xe0"
        return places.items[0] + 8, 4, struct.pack("<I", self._chance.choice(_NUMBERS))

    def _remove(self, data: bytes, places: _Places) -> Edit:
        """Take an element out, or its value."""
        _, at, length = self._element(places)
        length = 0 if length == UNDEFINED else length
        return (max(at - 8, 0), length + 8, b"") if self._chance.random() < 0.5 else (at, length, b"")


_EDITS: tuple[Callable[[Cases, bytes, _Places], Edit], ...] = (
    Cases._flip, Cases._bytes, Cases._length, Cases._length, Cases._pixel_module, Cases._pixel_module, Cases._charset,
    Cases._truncate, Cases._splice, Cases._nest, Cases._fragment, Cases._remove,
)  # fmt: skip


def minimised(case: Case, fails: Callable[[Case], bool]) -> Case:
    """Return the case without the edits, and with the shortest insertions, that ``fails`` does not need."""
    for edit in case.edits:
        fewer = replace(case, edits=tuple(one for one in case.edits if one is not edit))
        if fails(fewer):
            case = fewer
    for number, (at, removed, whole) in enumerate(case.edits):
        put, step = whole, len(whole)
        while step:
            shorter = replace(case, edits=_with(case.edits, number, (at, removed, put[:-step])))
            if fails(shorter):
                case, put = shorter, put[:-step]
                step = min(step, len(put))
            else:
                step //= 2
    return case


def _with(edits: Sequence[Edit], number: int, edit: Edit) -> tuple[Edit, ...]:
    return (*edits[:number], edit, *edits[number + 1 :])


def keep(case: Case, problem: str, folder: Path) -> Path:
    """Write a reproducer; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{zlib.crc32(json.dumps(case.to_json()).encode()):08x}.json"
    path.write_text(json.dumps({"problem": problem, **case.to_json()}, indent=1) + "\n")
    return path
