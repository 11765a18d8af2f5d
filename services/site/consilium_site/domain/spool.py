"""One object waiting for its receipt: the manifest beside the file, and the rule when it may go (SP-35, SP-36). Pure."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from consilium_core.site_protocol import Receipt
from consilium_site.errors import ReceiptMismatch


class Manifest(BaseModel):
    """What the spool knows of an object: ids only, no patient data; ``upload_url`` once tus has created it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    capture_id: str
    command_id: str
    room_id: str
    kind: Literal["still", "clip"]
    sha256: str
    size_bytes: int
    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    frames: int
    lossless: bool
    media_epoch: int
    frame_no: int
    captured_at_us: int
    spooled_at: str
    upload_url: str = ""

    @property
    def priority(self) -> int:
        """Return the lane: stills go before clips."""
        return 0 if self.kind == "still" else 1

    def outcome(self) -> dict[str, object]:
        """Return the facts of a capture's result (SP-26)."""
        return self.model_dump(exclude={"command_id", "room_id", "spooled_at", "upload_url"})


def check_receipt(manifest: Manifest, receipt: Receipt) -> None:
    """Raise ReceiptMismatch unless the receipt names exactly our bytes (SP-35)."""
    ours = (manifest.sha256, manifest.size_bytes, manifest.sop_instance_uid)
    theirs = (receipt.sha256.lower(), receipt.size_bytes, receipt.sop_instance_uid)
    if ours != theirs:
        raise ReceiptMismatch("The receipt names other bytes than the spooled object.", capture_id=manifest.capture_id)


SMALLEST_CHUNK_BYTES = 256 * 1024
LARGEST_CHUNK_BYTES = 4 * 2**20


def smaller_chunk_bytes(size_bytes: int) -> int:
    """Return the next chunk's size after one that did not get through."""
    return max(SMALLEST_CHUNK_BYTES, size_bytes // 2)


def next_chunk_bytes(size_bytes: int, took_s: float) -> int:
    """Return the next chunk's size so that one takes 2 to 5 s (SP-34)."""
    if took_s < 2.0:
        return min(LARGEST_CHUNK_BYTES, size_bytes * 2)
    if took_s > 5.0:
        return smaller_chunk_bytes(size_bytes)
    return size_bytes
