"""Objects in flight: in memory while they are small and there is room, else in a file that is removed at the end.

The budget bounds the memory of all requests of the process together; a refused reservation only means "on disk instead".
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from consilium_core.errors import ConsiliumError
from consilium_dicom.transport import NOTHING_STATED, Stated
from consilium_ingest.errors import ObjectTooLarge

_DRAIN_BYTES = 1 << 20


@dataclass
class Budget:
    """How many bytes may lie in memory at once."""

    total_bytes: int
    used_bytes: int = 0

    def reserve(self, size: int) -> bool:
        """Take ``size`` bytes if there is room."""
        if self.used_bytes + size > self.total_bytes:
            return False
        self.used_bytes += size
        return True

    def release(self, size: int) -> None:
        """Give them back."""
        self.used_bytes -= size


@dataclass(frozen=True)
class Spool:
    """Where and how objects in flight are kept."""

    folder: Path
    budget: Budget
    above_bytes: int
    max_bytes: int

    def part(self, content_type: str = "") -> Part:
        """Return an empty part."""
        return Part(self, content_type)


@dataclass
class Part:
    """One object while it arrives. ``write`` never waits; ``drain`` moves what does not fit in memory to the file."""

    spool: Spool
    content_type: str = ""
    size: int = 0
    memory: bytearray = field(default_factory=bytearray)
    reserved: int = 0
    path: Path | None = None
    stated: Stated = NOTHING_STATED
    content_location: str = ""
    content_id: str = ""
    alone: bool = False  # all of its request is here, and it is the only part
    refusal: ConsiliumError | None = (
        None  # why there are no bytes: the part stands for an object that could not be made
    )
    _file: IO[bytes] | None = None

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes; raise ObjectTooLarge."""
        self.size += len(data)
        if self.size > self.spool.max_bytes:
            raise ObjectTooLarge(f"An object may have at most {self.spool.max_bytes} bytes.")
        self.memory += data

    def hold(self) -> bool:
        """Reserve memory for what was written; False: ``drain`` must be awaited before more is taken."""
        if self._file is not None:
            return len(self.memory) < _DRAIN_BYTES
        missing = len(self.memory) - self.reserved
        if missing <= 0:
            return True
        if len(self.memory) > self.spool.above_bytes or not self.spool.budget.reserve(missing):
            return False
        self.reserved += missing
        return True

    async def drain(self) -> None:
        """Keep the memory inside its bounds; call after each chunk of the request."""
        if self.hold():
            return
        if self._file is None:
            self._open()
        if len(self.memory) >= _DRAIN_BYTES:
            await self._flush()

    def _open(self) -> None:
        self.spool.budget.release(self.reserved)
        self.reserved = 0
        descriptor, name = tempfile.mkstemp(dir=self.spool.folder, suffix=".part")
        self._file, self.path = os.fdopen(descriptor, "wb", buffering=0), Path(name)

    async def _flush(self) -> None:
        if self._file is not None and self.memory:
            data, self.memory = self.memory, bytearray()
            await asyncio.to_thread(_write_all, self._file, data)

    async def finish(self) -> None:
        """Write out the rest; afterwards ``memory`` or ``path`` holds the whole object."""
        await self.drain()
        if self._file is not None:
            await self._flush()
            self._file.close()
            self._file = None

    def discard(self) -> None:
        """Give memory and file back; may be called twice."""
        self.spool.budget.release(self.reserved)
        self.reserved = 0
        self.memory = bytearray()
        if self._file is not None:
            self._file.close()
            self._file = None
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            self.path = None


def _write_all(file: IO[bytes], data: bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def sweep(folder: Path) -> None:
    """Remove what a killed process left; nothing there was ever acknowledged."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("*.part"):
        left.unlink(missing_ok=True)
