"""Hostile files are refused within 1 s of CPU and 256 MiB, in a process whose address space ends there.

Each file runs in a process of its own (``hostile_one``) under RLIMIT_AS; CPU time is measured, not the clock, for the machines
that run this are noisy, and halved limits of a busy core must not fail it.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from consilium_testkit.instances import ct_instance

EXPLICIT, DEFLATED, JPEG, H264 = (
    b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.4.102",
)  # fmt: skip
_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0"
CPU_S, MEMORY_BYTES = 1.0, 256 << 20


def meta(syntax: bytes) -> bytes:
    value = syntax + b"\0" * (len(syntax) % 2)
    return b"\0" * 128 + b"DICM" + b"\x02\x00\x10\x00UI" + struct.pack("<H", len(value)) + value


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    if vr in {b"OB", b"OW", b"SQ", b"UN", b"UT"}:
        return struct.pack("<HH2sHI", group, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def image(syntax: bytes, pixels: bytes, *, frames: int = 1, side: int = 64) -> bytes:
    """Return an otherwise proper CT image with these pixel data elements."""
    body = [
        element(8, 0x16, b"UI", b"1.2.840.10008.5.1.4.1.1.2\0"), element(8, 0x18, b"UI", b"1.2.3.4\0"),
        element(8, 0x60, b"CS", b"CT"), element(0x10, 0x10, b"PN", b"A^B "), element(0x10, 0x20, b"LO", b"P1"),
        element(0x20, 0xD, b"UI", b"1.2.3\0"), element(0x20, 0xE, b"UI", b"1.2.3.5\0"),
        element(0x28, 2, b"US", struct.pack("<H", 1)), element(0x28, 4, b"CS", b"MONOCHROME2 "),
        element(0x28, 8, b"IS", str(frames).encode().ljust(10)), element(0x28, 0x10, b"US", struct.pack("<H", side)),
        element(0x28, 0x11, b"US", struct.pack("<H", side)), element(0x28, 0x100, b"US", struct.pack("<H", 8)),
        element(0x28, 0x101, b"US", struct.pack("<H", 8)), element(0x28, 0x102, b"US", struct.pack("<H", 7)),
        element(0x28, 0x103, b"US", struct.pack("<H", 0)),
    ]  # fmt: skip
    return meta(syntax) + b"".join(body) + pixels


def encapsulated(items: bytes, *, closed: bool = True) -> bytes:
    head = struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF) + _ITEM + b"\0\0\0\0"
    return head + items + (_END if closed else b"")


def deflated(plain: bytes) -> bytes:
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    return engine.compress(plain) + engine.flush()


def bomb(megabytes: int) -> bytes:
    """Return a deflated data set of zeros, made without holding them."""
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = engine.compress(element(8, 0x16, b"UI", b"1.2.840.10008.5.1.4.1.1.2\0"))
    start += engine.compress(struct.pack("<HH2sHI", 0x9, 0x10, b"OB", 0, megabytes << 20))
    return start + b"".join(engine.compress(bytes(1 << 20)) for _ in range(megabytes)) + engine.flush()


def nested(depth: int) -> bytes:
    inner = b""
    for _ in range(depth):
        item = _ITEM + struct.pack("<I", len(inner)) + inner
        inner = b"\x40\x00\x75\x02SQ\0\0" + struct.pack("<I", len(item)) + item
    return inner


def deepest(width: int) -> bytes:
    """Return sequences at the allowed depth, ``width`` of them side by side at each: visited again from every level."""
    inner = element(8, 0x104, b"LO", b"x ")
    for level in range(30):
        items = (_ITEM + struct.pack("<I", len(inner)) + inner) * (width if level < 4 else 1)
        inner = b"\x40\x00\x75\x02SQ\0\0" + struct.pack("<I", len(items)) + items
    return inner


_SEQUENCE = b"\x40\x00\x75\x02SQ\0\0"
HOSTILE: dict[str, Callable[[], bytes]] = {
    "open nesting, 200,000 deep": lambda: (
        meta(EXPLICIT) + (_SEQUENCE + b"\xff\xff\xff\xff" + _ITEM + b"\xff\xff\xff\xff") * 200_000
    ),
    "stated nesting, 3,000 deep": lambda: meta(EXPLICIT) + nested(3_000),
    "wide and deep": lambda: meta(EXPLICIT) + deepest(12),
    "a sequence of two million empty items": lambda: (
        meta(EXPLICIT) + _SEQUENCE + struct.pack("<I", 16_000_000) + (_ITEM + b"\0\0\0\0") * 2_000_000
    ),
    "an open sequence of four million empty items": lambda: (
        meta(EXPLICIT) + _SEQUENCE + b"\xff\xff\xff\xff" + (_ITEM + b"\0\0\0\0") * 4_000_000
    ),
    "three million elements": lambda: (
        meta(EXPLICIT)
        + b"".join(struct.pack("<HH2sH", 9 + 2 * (n >> 16), n & 0xFFFF, b"LO", 0) for n in range(300_000)) * 10
    ),
    "half a million private texts": lambda: (
        meta(EXPLICIT)
        + b"".join(element(9 + 2 * (n >> 15), n & 0x7FFF, b"LO", b"\xc4\xe3\xba\xc3") for n in range(500_000))
    ),
    "the same element for ever": lambda: meta(EXPLICIT) + b"\x08\x00\x05\x00CS\x00\x00" * 3_000_000,
    "a length of four gigabytes": lambda: meta(EXPLICIT) + b"\x08\x00\x05\x00OB\0\0\xf0\xff\xff\xff" + b"abc",
    "rows and columns of 65,535": lambda: image(EXPLICIT, element(0x7FE0, 0x10, b"OB", b"ab"), side=65_535),
    "a billion frames": lambda: image(EXPLICIT, element(0x7FE0, 0x10, b"OB", b"ab"), frames=999_999_999),
    "a billion frames in one fragment": lambda: image(
        JPEG, encapsulated(_ITEM + b"\x04\0\0\0\xff\xd8\xff\xd9"), frames=999_999_999
    ),
    "a million empty fragments": lambda: image(JPEG, encapsulated((_ITEM + b"\0\0\0\0") * 1_000_001)),
    "five million fragments that never end": lambda: image(
        JPEG, encapsulated((_ITEM + b"\x02\0\0\0ab") * 5_000_000, closed=False)
    ),
    "nine hundred thousand fragments and frames": lambda: image(
        JPEG, encapsulated((_ITEM + b"\x02\0\0\0ab") * 900_000), frames=900_000
    ),
    "an offset table of eight million entries": lambda: image(
        JPEG, _table_head(32 << 20) + bytes(32 << 20) + _fragment(b"\xff\xd8\xff\xd9") + _END
    ),
    "an extended offset table of four million entries": lambda: image(
        JPEG,
        struct.pack("<HH2sHI", 0x7FE0, 1, b"OV", 0, 32 << 20) + bytes(32 << 20) + encapsulated(_fragment(b"\xff\xd8\xff\xd9")),
    ),
    "a thousand texts of sixty kilobytes": lambda: (
        meta(EXPLICIT)
        + b"".join(element(9, 0x1000 + n, b"UT", "第一人民医院".encode("gbk") * 5_000) for n in range(1_000))
    ),
    "a name of thirty megabytes": lambda: (
        meta(EXPLICIT) + struct.pack("<HH2sHI", 0x10, 0x10, b"UN", 0, 30 << 20) + "王".encode("gbk") * (15 << 20)
    ),
    "a deflate bomb of 2 GiB": lambda: meta(DEFLATED) + bomb(2048),
    "a deflate bomb that stays under its ratio for a while": lambda: meta(DEFLATED) + bomb(100),
    "a broken deflate": lambda: meta(DEFLATED) + deflated(b"x" * 1_000_000)[:500] + b"\xff" * 100_000,
    "deflated nesting": lambda: (
        meta(DEFLATED) + deflated((_SEQUENCE + b"\xff\xff\xff\xff" + _ITEM + b"\xff\xff\xff\xff") * 900_000)
    ),
    "a video of start codes": lambda: image(H264, encapsulated(_fragment(b"\0\0\1" * 10_000_000))),
    "a video of parameter sets": lambda: image(H264, encapsulated(_fragment(b"\0\0\1\x67\x64\0\x29" * 3_000_000))),
    "a video of endless boxes": lambda: image(
        H264, encapsulated(_fragment(b"\0\0\0\x08ftyp" + b"\0\0\0\x08free" * 2_000_000))
    ),
    "a transport stream of nothing": lambda: image(
        H264, encapsulated(_fragment((b"\x47\x1f\xff\x10" + b"\xff" * 184) * 300_000))
    ),
    "a transport stream in two hundred thousand fragments": lambda: image(
        H264, encapsulated(_fragment(b"\x47\x1f\xff\x10" + b"\xff" * 184) * 200_000)
    ),
}  # fmt: skip


def _table_head(length: int) -> bytes:
    return struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF) + _ITEM + struct.pack("<I", length)


def _fragment(data: bytes) -> bytes:
    data += b"\0" * (len(data) % 2)
    return _ITEM + struct.pack("<I", len(data)) + data


def _malformed() -> Iterator[Path]:
    root = Path(os.environ.get("CONSILIUM_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    yield from sorted((root / "malformed").rglob("*.dcm"))


Judge = Callable[[Path], dict[str, Any]]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    """Yield a function that validates one file in a process of its own and returns what that cost."""
    ordinary = tmp_path_factory.mktemp("ordinary") / "ct.dcm"
    ordinary.write_bytes(ct_instance(side=64))
    script = Path(__file__).with_name("hostile_one.py")
    with subprocess.Popen(
        [sys.executable, str(script), str(ordinary)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None

        def ask(path: Path) -> dict[str, Any]:
            print(path, file=server.stdin, flush=True)
            assert server.stdout is not None
            found: dict[str, Any] = json.loads(server.stdout.readline())
            return found

        yield ask
        server.stdin.close()
    assert server.returncode == 0


def cheap(path: Path, judge: Judge) -> dict[str, Any]:
    """Return the outcome of the cheapest of at most three runs, which must be inside both limits."""
    for _ in range(3):
        found = judge(path)
        assert "cpu_s" in found, found
        if found["cpu_s"] <= CPU_S:
            break
    assert found["cpu_s"] <= CPU_S, found
    assert found["grown_bytes"] <= MEMORY_BYTES, found
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_within_a_second_and_256_mib(name: str, tmp_path: Path, judge: Judge) -> None:
    path = tmp_path / "hostile.dcm"
    path.write_bytes(HOSTILE[name]())
    found = cheap(path, judge)
    assert found["verdict"] == "reject", found


@pytest.mark.parametrize("path", list(_malformed()), ids=lambda path: path.name)
def test_a_malformed_real_file_costs_little(path: Path, judge: Judge) -> None:
    cheap(path, judge)
