"""The entries ``instance.store`` of one request or batch: what came in for whom, and what was refused of whom, why, and where it is held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consilium_archive.stages import Indexed
from consilium_ingest.about import Refused
from consilium_ingest.said import cause
from consilium_platform.audit import AuditRecord, Outcome

_NAMED = 100


@dataclass(frozen=True, slots=True)
class Who:
    """Whose act it is, and its word for storing."""

    tenant: str
    actor: str
    role: str
    verb: str = "stored"


def store_entries(who: Who, answers: Sequence[Indexed | Refused]) -> list[AuditRecord]:
    """Return one entry per patient for what is stored, one per patient for what is not; none for no object at all.

    What can't be told whose it is has an entry of its own only when nothing was stored; else the stored ones' count it.
    """
    refused = [answer for answer in answers if isinstance(answer, Refused)]
    codes = ", ".join(sorted({answer.problem.code for answer in refused}))
    also = f", refused {len(refused)}: {codes}" if refused else ""
    stored: dict[str, list[Indexed]] = {}
    for answer in answers:
        if isinstance(answer, Indexed):
            stored.setdefault(answer.patient_id[:128], []).append(answer)
    done = [
        _record(who, "success", [one.study_uid for one in mine], patient_id, f"{who.verb} {len(mine)}{also}")
        for patient_id, mine in stored.items()
    ]
    failed: dict[str, list[Refused]] = {}
    for one in refused:
        if one.about.sop_instance_uid or not stored:
            failed.setdefault(one.about.patient_id, []).append(one)
    return done + [
        _record(who, "failure", [one.about.study_uid for one in mine], patient_id, f"{who.verb} 0, {refusals(mine)}")
        for patient_id, mine in failed.items()
    ]


def refusals(refused: Sequence[Refused]) -> str:
    """Return ``refused N: code`` and, instance by instance, the cause with the quarantine's entry."""
    codes = ", ".join(sorted({one.problem.code for one in refused}))
    named = [named_cause(one) for one in refused if one.about.sop_instance_uid]
    more = f"; and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return f"refused {len(refused)}: {codes}" + (f" ({'; '.join(named[:_NAMED])}{more})" if named else "")


def named_cause(one: Refused) -> str:
    """Return an instance's UID and why it was refused."""
    return f"{one.about.sop_instance_uid} {cause(one.problem)}"


def _record(who: Who, outcome: Outcome, studies: Sequence[str], patient_id: str, detail: str) -> AuditRecord:
    subject = " ".join(sorted({uid for uid in studies if uid}))[:256]
    return AuditRecord(who.tenant, who.actor, who.role, "instance.store", outcome, subject, patient_id, detail)
