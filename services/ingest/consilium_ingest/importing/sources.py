"""Find what is to be imported: walk folders, ZIP archives (nested ones too) and media with a DICOMDIR.

Flows in: paths; flows out, one after the other: ``Found`` files whose bytes look like DICOM, and what was found and can't be taken.
A DICOMDIR is read for what it lists, and never believed alone: files that it does not list are found too, listed ones that are missing
are named. Files that are plainly something else (viewers, pictures, readmes) are counted and left. Links are not followed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from consilium_core.errors import ConsiliumError
from consilium_dicom.errors import DicomInvalid
from consilium_dicom.header import read_header
from consilium_ingest.importing.dicomdir import is_dicomdir, listed_files, plain
from consilium_ingest.importing.errors import (
    DicomdirBroken,
    FileUnreadable,
    ImportEmpty,
    ListedFileMissing,
    ZipBroken,
    ZipHostile,
)
from consilium_ingest.importing.zips import MAGIC, ZipBudget, ZipLimits, budget_of, members

IN_MEMORY_BYTES = 16 << 20
"""A larger file is mapped and does not go through memory; a smaller one is read, so that a medium taken out is an error, not a signal."""
_HEAD_BYTES = 1024
_HEADER_BYTES = 256 << 10
_LARGEST_DICOMDIR = 256 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """One file to import: what reports call it, where its bytes are, and whether that copy is ours to remove."""

    name: str
    path: Path
    size_bytes: int
    modified_ns: int
    ours: bool = False

    def discard(self) -> None:
        """Remove the copy that was made of a ZIP archive's member."""
        if self.ours:
            self.path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Unusable:
    """Something that was found and can't be imported, and why."""

    name: str
    refusal: ConsiliumError


@dataclass
class _Place:
    """Where names of one tree are relative to: a folder or a ZIP archive, and what its DICOMDIRs list."""

    listed: dict[str, str] = field(default_factory=dict)  # compared name -> name as reports call it
    seen: set[str] = field(default_factory=set)

    def lists(self, relative: PurePosixPath) -> bool:
        return plain(relative.parts) in self.listed


@dataclass(frozen=True, slots=True)
class _Within:
    """How deep inside ZIP archives a file is, and what is left of the outermost one's bounds."""

    budget: ZipBudget
    depth: int


