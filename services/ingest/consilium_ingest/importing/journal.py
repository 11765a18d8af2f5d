"""Which files of an unfinished import are in, so that the next run goes on where a killed one stood.

One line of JSON per stored file, keyed by name, size, time of change and SHA-256; a line that was cut off counts as none. The
journal speeds a second run up and is never needed: storing again is idempotent. An import that reaches its end removes it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from consilium_ingest.importing.sources import Found

_CHUNK_BYTES = 1 << 20


@contextmanager
def open_journal(path: Path) -> Iterator[Journal]:
    """Read what a run before left, and go on writing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known: set[str] = set()
    if path.exists():
        for line in path.read_text("utf-8", "replace").splitlines():
            try:
                key = json.loads(line)
            except ValueError:
                continue  # cut off by the end of its process
            if isinstance(key, str):
                known.add(key)
    with path.open("a", encoding="utf-8") as file:
        file.write("\n")  # what was cut off must not swallow the next line
        yield Journal(path, known, file)


class Journal:
    """The journal of one target."""

    def __init__(self, path: Path, known: set[str], file: IO[str]) -> None:
        self.path = path
        self._known = known
        self._file = file

    def knows(self, found: Found, sha256: str) -> bool:
        """Tell whether these very bytes are in."""
        return _key(found, sha256) in self._known

    def add(self, stored: list[tuple[Found, str]]) -> None:
        """Write down files that were acknowledged, each with its SHA-256."""
        self._file.writelines(json.dumps(_key(found, sha256)) + "\n" for found, sha256 in stored)
        self._file.flush()

    def remove(self) -> None:
        """Forget everything: the import is complete."""
        self.path.unlink(missing_ok=True)


def _key(found: Found, sha256: str) -> str:
    name = os.fsencode(found.name)
    return f"{hashlib.sha256(name).hexdigest()[:32]} {found.size_bytes} {found.modified_ns} {sha256}"


def digest(path: Path) -> str:
    """Return a file's SHA-256."""
    engine = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            engine.update(chunk)
    return engine.hexdigest()


def journal_name(tenant: str, target: str) -> str:
    """Return the file name of a target's journal."""
    return f"import-{hashlib.sha256(f'{tenant}@{target}'.encode()).hexdigest()[:16]}.journal"
