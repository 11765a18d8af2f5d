"""Instances of a series say nearly the same: what was read of one is read of the next by comparing bytes.

Flows in: files that were accepted, then the bytes of another; flows out: its ``Scan``, ``Header`` and JSON text, exactly as reading it
from the first byte on would give them, or None. A file is like another if everything up to the pixel data is the same byte for byte (all
element heads, sequences, texts, the transfer syntax), except the values of short elements that hold no text and that
nothing else's meaning depends on: those alone are read. Values are judged again all the same: ``validate`` runs over every instance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from consilium_dicom.errors import DicomInvalid
from consilium_dicom.header import TEXTS, Header, reread
from consilium_dicom.json_text import CONTEXT, element_texts, is_short, short_text
from consilium_dicom.scan import PIXEL_TAGS, Buffer, Scan, skip_undefined

_MAX_HEAD_BYTES = 64 << 10
_MOST = 16
_VRS = frozenset(b"AS AT CS DA DS DT FD FL IS SL SS TM UI UL US".split())
_MEDIA_INSTANCE, _SERIES = 0x00020003, 0x0020000E
_BULK = uuid4().hex  # stands for the address in a remembered text: nobody can have written it into a file
Value = tuple[int, bytes, int, int]
"""Tag, VR, where it begins and ends."""


@dataclass(frozen=True, slots=True)
class Like:
    """A file that is like ``kind``: its own positions and header."""

    kind: Kind
    source: Scan
    header: Header

    def json_text(self, bulk_uri: str) -> str:
        """Return what ``json_text.to_json_text`` would."""
        return self.kind.json_text(self.source, self.header, bulk_uri)


@dataclass(slots=True)
class Kind:
    """One layout. ``memo`` is for what callers make of the parts that do not differ."""

    head: bytes
    source: Scan  # without its buffer
    header: Header
    series: tuple[int, int]
    memo: dict[str, Any] = field(default_factory=dict)
    _places: tuple[Sequence[Value], Sequence[tuple[int, int]]] | None = None
    _text: Sequence[str | Value] | None = None

    @classmethod
    def of(cls, source: Scan, header: Header) -> Kind | None:
        """Return the layout of an accepted file in whose structure nothing was odd; None for one that is remembered for nothing."""
        last = next(reversed(source.elements), 0)
        at, series = header.pixel_offset, source.elements.get(_SERIES)
        if source.inflated or source.encoding.implicit or not source.encoding.little or header.nul_tags:
            return None
        if last not in PIXEL_TAGS or source.end != len(source.buffer) or at > _MAX_HEAD_BYTES or series is None:
            return None
        head = bytes(source.buffer[:at])
        return cls(head, replace(source, buffer=b""), header, (series[1], series[1] + series[2]))

    def read(self, data: Buffer) -> Like | None:
        """Return what ``data`` says if it is like this."""
        start, stop = self.series
        ours = self.head
        if data[start:stop] != ours[start:stop] or len(data) <= len(ours):
            return None
        values, fixed = self._places = self._places or self._found()
        head = bytes(data[: len(ours)])
        if any(head[at:end] != ours[at:end] for at, end in fixed):
            return None
        end = self._end(data)
        if end != len(data):
            return None
        source = replace(self.source, buffer=data, end=end)
        changed = [tag for tag, _, at, end in values if head[at:end] != ours[at:end]]
        header = reread(self.header, source, changed)
        return None if header is None else Like(self, source, header)

    def _found(self) -> tuple[Sequence[Value], Sequence[tuple[int, int]]]:
        """Return the values that may differ, and the stretches between them."""
        named = [(_MEDIA_INSTANCE, *self.source.meta[_MEDIA_INSTANCE])] if _MEDIA_INSTANCE in self.source.meta else []
        named += [(tag, *element) for tag, element in self.source.elements.items()]
        values = [
            (tag, vr, at, at + length)
            for tag, vr, at, length in named
            if length and vr in _VRS and is_short(tag, vr, length) and tag not in CONTEXT and tag not in TEXTS
        ]
        values.sort(key=lambda one: one[2])
        edges = [0, *(edge for _, _, at, end in values for edge in (at, end)), len(self.head)]
        return values, [(at, end) for at, end in zip(edges[::2], edges[1::2], strict=True) if at < end]

    def _end(self, data: Buffer) -> int:
        """Return where the pixel data ends, -1 for nowhere."""
        length = self.header.pixel_length
        if length is not None:
            return len(self.head) + length
        try:
            return skip_undefined(data, len(self.head), len(data), implicit=False, order="<")
        except DicomInvalid:
            return -1

    def json_text(self, source: Scan, header: Header, bulk_uri: str) -> str:
        """Return the JSON text of a file that is like this."""
        if self._text is None:
            self._text = self._remembered(element_texts(source, header, _BULK))
        buffer, encodings = source.buffer, header.charset.encodings
        return "".join(
            [
                part
                if isinstance(part, str)
                else short_text(part[0], part[1], bytes(buffer[part[2] : part[3]]), encodings)
                for part in self._text
            ]
        ).replace(_BULK, bulk_uri)

    def _remembered(self, texts: dict[int, str]) -> Sequence[str | Value]:
        """Return the text in stretches, between them the values that may differ."""
        values = {tag: (tag, vr, at, end) for tag, vr, at, end in (self._places or self._found())[0]}
        parts: list[str | Value] = []
        said = "{"
        for number, tag in enumerate(sorted(texts)):
            said += "," if number else ""
            if tag in values:
                parts += [said, values[tag]]
                said = ""
            else:
                said += texts[tag]
        return [*parts, said + "}"]


class Kinds:
    """The layouts met last, newest first; for any number of threads."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._recent: tuple[Kind, ...] = ()

    def find(self, data: Buffer) -> Like | None:
        """Return what ``data`` says if it is like one of them."""
        recent = self._recent
        for number, kind in enumerate(recent):
            if (found := kind.read(data)) is not None:
                if number:
                    self._recent = (kind, *recent[:number], *recent[number + 1 :])
                return found
        return None

    def learn(self, source: Scan, header: Header) -> None:
        """Remember the layout of an accepted file in whose structure nothing was odd."""
        if (kind := Kind.of(source, header)) is not None:
            self._recent = (kind, *self._recent[: self._most - 1])
