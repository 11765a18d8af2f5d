"""The earlier studies of one person, as far as the index can be sure that they are that person's.

Patient ID and its issuer must agree. A study whose birth date, sex or name contradicts is left out, and so is one that names no issuer (or of a
person without one, or of both) unless the birth date agrees: the same number in two hospitals is two people.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from consilium_archive.dicom_json import members_of
from consilium_archive.identity import Person, day_of, differences
from consilium_archive.prior_rule import Prior
from consilium_archive.tables import instance, series, study
from consilium_platform.sql import Database

_NEWEST = 200


def surely_same(person: Person, of_study: Person) -> bool:
    """Tell whether nothing leaves a doubt that a study is the person's."""
    if not person.patient_id or person.patient_id != of_study.patient_id:
        return False
    if not person.issuer or person.issuer != of_study.issuer:
        born, day = day_of(person.birth_date), day_of(of_study.birth_date)
        if (person.issuer and of_study.issuer) or not born or born != day:
            return False
    return not differences(of_study, person)


async def studies_of(database: Database, tenant: str, person: Person) -> list[Prior]:
    """Return the newest studies that are surely the person's (200 with the Patient ID are looked at)."""
    return await database.query(partial(_of_person, tenant=tenant, person=person))


async def prior_of(database: Database, tenant: str, study_uid: str) -> Prior | None:
    """Return one study, None where the index has none."""

    def work(session: Session) -> Prior | None:
        asked = select(study).where(study.c.tenant_id == tenant, study.c.study_uid == study_uid)
        found = _facts(session, tenant, session.execute(asked).all())
        return found[0] if found else None

    return await database.query(work)


def _of_person(session: Session, tenant: str, person: Person) -> list[Prior]:
    asked = select(study).where(study.c.tenant_id == tenant, study.c.patient_id == person.patient_id)
    ordered = asked.order_by(study.c.study_date.desc(), study.c.study_time.desc(), study.c.id.desc()).limit(_NEWEST)
    rows = [row for row in session.execute(ordered) if surely_same(person, Person.read(row._asdict()))]
    return _facts(session, tenant, rows)


def _facts(session: Session, tenant: str, rows: Sequence[Any]) -> list[Prior]:
    uids = [row.study_uid for row in rows]
    parts: dict[str, set[str]] = {uid: set() for uid in uids}
    of_series = select(series.c.study_uid, series.c.body_part).where(
        series.c.tenant_id == tenant, series.c.study_uid.in_(uids), series.c.body_part != ""
    )
    for uid, part in session.execute(of_series.distinct()):
        parts[uid].add(part.upper())
    of_instances = select(instance.c.study_uid, func.count(), func.sum(instance.c.size_bytes)).where(
        instance.c.tenant_id == tenant, instance.c.study_uid.in_(uids)
    )
    sizes = {
        uid: (int(count), int(size))
        for uid, count, size in session.execute(of_instances.group_by(instance.c.study_uid))
    }
    return [
        Prior(
            row.study_uid, row.study_date, row.study_time, frozenset(members_of(row.modalities)),
            frozenset(parts[row.study_uid]), *sizes.get(row.study_uid, (0, 0)),
        )
        for row in rows
    ]  # fmt: skip
