"""The bytes of encapsulated video as one piece, though they lie in fragments; nothing is copied but what is asked for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from consilium_dicom.scan import Buffer

_STRETCH = 1 << 20


class VideoBytes:
    """Fragments (offset, length) of ``buffer``, read as one."""

    __slots__ = ("_buffer", "_ends", "_segments", "size")

    def __init__(self, buffer: Buffer, segments: Sequence[tuple[int, int]]) -> None:
        self._buffer = buffer
        self._segments = segments
        self._ends = list(accumulate(length for _, length in segments))
        self.size = self._ends[-1] if self._ends else 0

    def read(self, at: int, length: int) -> bytes:
        """Return ``length`` bytes from ``at``, fewer only at the end."""
        pieces: list[bytes] = []
        number = bisect_right(self._ends, at)
        while length > 0 and number < len(self._segments):
            offset, size = self._segments[number]
            inside = at - (self._ends[number] - size)
            piece = bytes(self._buffer[offset + inside : offset + min(size, inside + length)])
            pieces.append(piece)
            at, length, number = at + len(piece), length - len(piece), number + 1
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def start_codes(self, most_bytes: int, most_codes: int, tail: int) -> Iterator[tuple[bytes, bool]]:
        """Yield up to ``tail`` bytes after each start code 00 00 01, and whether the bounds were reached with it."""
        at, found, carry = 0, 0, b""
        while at < min(self.size, most_bytes):
            chunk = self.read(at, _STRETCH)
            at += len(chunk)
            data, last = carry + chunk, at >= self.size
            place = data.find(b"\0\0\1")
            keep = len(data) - 2
            while place >= 0:
                if not last and place + 3 + tail > len(data):
                    keep = place
                    break
                found += 1
                full = found >= most_codes
                yield data[place + 3 : place + 3 + tail], full
                if full:
                    return
                place = data.find(b"\0\0\1", place + 3)
            carry = data[max(0, keep) :]
        if at < self.size:
            yield b"", True
