"""Whose data a page shows: what the audit trail must name before the page is sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple


class Shown(NamedTuple):
    """One patient of a page; ``study_uid`` only where the patient has no id: such studies are not one patient's."""

    patient_id: str
    issuer: str
    study_uid: str = ""


def shown_by(rows: Iterable[Any]) -> tuple[Shown, ...]:
    """Return the patients of rows that hold ``patient_id``, ``issuer`` and ``study_uid``, each once, in order."""
    found = [(row.patient_id, row.issuer, "" if row.patient_id else row.study_uid) for row in rows]
    return tuple(map(Shown._make, dict.fromkeys(found)))
