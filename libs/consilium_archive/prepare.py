"""Received -> Validated: everything that costs CPU and needs no waiting, made to run in a worker thread.

One pass each for the hash, the verdict, the metadata and the frame index; pixels are decoded only as a sample of compressed frames.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from consilium_archive.dicom_json import instance_attributes
from consilium_archive.errors import InstanceDoubtful, InstanceMismatch, InstanceRejected, StudyMismatch
from consilium_archive.packing import pack
from consilium_archive.sequences import ItemValue, item_values
from consilium_archive.stages import Received, Validated, Warned
from consilium_dicom.errors import DicomInvalid
from consilium_dicom.frames import FrameIndex, index_frames
from consilium_dicom.header import Header
from consilium_dicom.json_text import to_json_text
from consilium_dicom.likeness import Kinds, Like
from consilium_dicom.policy import DEFAULT_POLICY, STORE_ALL, Policy
from consilium_dicom.scan import Scan, scan
from consilium_dicom.transport import arrived
from consilium_dicom.validate import Circumstances, DecodeFrames, Finding, ValidationRun, validate

BULK_DATA_PREFIX = "/dicomweb/studies"
_KINDS = Kinds()


def prepare(received: Received, decode: DecodeFrames = "sample", policy: Policy = DEFAULT_POLICY) -> Validated:
    """Return the object with its verdict, hash, metadata and frame index.

    Raises InstanceRejected, InstanceDoubtful (``policy`` holds it), StudyMismatch or InstanceMismatch.
    """
    with opened(received) as data:
        sha256 = hashlib.sha256(data).hexdigest()
        known = circumstances(received, len(data), sha256, policy)
        like = _KINDS.find(data)
        if like is None:
            run = validate(data, decode=decode, known=known)
        else:
            run = validate(data, like.header, source=like.source, decode=decode, known=known)
        header = accepted(run)
        if received.study_uid and header.study_uid != received.study_uid:
            raise StudyMismatch(
                f"The instance belongs to study {header.study_uid}, the request names {received.study_uid}.",
                sop_class_uid=header.sop_class_uid,
                sop_instance_uid=header.sop_instance_uid,
            )
        if received.sop_instance_uid and header.sop_instance_uid != received.sop_instance_uid:
            raise InstanceMismatch(
                "The data set is another instance than the one that the message names.",
                sop_class_uid=header.sop_class_uid,
                sop_instance_uid=received.sop_instance_uid,
            )
        if run.verdict == "quarantine":
            raise doubtful(run, policy)
        source = run.source or scan(data)
        if like is None and not any(item.level == "V1" for item in run.findings):
            _KINDS.learn(source, header)
        return Validated(
            received=received,
            header=header,
            sha256=sha256,
            size_bytes=len(data),
            metadata=pack(_metadata(source, header, like)),
            summary=instance_attributes(header),
            frame_index=_frame_index(data, header),
            warnings=tuple(
                Warned(item.code, item.text_en, item.text_zh, item.mend, item.tag_path) for item in run.warnings
            ),
            items=_items(source, header, like),
            policy=known.policy,
        )


def circumstances(received: Received, size_bytes: int, sha256: str, policy: Policy) -> Circumstances:
    """Return what is known beside the bytes; in UTC+14 the day begins first, so nothing of today is in the future there."""
    today = (datetime.now(UTC) + timedelta(hours=14)).strftime("%Y%m%d")
    transport = arrived(received.stated, size_bytes, sha256)
    return Circumstances(transport, today, received.order, STORE_ALL if received.cleared else policy)


def doubtful(run: ValidationRun, policy: Policy) -> InstanceDoubtful:
    """Return the error that sends an object to quarantine."""
    held = [item for item in run.findings if item.code in policy.hold]
    uids = {"sop_class_uid": "", "sop_instance_uid": ""}
    if run.header is not None:
        uids = {"sop_class_uid": run.header.sop_class_uid, "sop_instance_uid": run.header.sop_instance_uid}
    words = "; ".join(f"{item.text_en} {item.tag_path}".strip() for item in held)
    reasons = list(dict.fromkeys(item.code for item in held))
    said = [finding_json(item) for item in run.findings]
    return InstanceDoubtful(f"A person must look first: {words}.", reasons, said, **uids)


@contextmanager
def opened(received: Received) -> Iterator[memoryview]:
    """Yield the object's bytes: those in memory, or the spool file mapped."""
    if received.data is not None:
        yield memoryview(received.data)
        return
    if received.path is None:
        raise ValueError("an object has bytes or a path")
    with received.path.open("rb") as file:
        if received.path.stat().st_size == 0:
            yield memoryview(b"")
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            view = memoryview(mapped)
            try:
                yield view
            finally:
                view.release()


def accepted(run: ValidationRun) -> Header:
    """Return the header of an accepted run; raise InstanceRejected with every finding of a rejected one."""
    if run.verdict != "reject" and run.header is not None:
        return run.header
    words = "; ".join(f"{item.text_en}{f' {item.tag_path}' if item.tag_path else ''}" for item in run.fatal)
    known: dict[str, str] = {}
    if run.header is not None:
        known = {"sop_class_uid": run.header.sop_class_uid, "sop_instance_uid": run.header.sop_instance_uid}
    raise InstanceRejected(
        f"The object can't be stored: {words}.",
        run.failure_reason,
        [finding_json(item) for item in run.findings],
        **{name: uid for name, uid in known.items() if uid},
    )


def finding_json(item: Finding) -> dict[str, str]:
    """Return a finding as JSON."""
    return {
        "code": item.code,
        "level": item.level,
        "tag_path": item.tag_path,
        "text_en": item.text_en,
        "text_zh": item.text_zh,
        "mend": item.mend,
    }


def _metadata(source: Scan, header: Header, like: Like | None) -> bytes:
    base = f"{BULK_DATA_PREFIX}/{header.study_uid}/series/{header.series_uid}/instances/{header.sop_instance_uid}"
    text = to_json_text(source, header, f"{base}/bulkdata") if like is None else like.json_text(f"{base}/bulkdata")
    return text.encode()


def _items(source: Scan, header: Header, like: Like | None) -> tuple[ItemValue, ...]:
    if like is None:
        return item_values(source, header)
    if "items" not in like.kind.memo:  # sequences do not differ
        like.kind.memo["items"] = item_values(source, header)
    found: tuple[ItemValue, ...] = like.kind.memo["items"]
    return found


def _frame_index(data: memoryview, header: Header) -> bytes | None:
    if not header.has_pixels:
        return None
    try:
        index = index_frames(data, header)
    except DicomInvalid:
        return None  # e.g. video: validated as a whole, retrieved as a whole
    return pack_frame_index(index)


def pack_frame_index(index: FrameIndex) -> bytes:
    """Return the index as it is kept in a row; native frames of a series lie alike."""
    return _packed(index) if index.segments else _packed_native(index)


@lru_cache(maxsize=256)
def _packed_native(index: FrameIndex) -> bytes:
    return _packed(index)


def _packed(index: FrameIndex) -> bytes:
    return zlib.compress(json.dumps(index.to_json(), separators=(",", ":")).encode(), 1)


def unpack_frame_index(data: bytes) -> FrameIndex:
    """Return the index of a row."""
    return FrameIndex.from_json(json.loads(zlib.decompress(data)))
