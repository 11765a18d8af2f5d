"""The types that an object passes through: Received -> Validated -> Stored -> Indexed. Each can only be made from the one before."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from consilium_archive.packing import Packed
from consilium_archive.sequences import ItemValue
from consilium_dicom.check_header import Order
from consilium_dicom.header import Header
from consilium_dicom.policy import STORE_ALL, Policy
from consilium_dicom.transport import NOTHING_STATED, Stated

OriginKind = Literal["stow", "capture", "dimse", "import"]


@dataclass(frozen=True, slots=True)
class Origin:
    """How an object came to us; ids only."""

    kind: OriginKind = "stow"
    room_id: str = ""
    capture_id: str = ""
    upload_id: str = ""
    site_id: str = ""  # of the agent that uploaded it, from its token
    sender: str = ""  # calling AE title, subject of the token, or the command line's user: for index and quarantine desk, not for events
    address: str = ""  # a DIMSE peer's

    def facts(self) -> dict[str, str]:
        """Return what the event ``instance.stored`` says of it."""
        named = {"room_id": self.room_id, "capture_id": self.capture_id, "upload_id": self.upload_id}
        named["site_id"] = self.site_id
        return {"origin": self.kind, **{key: value for key, value in named.items() if value}}

    def told(self) -> dict[str, str]:
        """Return what the quarantine desk is shown of it: the event's facts and who sent it."""
        sent = {"sender": self.sender, "address": self.address}
        return self.facts() | {key: value for key, value in sent.items() if value}


@dataclass(frozen=True, slots=True)
class Received:
    """A whole object as its sender gave it, in memory or in a spool file that the receiver removes afterwards."""

    tenant: str
    data: bytes | bytearray | None
    path: Path | None = None
    study_uid: str = ""
    origin: Origin = field(default_factory=Origin)
    sop_instance_uid: str = ""  # which instance the sender says it is; empty: nothing was said
    stated: Stated = NOTHING_STATED  # length and SHA-256 as the sender names them
    order: Order | None = None  # what was ordered, where the receiver knows it
    cleared: bool = False  # released by the quarantine desk: nothing holds it again


@dataclass(frozen=True, slots=True)
class Warned:
    """One finding that does not stop an object: stable code, sentence in both languages, who can mend it, element."""

    code: str
    detail: str
    text_zh: str = ""
    mend: str = ""
    tag_path: str = ""


@dataclass(frozen=True, slots=True)
class Validated:
    """An object that may be stored, and everything the index will say of it."""

    received: Received
    header: Header
    sha256: str
    size_bytes: int
    metadata: Packed
    summary: str
    frame_index: bytes | None
    warnings: tuple[Warned, ...] = ()
    items: tuple[ItemValue, ...] = ()  # values inside sequences that searches match
    policy: Policy = STORE_ALL  # what holds it, also where only the index can tell


@dataclass(frozen=True, slots=True)
class Stored:
    """An object whose bytes are durable under ``key`` since ``kept_at``; ``again``: its instance is indexed, and the store had lost them."""

    validated: Validated
    key: str
    kept_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    again: bool = False


@dataclass(frozen=True, slots=True)
class Indexed:
    """An object that can be found and read; ``fresh`` is False when it was here before, byte for byte."""

    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    patient_id: str
    sha256: str
    size_bytes: int
    received_at: datetime
    fresh: bool
    warnings: tuple[Warned, ...] = ()


def quarantine_key(tenant: str, sha256: str) -> str:
    """Return where a held object lies: content-addressed below its tenant, apart from what can be read."""
    return f"quarantine/{tenant}/{sha256[:2]}/{sha256}.dcm"


def original_key(tenant: str, sha256: str) -> str:
    """Return where an original lies: content-addressed below its tenant."""
    return f"originals/{tenant}/{sha256[:2]}/{sha256}.dcm"
