"""Look-up tables of the grey-scale and colour pipeline: modality LUT, VOI window and LUT, palette (PS3.3 C.11, C.7.9)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consilium_dicom.errors import DicomInvalid
from consilium_dicom.functional_groups import FrameLook, frame_looks
from consilium_dicom.header import Header
from consilium_dicom.scan import UNDEFINED, Buffer, Encoding, Scan, scan, scan_elements, skip_undefined

Window = tuple[float, float]
_MAX_ENTRIES = 1 << 16


@dataclass(frozen=True, slots=True)
class Lut:
    """One table: the first entry answers for ``first`` and everything below; entries have ``bits`` bits."""

    first: int
    bits: int
    entries: NDArray[np.uint16]

    def apply(self, samples: NDArray[Any]) -> NDArray[np.float32]:
        """Return the entries for stored values, clamped at both ends (C.11.1.1)."""
        at = np.clip(samples.astype(np.int64) - self.first, 0, len(self.entries) - 1)
        return self.entries[at].astype(np.float32)

    def apply_to_8_bit(self, values: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the entries scaled to 0..255 (C.11.2.1.1)."""
        scaled = self.apply(np.rint(values)) * np.float32(255.0 / ((1 << self.bits) - 1))
        return np.asarray(np.clip(scaled, 0, 255), dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class PixelTables:
    """What a picture needs beyond the header.

    Palette (red, green, blue) and LUTs, None when absent; ``looks`` has one entry per frame, one for all, or none.
    """

    palette: tuple[Lut, Lut, Lut] | None = None
    modality: Lut | None = None
    voi: Lut | None = None
    looks: tuple[FrameLook, ...] = ()

    def look(self, frame: int) -> FrameLook:
        """Return how frame ``frame`` (from 0) wants to be shown."""
        if not self.looks:
            return FrameLook()
        return self.looks[frame] if frame < len(self.looks) else self.looks[0]


NO_TABLES = PixelTables()


def read_tables(data: Buffer, source: Scan | None = None) -> PixelTables:
    """Return the tables of one file; a broken table is a ``DicomInvalid``."""
    source = source or scan(data, to_pixels=True)
    palette = None
    if 0x00281101 in source.elements:
        palette = (_palette(source, 1), _palette(source, 2), _palette(source, 3))
    modality, voi = _sequence_lut(source, 0x00283000), _sequence_lut(source, 0x00283010)
    return PixelTables(palette, modality, voi, frame_looks(source))


def _order(encoding: Encoding) -> str:
    return "<" if encoding.little else ">"


def _descriptor(raw: bytes, order: str, *, signed: bool) -> tuple[int, int, int]:
    if len(raw) < 6:
        raise DicomInvalid("a LUT descriptor is too short")
    count, first, bits = struct.unpack(order + ("HhH" if signed else "HHH"), raw[:6])
    return count or _MAX_ENTRIES, first, bits


def _palette(source: Scan, colour: int) -> Lut:
    """Return one colour's table, plain (C.7.6.3.1.6) or segmented (C.7.9.2)."""
    order = _order(source.encoding)
    signed = source.value(0x00280103)[:2] in {b"\x01\x00", b"\x00\x01"}
    count, first, bits = _descriptor(source.value(0x00281100 + colour), order, signed=signed)
    raw = source.value(0x00281200 + colour)
    if not raw and source.value(0x00281220 + colour):
        words = np.frombuffer(source.value(0x00281220 + colour), order + "u2")
        return Lut(first, bits, _expand(words.tolist(), count))
    return Lut(first, bits, _entries(raw, count, bits, order))


def _entries(raw: bytes, count: int, bits: int, order: str) -> NDArray[np.uint16]:
    """Return ``count`` entries; 8 bit tables may be packed two to a word."""
    if bits <= 8 and len(raw) < 2 * count:
        values = np.frombuffer(raw, np.uint8)
        if order == ">" and len(values) % 2 == 0:
            values = values.reshape(-1, 2)[:, ::-1].ravel()
        entries = values.astype(np.uint16)
    else:
        entries = np.frombuffer(raw[: len(raw) // 2 * 2], order + "u2").astype(np.uint16)
    if len(entries) < count:
        raise DicomInvalid(f"a LUT of {count} entries holds {len(entries)}")
    return entries[:count]


def _expand(words: list[int], count: int) -> NDArray[np.uint16]:
    """Return the entries that discrete, linear and indirect segments describe (C.7.9.2)."""
    out: list[int] = []
    starts: list[int] = []
    todo = [(0, len(words), True)]
    while todo:
        at, stop, own = todo.pop()
        while at + 2 <= stop and len(out) < count:
            kind, length = words[at], words[at + 1]
            starts += [at] if own else []
            if kind == 0:
                out += words[at + 2 : at + 2 + length]
                at += 2 + length
            elif kind == 1 and out and at + 2 < len(words):
                out += np.rint(np.linspace(out[-1], words[at + 2], length + 1)[1:]).astype(int).tolist()
                at += 3
            elif kind == 2 and own and at + 3 < len(words):
                offset = words[at + 2] | words[at + 3] << 16
                begin = starts.index(offset) if offset in starts else -1
                if begin < 0 or begin + length >= len(starts):
                    raise DicomInvalid("a segmented palette refers to a segment that is not there")
                todo += [(at + 4, stop, own), (offset, starts[begin + length], False)]
                break
            else:
                raise DicomInvalid("a segmented palette is broken")
    if len(out) < count:
        raise DicomInvalid(f"a segmented palette of {count} entries holds {len(out)}")
    return np.asarray(out[:count], np.uint16)


def _sequence_lut(source: Scan, tag: int) -> Lut | None:
    """Return the first item's LUT of a modality or VOI LUT sequence, None when there is none."""
    found = source.elements.get(tag)
    if found is None or found[2] < 8:
        return None
    vr, at, length = found
    order = _order(source.encoding)
    implicit = source.encoding.implicit or vr == b"UN"
    end = len(source.buffer) if length == UNDEFINED else at + length
    if length == UNDEFINED:
        end = skip_undefined(source.buffer, at, end, implicit=implicit, order=order)
    if end < 0 or at + 8 > end:
        return None
    group, number, item_length = struct.unpack_from(order + "HHI", source.buffer, at)
    if (group, number) != (0xFFFE, 0xE000):
        return None
    stop = end if item_length == UNDEFINED else min(at + 8 + item_length, end)
    encoding = Encoding(implicit, source.encoding.little)
    item, _, _ = scan_elements(source.buffer, at + 8, stop, encoding)
    if 0x00283002 not in item or 0x00283006 not in item:
        return None

    def raw(wanted: int) -> bytes:
        return bytes(source.buffer[item[wanted][1] : item[wanted][1] + item[wanted][2]])

    signed = source.value(0x00280103)[:2] in {b"\x01\x00", b"\x00\x01"}
    count, first, bits = _descriptor(raw(0x00283002), order, signed=signed)
    return Lut(first, bits, _entries(raw(0x00283006), count, bits, order))


def apply_palette(samples: NDArray[Any], tables: PixelTables | None) -> NDArray[np.uint8]:
    """Return (rows, columns, 3) RGB uint8 from palette indices (PS3.3 C.7.6.3.1.2)."""
    if tables is None or tables.palette is None:
        raise DicomInvalid("a palette colour image without its palette")
    channels = []
    for lut in tables.palette:
        top = int(lut.entries.max(initial=0))
        shift = 8 if lut.bits > 8 and top > 255 else 0
        table = (lut.entries >> shift).astype(np.uint8)
        channels.append(table[np.clip(samples.astype(np.int64) - lut.first, 0, len(table) - 1)])
    return np.stack(channels, axis=-1)


def default_window(values: NDArray[np.float32], header: Header) -> Window:
    """Return the object's first window, else for 8 bit pictures their whole range, else the range of the values."""
    if header.window_center and header.window_width and header.window_width[0] > 0:
        return header.window_center[0], header.window_width[0]
    plain = header.rescale_slope in {None, 1.0} and header.rescale_intercept in {None, 0.0}
    if header.bits_stored == 8 and not header.pixel_representation and plain:
        return 128.0, 256.0
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    return (low + high + 1.0) / 2.0, max(high - low + 1.0, 1.0)


def apply_voi(values: NDArray[np.float32], window: Window, function: str = "linear") -> NDArray[np.uint8]:
    """Return 0..255 by PS3.3 C.11.2.1.2 (LINEAR), C.11.2.1.3.1 (SIGMOID) or C.11.2.1.3.2 (LINEAR_EXACT)."""
    center, width = window
    if function == "sigmoid":
        if width <= 0:
            raise DicomInvalid("a sigmoid window is wider than 0")
        with np.errstate(over="ignore"):
            out = 255.0 / (1.0 + np.exp(-4.0 * (values - np.float32(center)) / np.float32(width)))
        return np.asarray(np.rint(out), dtype=np.uint8)
    if function != "linear-exact" and width == 1:
        return np.where(values <= center - 0.5, 0, 255).astype(np.uint8)
    return apply_linear(values, (1.0, 0.0), window, function)


def apply_linear(
    samples: NDArray[Any], rescale: tuple[float, float], window: Window, function: str = "linear"
) -> NDArray[np.uint8]:
    """Return 0..255 of stored values by (slope, intercept) and a LINEAR or LINEAR_EXACT window wider than 1, in one pass.

    In place: fresh megabytes for each step cost as much as the arithmetic.
    """
    center, width = window
    if function == "linear-exact":
        if width <= 0:
            raise DicomInvalid("an exact window is wider than 0")
        slope, middle = 255.0 / width, center
    else:
        if width <= 1:
            raise DicomInvalid("a linear window is at least 1 wide")
        slope, middle = 255.0 / (width - 1.0), center - 0.5
    scaled = samples.astype(np.float32)
    scaled *= np.float32(rescale[0] * slope)
    scaled += np.float32(127.5 + (rescale[1] - middle) * slope + 0.5)
    np.clip(scaled, 0, 255, out=scaled)
    return np.asarray(scaled.astype(np.uint8))
