"""Read the members of a ZIP archive from strangers: nothing is written by a member's name, and every size is counted as it inflates.

Flows in: a ZIP file; flows out: members, each copied into a file of its own in the work folder, or the refusal of one. The central
directory's size is looked at before ``zipfile`` reads it. What inflates is bounded per member, by ratio, and for the whole archive.
"""

from __future__ import annotations

import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from consilium_ingest.importing.errors import ZipBroken, ZipHostile

MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_COPY_BYTES = 1 << 20
_END, _END_64, _LOCATOR_64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_LONGEST_END = 22 + 65_535


@dataclass(frozen=True, slots=True)
class ZipLimits:
    """How much one archive may be, with everything that is nested in it."""

    members: int = 200_000
    directory_bytes: int = 64 << 20
    member_bytes: int = 4 << 30
    free_bytes: int = 64 << 20  # a member may inflate to this whatever its ratio
    ratio: int = 200
    total_free_bytes: int = 4 << 30  # and the whole archive to this
    depth: int = 3


@dataclass
class ZipBudget:
    """What is left of an outermost archive's bounds."""

    limits: ZipLimits
    total_bytes: int
    members: int = field(init=False)

    def __post_init__(self) -> None:
        self.members = self.limits.members

    def spend_bytes(self, count: int) -> None:
        """Count inflated bytes; raise ZipHostile."""
        self.total_bytes -= count
        if self.total_bytes < 0:
            raise ZipHostile("The ZIP archive inflates to more than any medium holds: it is not read further.")

    def spend_member(self) -> None:
        """Count a member; raise ZipHostile."""
        self.members -= 1
        if self.members < 0:
            raise ZipHostile(f"The ZIP archive has more than {self.limits.members} members: it is not read further.")


def budget_of(path: Path, limits: ZipLimits) -> ZipBudget:
    """Return the bounds of an outermost archive: they follow its size."""
    return ZipBudget(limits, max(limits.total_free_bytes, limits.ratio * path.stat().st_size))


@dataclass(frozen=True, slots=True)
class Member:
    """One member, copied to ``path`` (whoever takes it removes it), or why it was not."""

    name: str
    size_bytes: int
    packed_bytes: int
    path: Path | None = None
    refusal: ZipBroken | ZipHostile | None = None


def members(path: Path, budget: ZipBudget, work: Path) -> Iterator[Member]:
    """Yield the archive's files in its order; raise ZipBroken or ZipHostile when there is no going on."""
    _check_directory(path, budget.limits)
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                budget.spend_member()
                if not info.is_dir():
                    yield _member(archive, info, budget, work)
    except (zipfile.BadZipFile, struct.error, ValueError, OSError, EOFError) as problem:
        raise ZipBroken(f"The ZIP archive can't be read ({type(problem).__name__}): have it made again.") from problem


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: ZipBudget, work: Path) -> Member:
    def refused(refusal: ZipBroken | ZipHostile) -> Member:
        return Member(info.filename, info.file_size, info.compress_size, refusal=refusal)

    if leads_out(info.orig_filename):
        return refused(ZipHostile("The member's name leads out of the ZIP archive: nothing is taken from it."))
    if info.flag_bits & 1:
        return refused(ZipBroken("The member is encrypted: unpack it with its password and import the files."))
    descriptor, name = tempfile.mkstemp(dir=work, suffix=".member")
    copied = Path(name)
    kept = False
    try:
        with os.fdopen(descriptor, "wb") as target, archive.open(info) as source:
            size = _copy(source, target, info, budget)
        kept = True
        return Member(info.filename, size, info.compress_size, copied)
    except ZipHostile as refusal:
        if budget.total_bytes < 0:
            raise
        return refused(refusal)
    except (zipfile.BadZipFile, NotImplementedError, zlib.error, EOFError, RuntimeError) as problem:
        return refused(
            ZipBroken(f"The member can't be unpacked ({type(problem).__name__}): have the archive made again.")
        )
    finally:
        if not kept:
            copied.unlink(missing_ok=True)


def _copy(source: IO[bytes], target: IO[bytes], info: zipfile.ZipInfo, budget: ZipBudget) -> int:
    limits = budget.limits
    most = min(limits.member_bytes, max(limits.free_bytes, limits.ratio * info.compress_size))
    size = 0
    while chunk := source.read(_COPY_BYTES):
        size += len(chunk)
        budget.spend_bytes(len(chunk))
        if size > most:
            raise ZipHostile(f"The member inflates to more than {most} bytes: it is not taken.")
        target.write(chunk)
    return size


def leads_out(name: str) -> bool:
    """Tell whether a member's name is absolute, goes up, or holds what no name holds."""
    plain = name.replace("\\", "/")
    return plain.startswith("/") or plain[1:2] == ":" or "\0" in plain or ".." in PurePosixPath(plain).parts


def _check_directory(path: Path, limits: ZipLimits) -> None:
    """Raise ZipHostile when the central directory is larger than may be read into memory (APPNOTE 4.3.14, 4.3.16)."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _LONGEST_END - 20))
        tail = file.read()
        at = tail.rfind(_END)
        if at < 0 or at + 22 > len(tail):
            raise ZipBroken("The ZIP archive has no end: it was not copied whole.")
        (directory,) = struct.unpack_from("<I", tail, at + 12)
        if at >= 20 and tail[at - 20 : at - 16] == _LOCATOR_64:
            file.seek(min(struct.unpack_from("<Q", tail, at - 12)[0], size))
            end = file.read(56)
            if len(end) == 56 and end.startswith(_END_64):
                directory = max(directory if directory != 0xFFFFFFFF else 0, struct.unpack_from("<Q", end, 40)[0])
    if directory > limits.directory_bytes:
        raise ZipHostile(f"The ZIP archive's directory is larger than {limits.directory_bytes} bytes: it is not read.")
