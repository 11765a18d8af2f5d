"""One thing that validation says about an instance, made from the catalogue's words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from consilium_core.errors import Mend
from consilium_dicom.catalogue import (
    CANNOT_UNDERSTAND,
    CATALOGUE,
    DOES_NOT_MATCH,
    NOT_SUPPORTED,
    OUT_OF_RESOURCES,
    SYNTAX_NOT_SUPPORTED,
    Level,
)
from consilium_dicom.chinese import in_chinese

__all__ = [
    "CANNOT_UNDERSTAND", "CATALOGUE", "DOES_NOT_MATCH", "NOT_SUPPORTED", "OUT_OF_RESOURCES", "SYNTAX_NOT_SUPPORTED", "Finding",
    "Level", "failure_reason", "finding",
]  # fmt: skip

_REASONS = frozenset({"why", "kind"})  # facts that are words


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong or odd; ``tag_path`` like ``(0028,0010)``, empty for the file as a whole.

    ``fatal`` rejects, ``note`` is only worth knowing; anything between is a warning.
    """

    level: Level
    code: str
    tag_path: str
    text_en: str
    text_zh: str
    mend: Mend
    fatal: bool
    note: bool = False


def finding(code: str, tag_path: str = "", **facts: Any) -> Finding:
    """Return the finding of the catalogue's ``code``, its texts filled with ``facts``."""
    kind = CATALOGUE[code]
    chinese = {name: in_chinese(said) if name in _REASONS else said for name, said in facts.items()}
    return Finding(
        level=kind.level,
        code=code,
        tag_path=tag_path,
        text_en=kind.en.format(**facts),
        text_zh=kind.zh.format(**chinese),
        mend=kind.mend,
        fatal=kind.failure_reason != 0,
        note=kind.note,
    )


def tag_path(tag: int) -> str:
    """Return a tag as findings write it."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def failure_reason(code: str) -> int:
    """Return the failure reason of a finding's code, 0 for one that only warns."""
    return CATALOGUE[code].failure_reason
