"""The answer to a STOW-RS request as DICOM JSON (PS3.18 10.5.3 and annex I), and its status; ordered by tag (F.2.2).

What names its SOP class and instance fails in the Failed SOP Sequence, anything else in Other Failures. A failed item carries Failure Reason and
a short Error Comment, a stored one Warning Reason where annex I.2 has one; both carry, in our private group, the whole sentence, the codes, and
finding by finding the words in both languages and who can mend it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from consilium_archive.stages import Indexed
from consilium_core.errors import Exhausted, Unavailable
from consilium_ingest.about import Refused
from consilium_ingest.said import Said, comment, said, warned, warning_reason
from consilium_ingest.stow import Answer, failure_reason

PRIVATE_CREATOR = "CONSILIUM STOW"


def status_of_answers(answers: list[Answer]) -> int:
    """Return 200 all stored without a Warning Reason, 202 some or with one, 409 none, 503 none for want of a working store."""
    stored = [answer for answer in answers if isinstance(answer, Indexed)]
    if len(stored) == len(answers):
        return 202 if any(warning_reason(answer.warnings) for answer in stored) else 200
    if stored:
        return 202
    refused = [answer.problem for answer in answers if isinstance(answer, Refused)]
    return 503 if all(isinstance(problem, Unavailable | Exhausted) for problem in refused) else 409


def unreadable(answers: list[Answer]) -> bool:
    """Tell whether nothing in the request could even be parsed: then the request itself is bad (400)."""
    return all(isinstance(a, Refused) and failure_reason(a.problem) == 0xC000 for a in answers)


def response_body(answers: list[Answer], base_url: str) -> dict[str, Any]:
    """Return the Store Instances Response Module."""
    stored = [answer for answer in answers if isinstance(answer, Indexed)]
    refused = [answer for answer in answers if isinstance(answer, Refused)]
    studies = sorted({answer.study_uid for answer in stored})
    # type 2: there, and empty when there is not one study
    body: dict[str, Any] = {
        "00081190": _values("UR", [f"{base_url}/studies/{studies[0]}"] if len(studies) == 1 else [])
    }
    for tag, items in (
        ("00081198", [_failed_item(answer) for answer in refused if _named(answer)]),
        ("00081199", [_stored_item(answer, base_url) for answer in stored]),
        ("0008119A", [_failed_item(answer) for answer in refused if not _named(answer)]),
    ):
        if items:
            body[tag] = _values("SQ", items)
    return body


def _stored_item(answer: Indexed, base_url: str) -> dict[str, Any]:
    url = f"{base_url}/studies/{answer.study_uid}/series/{answer.series_uid}/instances/{answer.sop_instance_uid}"
    item = {
        "00081150": _values("UI", [answer.sop_class_uid]),
        "00081155": _values("UI", [answer.sop_instance_uid]),
        "00081190": _values("UR", [url]),
    }
    if answer.warnings:
        item |= _private("; ".join(one.detail for one in answer.warnings), warned(answer.warnings))
    if reason := warning_reason(answer.warnings):
        item["00081196"] = _values("US", [reason])
    return dict(sorted(item.items()))


def _uids(refused: Refused) -> tuple[str, str]:
    """Return the SOP class and instance, as far as they are known."""
    known, facts = refused.about, refused.problem.facts
    return (
        known.sop_class_uid or str(facts.get("sop_class_uid", "")),
        known.sop_instance_uid or str(facts.get("sop_instance_uid", "")),
    )


def _named(refused: Refused) -> bool:
    """Tell whether both UIDs are known that an item of the Failed SOP Sequence must have."""
    return all(_uids(refused))


def _failed_item(refused: Refused) -> dict[str, Any]:
    problem = refused.problem
    item = {
        "00000902": _values("LO", [comment(problem)]),
        "00081197": _values("US", [failure_reason(problem)]),
        **_private(problem.detail, said(problem)),
    }
    for tag, uid in zip(("00081150", "00081155"), _uids(refused), strict=True):
        if uid:
            item[tag] = _values("UI", [uid])
    return dict(sorted(item.items()))


def _private(text: str, found: Sequence[Said]) -> dict[str, Any]:
    return {
        "00090010": _values("LO", [PRIVATE_CREATOR]),
        "00091001": _values("UT", [text]),
        "00091002": _values("LO", [one.code for one in found]),
        "00091003": _values("SQ", [_finding_item(one) for one in found]),
    }


def _finding_item(one: Said) -> dict[str, Any]:
    values = {"00091004": ("LO", one.code), "00091005": ("UT", one.en), "00091006": ("UT", one.zh)}
    values |= {"00091007": ("LO", one.mend), "00091008": ("LO", one.tag_path)}
    told = {tag: _values(vr, [text]) for tag, (vr, text) in values.items() if text}
    return {"00090010": _values("LO", [PRIVATE_CREATOR]), **told}


def _values(vr: str, values: Sequence[Any]) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}
