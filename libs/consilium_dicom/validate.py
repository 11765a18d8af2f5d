"""Decide whether an instance may be stored, and say what is odd about it.

Flows in: the bytes of one file; flows out: a ``ValidationRun`` with a verdict, findings in both languages and the failure
reason that STOW-RS and C-STORE report. Never raises for bad input, never runs unbounded: every fence becomes a finding.
The levels: V0 ``transport``, V1 here, V2 ``check_header`` and ``check_iod``, V3 ``check_pixels`` and ``check_video``, V4 and V5
``check_header``; what holds an object is ``policy``'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from consilium_dicom.check_header import (
    Order,
    identity_findings,
    order_findings,
    plausibility_findings,
    privacy_findings,
)
from consilium_dicom.check_iod import iod_findings
from consilium_dicom.check_pixels import DecodeFrames, pixel_findings
from consilium_dicom.errors import DicomUnreadable, TooLarge
from consilium_dicom.findings import Finding, failure_reason, finding
from consilium_dicom.header import Header, header_of
from consilium_dicom.policy import DEFAULT_POLICY, Policy, Verdict
from consilium_dicom.scan import Buffer, Fence, Scan, scan
from consilium_dicom.structure import check_items
from consilium_dicom.transport import sniff

__all__ = ["Circumstances", "DecodeFrames", "Finding", "Order", "ValidationRun", "Verdict", "validate"]


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the receiver knows beside the bytes.

    ``transport``: findings of V0. ``today``: YYYYMMDD, the last day on which nothing is in the future anywhere. ``order``: what was
    ordered. ``policy``: what is held.
    """

    transport: tuple[Finding, ...] = ()
    today: str = ""
    order: Order | None = None
    policy: Policy = DEFAULT_POLICY


UNKNOWN = Circumstances()
_PADDING = 65_536  # zeros up to here may follow a data set


@dataclass(frozen=True, slots=True)
class ValidationRun:
    """The outcome; ``failure_reason`` is 0 unless rejected. ``header`` and ``source`` are None when the bytes cannot be parsed."""

    verdict: Verdict
    findings: tuple[Finding, ...]
    failure_reason: int
    header: Header | None
    source: Scan | None = None

    @property
    def fatal(self) -> tuple[Finding, ...]:
        """Return the findings that reject."""
        return tuple(found for found in self.findings if found.fatal)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Return the findings that neither reject nor are mere notes."""
        return tuple(found for found in self.findings if not found.fatal and not found.note)


def validate(
    data: Buffer,
    header: Header | None = None,
    *,
    source: Scan | None = None,
    decode: DecodeFrames = "sample",
    accept_private: bool = True,
    known: Circumstances = UNKNOWN,
) -> ValidationRun:
    """Return the verdict on one file.

    ``decode`` says which compressed frames are decoded: none, the first, middle and last, or all; native ones never need it.
    ``accept_private`` lets vendors' SOP classes pass with a warning. ``header`` is not read again when given, and ``source`` not
    looked at for its structure again (V1 found nothing in a file of the same layout, see ``likeness``).
    """
    found = list(known.transport)
    try:
        if source is None:
            source = scan(data)
            found += _structure(source)
        read = header or header_of(source)
    except TooLarge as error:
        return _run([*found, finding("too-large", why=error.detail)], None, known.policy)
    except DicomUnreadable as error:
        looks = sniff(data)
        foreign = [finding("not-dicom", kind=looks)] if looks else []
        return _run([*found, *foreign, finding("unreadable", why=error.detail)], None, known.policy)
    found += identity_findings(read, accept_private=accept_private)
    found += iod_findings(source, read.sop_class_uid)
    found += plausibility_findings(read, source, known.today)
    if known.order is not None:
        found += order_findings(read, known.order)
    found += pixel_findings(source, read, decode)
    found += privacy_findings(source, read)
    return _run(found, read, known.policy, source)


def _run(found: list[Finding], header: Header | None, policy: Policy, source: Scan | None = None) -> ValidationRun:
    found.sort(key=lambda item: (not item.fatal, item.note))  # what rejects first, mere notes last
    reasons = [failure_reason(item.code) for item in found if item.fatal]
    return ValidationRun(policy.verdict(found), tuple(found), reasons[0] if reasons else 0, header, source)


def _structure(source: Scan) -> Iterator[Finding]:
    """V1: yield what is wrong with the container; raises for sequences that are broken."""
    if not source.has_preamble:
        yield finding("no-preamble")
    if 0x00020010 not in source.meta:
        yield finding("no-transfer-syntax", "(0002,0010)")
    if source.vr_mismatch:
        yield finding("vr-mismatch", "(0002,0010)")
    if source.truncated and not _ends_in_pixels(source):
        yield finding("truncated")
    rest = len(source.buffer) - source.end
    if not source.truncated and (rest > _PADDING or bytes(source.buffer[source.end :]).strip(b"\0")):
        yield finding("trailing-bytes", count=rest)
    if not source.truncated:
        check_items(source.buffer, source.elements, source.encoding, Fence())


def _ends_in_pixels(source: Scan) -> bool:
    return bool(source.elements) and next(reversed(source.elements)) >> 16 == 0x7FE0
