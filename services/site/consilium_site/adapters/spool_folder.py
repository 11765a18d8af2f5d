"""The spool as a folder: ``<capture_id>.dcm`` beside ``<capture_id>.json``; the manifest's rename makes the entry exist (SP-36).

An object without a manifest is the trace of a crash before anything was promised; it is removed at start. Files have mode 0600.
"""

from __future__ import annotations

import errno
import re
import threading
from pathlib import Path

import structlog
from pydantic import ValidationError

from consilium_site.adapters.state_folder import sync_folder, write_durably
from consilium_site.domain.spool import Manifest
from consilium_site.errors import SpoolFull

log = structlog.get_logger(__name__)
_SAFE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class SpoolFolder:
    """``ports.Spool`` on a folder; one process uses it."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._lock = threading.RLock()
        for folder in (path, path / "quarantine"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._clean()

    def _clean(self) -> None:
        for part in self._path.glob(".*.part"):
            part.unlink()
        for file in self._path.glob("*.dcm"):
            if not file.with_suffix(".json").is_file():
                file.unlink()
                log.info("spool_orphan_removed")

    def _files(self, capture_id: str) -> tuple[Path, Path]:
        if not _SAFE_ID.fullmatch(capture_id):
            raise ValueError("a capture id holds letters, digits, - and _ only")
        return self._path / f"{capture_id}.dcm", self._path / f"{capture_id}.json"

    def put(self, manifest: Manifest, body: bytes) -> None:
        """Make the entry durable: object first, manifest last."""
        with self._lock:
            _, used = self.unacknowledged()
            if used + len(body) > self._max_bytes:
                raise SpoolFull(
                    "The spool on the agent's disk is full; nothing unsent is ever removed. Restore the link."
                )
            target, sheet = self._files(manifest.capture_id)
            try:
                write_durably(target, body)
                write_durably(sheet, manifest.model_dump_json().encode())
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise SpoolFull(
                    "The agent's disk is full: free space on it; nothing unsent is ever removed."
                ) from error

    def entries(self) -> list[Manifest]:
        """Return what waits, stills first, oldest first; damaged manifests go to quarantine."""
        found = []
        with self._lock:
            for sheet in sorted(self._path.glob("*.json")):
                if not sheet.with_suffix(".dcm").is_file():
                    log.error("spool_object_missing")
                    self._set_aside(sheet.stem)
                    continue
                try:
                    found.append(Manifest.model_validate_json(sheet.read_bytes()))
                except ValidationError:
                    log.exception("spool_manifest_damaged")
                    self._set_aside(sheet.stem)
        return sorted(found, key=lambda m: (m.priority, m.spooled_at))

    def find(self, capture_id: str) -> Manifest | None:
        """Return the entry of a capture."""
        return next((m for m in self.entries() if m.capture_id == capture_id), None)

    def update(self, manifest: Manifest) -> None:
        """Replace the manifest."""
        with self._lock:
            write_durably(self._files(manifest.capture_id)[1], manifest.model_dump_json().encode())

    def read(self, manifest: Manifest, offset: int, size: int) -> bytes:
        """Return a piece of the object."""
        with self._files(manifest.capture_id)[0].open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def remove(self, manifest: Manifest) -> None:
        """Forget the entry: manifest first, so that a crash between leaves an orphan, not a promise."""
        with self._lock:
            target, sheet = self._files(manifest.capture_id)
            sheet.unlink(missing_ok=True)
            sync_folder(self._path)
            target.unlink(missing_ok=True)

    def quarantine(self, manifest: Manifest, reason: str) -> None:
        """Move object and manifest aside with the reason beside them (SP-37)."""
        with self._lock:
            write_durably(self._path / "quarantine" / f"{manifest.capture_id}.reason", reason.encode())
            self._set_aside(manifest.capture_id)

    def _set_aside(self, stem: str) -> None:
        for suffix in (".dcm", ".json"):
            file = self._path / f"{stem}{suffix}"
            if file.exists():
                file.replace(self._path / "quarantine" / file.name)
        sync_folder(self._path / "quarantine")
        sync_folder(self._path)

    def unacknowledged(self) -> tuple[int, int]:
        """Return (objects, bytes) that wait."""
        sizes = [f.stat().st_size for f in self._path.glob("*.dcm") if f.with_suffix(".json").exists()]
        return len(sizes), sum(sizes)
