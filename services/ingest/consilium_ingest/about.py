"""Whom and what a refused object is about: read again from its header, and only when it was refused.

An answer needs the SOP class and instance, the audit trail the study and the patient; the errors themselves go to senders and into
problems, so the patient is not among their facts.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import structlog

from consilium_archive.index import Outcome
from consilium_archive.prepare import opened
from consilium_archive.stages import Indexed, Received, Stored
from consilium_core.errors import ConsiliumError
from consilium_dicom.errors import DicomInvalid
from consilium_dicom.header import Header, read_header
from consilium_dicom.uids import is_valid_uid

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class About:
    """What is known of an object; empty where nothing is."""

    study_uid: str = ""
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    patient_id: str = ""


NOTHING_KNOWN = About()


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal and the object that it is about."""

    problem: ConsiliumError
    about: About = NOTHING_KNOWN


def of_header(header: Header) -> About:
    """Return what a header says; a UID that is none is left out."""
    named = (header.study_uid, header.sop_class_uid, header.sop_instance_uid)
    study_uid, sop_class_uid, sop_instance_uid = (uid if is_valid_uid(uid) else "" for uid in named)
    return About(study_uid, sop_class_uid, sop_instance_uid, header.patient_id[:128])


def of_facts(problem: ConsiliumError) -> About:
    """Return what a refusal itself names."""
    study_uid, sop_class_uid, sop_instance_uid = (
        str(problem.facts.get(name, "")) for name in ("study_uid", "sop_class_uid", "sop_instance_uid")
    )
    return About(study_uid, sop_class_uid, sop_instance_uid)


async def about(data: bytes | bytearray | None, path: Path | None) -> About:
    """Return whom and what an object is about, as far as it can be read; raises nothing but a cancellation."""
    if data is None and path is None:
        return NOTHING_KNOWN
    return await asyncio.to_thread(_read, Received("", data, path))


def answer_of(stored: Stored, outcome: Outcome) -> Indexed | Refused:
    """Return the answer of an object that was on its way into the index."""
    return outcome if isinstance(outcome, Indexed) else Refused(outcome, of_header(stored.validated.header))


def _read(received: Received) -> About:
    try:
        with opened(received) as data:
            return of_header(read_header(data))
    except (OSError, DicomInvalid):
        return NOTHING_KNOWN
    except Exception as problem:
        log.warning("refused_object_unreadable", error=type(problem).__name__)
        return NOTHING_KNOWN