class Walker:
    """Walks paths; ``read_bytes`` says how far it is in the files given, ``left`` how many were plainly not DICOM."""

    def __init__(self, work: Path, limits: ZipLimits | None = None) -> None:
        self.read_bytes = 0
        self.left = 0
        self._work = work
        self._limits = limits or ZipLimits()

    def walk(self, paths: Sequence[Path]) -> Iterator[Found | Unusable]:
        """Yield everything below ``paths``; raise ImportEmpty for one that is not there."""
        for path in paths:
            if not path.exists():
                raise ImportEmpty(f"There is nothing at {path}.")
        for path in paths:
            if path.is_dir():
                yield from self._folder(path)
            elif is_dicomdir(_head(path)):
                yield from self._folder(path.parent)
            else:
                yield from self._file(path, str(path), PurePosixPath(path.name), _Place())

    def _folder(self, root: Path) -> Iterator[Found | Unusable]:
        place = _Place()
        later: list[tuple[Path, PurePosixPath]] = []
        for path, problem in _files(root):
            if problem is not None:
                yield Unusable(str(path), problem)
                continue
            relative = PurePosixPath(*path.relative_to(root).parts)
            head = _head(path)
            if is_dicomdir(head):
                self.read_bytes += path.stat().st_size
                yield from self._directory(path, str(path), relative, place)
            else:
                later.append((path, relative))
        for path, relative in later:
            yield from self._file(path, str(path), relative, place)
        yield from _missing(place, str(root))

    def _directory(self, path: Path, name: str, relative: PurePosixPath, place: _Place) -> Iterator[Unusable]:
        """Read a DICOMDIR; what it lists is relative to where it lies."""
        try:
            if path.stat().st_size > _LARGEST_DICOMDIR:
                raise DicomdirBroken("The DICOMDIR is larger than any medium's.")  # noqa: TRY301 - yielded below
            for parts in listed_files(path.read_bytes()):
                below = (*relative.parent.parts, *parts)
                place.listed[plain(below)] = "/".join(below)
        except DicomdirBroken as problem:
            yield Unusable(name, problem)

    def _file(
        self,
        path: Path,
        name: str,
        relative: PurePosixPath,
        place: _Place,
        *,
        ours: bool = False,
        within: _Within | None = None,
    ) -> Iterator[Found | Unusable]:
        """Yield one file, or what is in it; a copy of ours is removed unless it is yielded."""
        place.seen.add(plain(relative.parts))
        passed_on = False
        try:
            state = path.stat()
            head = _head(path)
            if head.startswith(MAGIC):
                yield from self._zip(path, name, within)
            elif looks_like_dicom(path, head) or place.lists(relative):
                passed_on = True
                yield Found(name, path, state.st_size, state.st_mtime_ns, ours)
            else:
                self.left += 1
            if within is None:
                self.read_bytes += state.st_size
        except OSError as problem:
            yield Unusable(name, unreadable(problem))
        finally:
            if ours and not passed_on:
                path.unlink(missing_ok=True)

    def _zip(self, path: Path, name: str, within: _Within | None) -> Iterator[Found | Unusable]:
        budget = within.budget if within is not None else budget_of(path, self._limits)
        depth = within.depth + 1 if within is not None else 1
        place = _Place()
        if depth > self._limits.depth:
            yield Unusable(
                name, ZipHostile(f"ZIP archives nest deeper than {self._limits.depth}: this one is not opened.")
            )
            return
        at = path.stat().st_mtime_ns
        try:
            for member in members(path, budget, self._work):
                called = f"{name}!{member.name}"
                relative = PurePosixPath(member.name.replace("\\", "/"))
                if member.refusal is not None or member.path is None:
                    yield Unusable(called, member.refusal or ZipBroken("The member can't be unpacked."))
                    continue
                os.utime(member.path, ns=(at, at))  # the archive's age is the member's: a journal knows it again
                if is_dicomdir(_head(member.path)):
                    yield from self._directory(member.path, called, relative, place)
                    member.path.unlink(missing_ok=True)
                else:
                    yield from self._file(
                        member.path, called, relative, place, ours=True, within=_Within(budget, depth)
                    )
        except (ZipBroken, ZipHostile) as problem:
            if depth > 1 and budget.total_bytes < 0:
                raise
            yield Unusable(name, problem)
            return
        yield from _missing(place, name)


def looks_like_dicom(path: Path, head: bytes) -> bool:
    """Tell whether a file is DICOM: by its prefix, or, without one, by a header that names its instance."""
    if head[128:132] == b"DICM":
        return True
    if len(head) < 8 or not (0 < int.from_bytes(head[:2], "little") <= 0x10 or 0 < int.from_bytes(head[:2]) <= 0x10):
        return False
    with path.open("rb") as file:
        beginning = file.read(_HEADER_BYTES)
    try:
        header = read_header(beginning)
    except DicomInvalid:
        return False
    return bool(header.sop_instance_uid and header.sop_class_uid)


def measure(paths: Sequence[Path]) -> int:
    """Return how many bytes lie below ``paths``, for the progress bar."""
    total = 0
    for path in paths:
        root = path if path.is_dir() else path.parent if path.is_file() and is_dicomdir(_head(path)) else None
        if root is None:
            total += path.stat().st_size if path.is_file() else 0
        else:
            total += sum(found.stat().st_size for found, problem in _files(root) if problem is None)
    return total


def _files(root: Path) -> Iterator[tuple[Path, FileUnreadable | None]]:
    """Yield the regular files below a folder in the order of their names, and folders that can't be read."""
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                there = sorted(entries, key=lambda entry: entry.name)
        except OSError as problem:
            yield folder, unreadable(problem)
            continue
        for entry in there:
            if entry.is_file(follow_symlinks=False):
                yield Path(entry.path), None
        folders += [Path(entry.path) for entry in reversed(there) if entry.is_dir(follow_symlinks=False)]


def _missing(place: _Place, name: str) -> Iterator[Unusable]:
    for compared, called in place.listed.items():
        if compared not in place.seen:
            yield Unusable(
                f"{name}: {called}",
                ListedFileMissing("The DICOMDIR lists a file that is not there: ask who made the medium."),
            )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError:
        return b""  # it is named as unreadable when its turn comes


def unreadable(problem: OSError) -> FileUnreadable:
    """Return the refusal of a file that the file system does not give."""
    return FileUnreadable(f"The file can't be read ({problem.strerror}): copy it again, or ask for another medium.")
