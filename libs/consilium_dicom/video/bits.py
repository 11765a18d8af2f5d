"""Bits, Exp-Golomb numbers and raw byte sequence payloads (ITU-T H.264 7.3.1, 9.1)."""

from __future__ import annotations

from consilium_dicom.errors import DicomInvalid


class VideoUnreadable(DicomInvalid):
    """The bytes are no video stream that can be understood."""

    code = "video-unreadable"


def payload(unit: bytes) -> bytes:
    """Return a NAL unit's bytes without emulation prevention (00 00 03)."""
    out, at = bytearray(), 0
    while True:
        found = unit.find(b"\0\0\3", at)
        if found < 0:
            return bytes(out + unit[at:])
        out += unit[at : found + 2]
        at = found + 3


class Bits:
    """Reads bits from the most significant on; the end raises ``VideoUnreadable``."""

    __slots__ = ("at", "length", "value")

    def __init__(self, data: bytes) -> None:
        self.value = int.from_bytes(data, "big")
        self.length = len(data) * 8
        self.at = 0

    def u(self, count: int) -> int:
        """Return an unsigned number of ``count`` bits."""
        self.at += count
        if self.at > self.length:
            raise VideoUnreadable("a parameter set ends too early")
        return self.value >> self.length - self.at & (1 << count) - 1

    def flag(self) -> bool:
        """Return one bit."""
        return bool(self.u(1))

    def ue(self) -> int:
        """Return an unsigned Exp-Golomb number."""
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 32:
                raise VideoUnreadable("a parameter set holds an endless number")
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        """Return a signed Exp-Golomb number."""
        code = self.ue()
        return (code + 1) // 2 if code & 1 else -(code // 2)
