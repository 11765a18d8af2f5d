"""The answer to a STOW-RS request as DICOM JSON (PS3.18 10.5.3, table 10.5.3-2), and its status.

A failed item carries Failure Reason, a short Error Comment, and in our private group the full sentence and the finding codes.
"""

from __future__ import annotations

from typing import Any

from consilium_archive.errors import InstanceHeld, InstanceRejected
from consilium_archive.stages import Indexed
from consilium_core.errors import ConsiliumError, Exhausted, Unavailable
from consilium_ingest.stow import Answer, failure_reason

PRIVATE_CREATOR = "CONSILIUM STOW"


def status_of_answers(answers: list[Answer]) -> int:
    """Return 200 all stored, 202 some, 409 none, 503 none for want of a working store."""
    stored = sum(isinstance(answer, Indexed) for answer in answers)
    if stored == len(answers):
        return 200
    if stored:
        return 202
    return 503 if all(isinstance(answer, Unavailable | Exhausted) for answer in answers) else 409


def unreadable(answers: list[Answer]) -> bool:
    """Tell whether nothing in the request could even be parsed: then the request itself is bad (400)."""
    return all(isinstance(a, ConsiliumError) and failure_reason(a) == 0xC000 for a in answers)


def response_body(answers: list[Answer], base_url: str) -> dict[str, Any]:
    """Return the Store Instances Response Module."""
    stored = [answer for answer in answers if isinstance(answer, Indexed)]
    failed = [answer for answer in answers if isinstance(answer, ConsiliumError)]
    body: dict[str, Any] = {}
    studies = sorted({answer.study_uid for answer in stored})
    if len(studies) == 1:
        body["00081190"] = _value("UR", f"{base_url}/studies/{studies[0]}")
    if stored:
        body["00081199"] = {"vr": "SQ", "Value": [_stored_item(answer, base_url) for answer in stored]}
    if failed:
        body["00081198"] = {"vr": "SQ", "Value": [_failed_item(answer) for answer in failed]}
    return body


def _stored_item(answer: Indexed, base_url: str) -> dict[str, Any]:
    url = f"{base_url}/studies/{answer.study_uid}/series/{answer.series_uid}/instances/{answer.sop_instance_uid}"
    item = {
        "00081150": _value("UI", answer.sop_class_uid),
        "00081155": _value("UI", answer.sop_instance_uid),
        "00081190": _value("UR", url),
    }
    if answer.warnings:
        item |= _private("; ".join(w.detail for w in answer.warnings), [w.code for w in answer.warnings])
    return item


def _failed_item(refusal: ConsiliumError) -> dict[str, Any]:
    codes = [refusal.code]
    if isinstance(refusal, InstanceRejected | InstanceHeld):
        codes = [*(codes if isinstance(refusal, InstanceHeld) else []), *(one["code"] for one in refusal.findings)]
    item: dict[str, Any] = {
        "00000902": _value("LO", refusal.detail[:64]),
        "00081197": _value("US", failure_reason(refusal)),
        **_private(refusal.detail, codes),
    }
    for tag, name in (("00081150", "sop_class_uid"), ("00081155", "sop_instance_uid")):
        if refusal.facts.get(name):
            item[tag] = _value("UI", refusal.facts[name])
    return dict(sorted(item.items()))


def _private(text: str, codes: list[str]) -> dict[str, Any]:
    return {
        "00090010": _value("LO", PRIVATE_CREATOR),
        "00091001": _value("UT", text),
        "00091002": {"vr": "LO", "Value": codes},
    }


def _value(vr: str, value: str | int) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]}
