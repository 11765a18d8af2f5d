"""One transaction that indexes a group of stored objects and writes their events (store, then index, then announce).

The order of statements keeps concurrent writers of one study from waiting for each other in a circle: studies, instances,
series, each sorted by UID. An instance that is already there with the same bytes is a success; with others it is refused.
Plain functions of a synchronous session: ``Database.transact`` runs them on either world.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from consilium_archive.errors import InstanceConflict, PatientMismatch
from consilium_archive.identity import Person, judged, of_two_modalities, of_two_studies, shared_id
from consilium_archive.rows import (
    Row,
    event_data,
    instance_row,
    item_rows,
    merged,
    patient_columns,
    series_row,
    study_row,
)
from consilium_archive.stages import Indexed, Stored, Validated, Warned
from consilium_archive.tables import instance, item, series, study
from consilium_core.errors import ConsiliumError
from consilium_core.events import EventType
from consilium_dicom.header import Header
from consilium_platform.hot import Hot
from consilium_platform.outbox import add_rows, event_row

Outcome = Indexed | ConsiliumError
StudyKey = tuple[str, str]
Said = defaultdict[tuple[str, str], list[Warned]]
"""What only the index can warn of, by tenant and SOP Instance UID."""
_KNOWN_OF_STUDY = (
    study.c.id, study.c.patient_id, study.c.issuer, study.c.patient_name, study.c.birth_date, study.c.sex, study.c.modalities,
    study.c.sop_classes, study.c.instance_count,
)  # fmt: skip


def _claim(upsert: Any) -> Any:
    new = upsert(study).values({c.name: bindparam(c.name) for c in study.c if c.name != "id"})
    claimed = new.on_conflict_do_update(
        index_elements=["tenant_id", "study_uid"], set_={"updated_at": new.excluded.updated_at}
    )
    return claimed.returning(*_KNOWN_OF_STUDY)


def _touch() -> Any:
    mine = (study.c.tenant_id == bindparam("of_tenant"), study.c.study_uid == bindparam("of_study"))
    touched = update(study).where(*mine).values(updated_at=bindparam("at", type_=study.c.updated_at.type))
    return touched.returning(*_KNOWN_OF_STUDY).execution_options(synchronize_session=False)


def _more_in_series() -> Any:
    mine = (
        series.c.tenant_id == bindparam("of_tenant"), series.c.study_uid == bindparam("of_study"),
        series.c.series_uid == bindparam("of_series"),
    )  # fmt: skip
    counted = update(series).where(*mine).values(instance_count=series.c.instance_count + bindparam("more"))
    counted = counted.returning(series.c.instance_count, series.c.modality)
    return counted.execution_options(synchronize_session=False)


def _add_series(upsert: Any) -> Any:
    new = upsert(series).values({c.name: bindparam(c.name) for c in series.c if c.name != "id"})
    more = series.c.instance_count + new.excluded.instance_count
    added = new.on_conflict_do_update(
        index_elements=["tenant_id", "study_uid", "series_uid"], set_={"instance_count": more}
    )
    return added.returning(series.c.instance_count, series.c.modality)


def _new_instance(upsert: Any) -> Any:
    new = upsert(instance).on_conflict_do_nothing(index_elements=["tenant_id", "sop_instance_uid"])
    return new.returning(instance.c.tenant_id, instance.c.sop_instance_uid)


_TOUCH_STUDY, _MORE_IN_SERIES = Hot(_touch()), Hot(_more_in_series())  # nearly always the row is there: half the cost
_COLUMNS = [c.name for c in instance.c if c.name != "id"]
_CLAIM_STUDY = Hot(_claim(sqlite.insert), postgres=_claim(postgresql.insert))
_ADD_SERIES = Hot(_add_series(sqlite.insert), postgres=_add_series(postgresql.insert))
_NEW_INSTANCE = Hot(_new_instance(sqlite.insert), _COLUMNS, postgres=_new_instance(postgresql.insert))
_NEW_ITEM = Hot(insert(item), [c.name for c in item.c if c.name != "id"])
_counted = (
    update(study)
    .where(study.c.id == bindparam("of_id"))
    .values(
        series_count=study.c.series_count + bindparam("more_series"),
        instance_count=study.c.instance_count + bindparam("more_instances"),
    )
    .execution_options(synchronize_session=False)
)
_COUNT = Hot(_counted)
_COUNT_AND_SETS = Hot(_counted.values(modalities=bindparam("all_modalities"), sop_classes=bindparam("all_sop_classes")))


def index_group(session: Session, group: Sequence[Stored]) -> list[Outcome]:
    """Index the group inside the caller's transaction; return one outcome per object, in order."""
    at = datetime.now(UTC)
    outcomes: list[Outcome | None] = [None] * len(group)
    said: Said = defaultdict(list)
    studies = _claim_studies(session, group, at, said)
    wanted: dict[tuple[str, str], int] = {}
    for number, stored in sorted(enumerate(group), key=lambda pair: pair[1].validated.header.sop_instance_uid):
        header, tenant = stored.validated.header, stored.validated.received.tenant
        known, key = studies[tenant, header.study_uid], (tenant, header.sop_instance_uid)
        verdict = _wrong_patient(known, header) or judged(known, stored.validated)
        if isinstance(verdict, PatientMismatch):
            outcomes[number] = verdict
        elif key not in wanted:
            wanted[key] = number
            said[key] += verdict
            _learn(known, stored)
    fresh = _insert_instances(session, [group[n] for n in wanted.values()], at)
    indexed = [group[n] for key, n in wanted.items() if key in fresh]
    _count(session, indexed, studies, at, said)
    _name_patients(session, indexed, studies)
    if indexed:
        add_rows(session, [_event(stored) for stored in indexed])
    for key in fresh:
        outcomes[wanted[key]] = _indexed(group[wanted[key]].validated, at, fresh=True, said=said[key])
    _settle(session, group, outcomes)
    return [outcome for outcome in outcomes if outcome is not None]


def _claim_studies(session: Session, group: Sequence[Stored], at: datetime, said: Said) -> dict[StudyKey, Row]:
    """Make the group's studies unless they are there, and lock them; return what is known of each."""
    first: dict[StudyKey, Stored] = {}
    for stored in group:
        first.setdefault((stored.validated.received.tenant, stored.validated.header.study_uid), stored)
    known: dict[StudyKey, Row] = {}
    for key in sorted(first):
        there = _TOUCH_STUDY.first(session, {"of_tenant": key[0], "of_study": key[1], "at": at})
        if there is None:
            header = first[key].validated.header
            sets = {"modalities": merged("", [header.modality]), "sop_classes": merged("", [header.sop_class_uid])}
            [there] = _CLAIM_STUDY.run(session, study_row(header, key[0], at) | sets)
            said[key[0], header.sop_instance_uid] += shared_id(session, key[0], header)
        known[key] = there._asdict()
    return known


def _patient(header: Header) -> tuple[str, str]:
    """Return the Patient ID and its issuer as the index holds them."""
    return header.patient_id[:128], header.issuer_of_patient_id[:128]


def _wrong_patient(known: Row, header: Header) -> PatientMismatch | None:
    """Return the refusal of another patient's instance; an empty id or issuer, on either side, contradicts nothing."""
    patient_id, issuer = _patient(header)
    if not patient_id or not known["patient_id"]:
        return None
    if patient_id == known["patient_id"] and (not issuer or not known["issuer"] or issuer == known["issuer"]):
        return None
    return PatientMismatch(
        "The study is stored for another patient id or issuer. Correct Patient ID (0010,0020), Issuer of Patient ID (0010,0021) or "
        "Study Instance UID at the sender.",
        study_uid=header.study_uid,
    )


def _learn(known: Row, stored: Stored) -> None:
    """Let the first instance that names the patient of a study name it for all that follow."""
    patient_id, issuer = _patient(stored.validated.header)
    if patient_id and (not known["patient_id"] or (issuer and not known["issuer"])):
        known |= {**asdict(Person.of(stored.validated.header)), "named": True}


def _name_patients(session: Session, indexed: list[Stored], studies: dict[StudyKey, Row]) -> None:
    """Write the patient into studies that were stored without one (an emergency, say); once: nobody else's is taken from then on."""
    for stored in indexed:
        tenant, header = stored.validated.received.tenant, stored.validated.header
        known = studies[tenant, header.study_uid]
        if "named" in known and _patient(header) == (known["patient_id"], known["issuer"]):
            del known["named"]
            of_study = study.c.id == known["id"]
            was = session.execute(select(study.c.attributes, study.c.search_text).where(of_study)).one()
            named = update(study).where(of_study).values(patient_columns(header, was.attributes, was.search_text))
            session.execute(named.execution_options(synchronize_session=False))


def _insert_instances(session: Session, group: list[Stored], at: datetime) -> set[tuple[str, str]]:
    """Insert what is new; return the (tenant, SOP Instance UID) of it."""
    if not group:
        return set()
    rows = _NEW_INSTANCE.each(session, [instance_row(stored, at) for stored in group])
    return {(row.tenant_id, row.sop_instance_uid) for row in rows}


def _count(session: Session, indexed: list[Stored], studies: dict[StudyKey, Row], at: datetime, said: Said) -> None:
    """Add the new instances to their series and studies; remove a study that stayed empty."""
    by_series: dict[tuple[str, str, str], list[Stored]] = defaultdict(list)
    for stored in indexed:
        header = stored.validated.header
        by_series[stored.validated.received.tenant, header.study_uid, header.series_uid].append(stored)
    new_series: dict[StudyKey, int] = defaultdict(int)
    for (tenant, study_uid, series_uid), members in sorted(by_series.items()):
        mine = {"of_tenant": tenant, "of_study": study_uid, "of_series": series_uid, "more": len(members)}
        added = _MORE_IN_SERIES.first(session, mine)
        if added is None:
            [added] = _ADD_SERIES.run(session, series_row(members[0].validated.header, tenant, len(members), at))
        if added.instance_count == len(members):
            new_series[tenant, study_uid] += 1
            first = members[0].validated.header
            said[tenant, first.sop_instance_uid] += of_two_studies(session, tenant, first)
            if items := item_rows(members[0]):
                _NEW_ITEM.each(session, items)
        for header in (stored.validated.header for stored in members):
            said[tenant, header.sop_instance_uid] += of_two_modalities(added.modality, header)
    for key, known in studies.items():
        members = [s for (tenant, uid, _), group in by_series.items() if (tenant, uid) == key for s in group]
        if members:
            written = (
                known["modalities"],
                known["sop_classes"],
            )  # of a new study what its first instance says, indexed or not
            was = written if known["instance_count"] else ("", "")
            sets = (
                merged(was[0], [m.validated.header.modality for m in members]),
                merged(was[1], [m.validated.header.sop_class_uid for m in members]),
            )
            more = {"of_id": known["id"], "more_series": new_series[key], "more_instances": len(members)}
            if sets == written:  # nearly always: what is not named in an update leaves its indexes alone
                _COUNT.run(session, more)
            else:
                _COUNT_AND_SETS.run(session, more | {"all_modalities": sets[0], "all_sop_classes": sets[1]})
        elif known["instance_count"] == 0:
            session.execute(delete(study).where(study.c.id == known["id"], study.c.instance_count == 0))


def _settle(session: Session, group: Sequence[Stored], outcomes: list[Outcome | None]) -> None:
    """Decide what was not inserted by us: the same bytes are a success, others a conflict."""
    open_ = [number for number, outcome in enumerate(outcomes) if outcome is None]
    if not open_:
        return
    by_tenant: dict[str, list[str]] = defaultdict(list)
    for number in open_:
        valid = group[number].validated
        by_tenant[valid.received.tenant].append(valid.header.sop_instance_uid)
    there: dict[tuple[str, str], Any] = {}
    for tenant, uids in by_tenant.items():
        there |= stored_already(session, tenant, uids)
    for number in open_:
        outcomes[number] = decide(group[number].validated, there)


_KNOWN = Hot(
    select(
        instance.c.sop_instance_uid,
        instance.c.sha256,
        instance.c.study_uid,
        instance.c.series_uid,
        instance.c.received_at,
    ).where(instance.c.tenant_id == bindparam("tenant"), instance.c.sop_instance_uid == bindparam("uid"))
)


def stored_already(session: Session, tenant: str, uids: list[str]) -> dict[tuple[str, str], Any]:
    """Return the rows of those SOP Instance UIDs that are indexed: sha256, study, series, received_at."""
    there: dict[tuple[str, str], Any] = {}
    for uid in sorted(set(uids)):
        row = _KNOWN.first(session, {"tenant": tenant, "uid": uid})
        if row is not None:
            there[tenant, uid] = row
    return there


_PATIENT = Hot(
    select(study.c.patient_id, study.c.issuer).where(
        study.c.tenant_id == bindparam("tenant"), study.c.study_uid == bindparam("uid")
    )
)


def of_another_patient(session: Session, valid: Validated) -> PatientMismatch | None:
    """Return the refusal that is certain before the object is stored: its study is there, for another patient."""
    header = valid.header
    known = _PATIENT.first(session, {"tenant": valid.received.tenant, "uid": header.study_uid})
    return _wrong_patient(known._asdict(), header) if known is not None else None


def decide(valid: Validated, there: dict[tuple[str, str], Any]) -> Outcome:
    """Return success for an object that is indexed with the same bytes, else the conflict."""
    row = there[valid.received.tenant, valid.header.sop_instance_uid]
    if row.sha256 == valid.sha256:
        at = row.received_at
        return _indexed(valid, at if at.tzinfo else at.replace(tzinfo=UTC), fresh=False)
    return conflict(valid.header.sop_instance_uid)


def conflict(sop_instance_uid: str) -> InstanceConflict:
    """Return the refusal of other bytes under a known UID."""
    return InstanceConflict(
        "This SOP Instance UID is stored with other content, and what is stored never changes. A changed copy of the stored object is not "
        "taken; one that is really another gets a UID of its own from the device that made it.",
        sop_instance_uid=sop_instance_uid,
    )


def _indexed(valid: Validated, at: datetime, *, fresh: bool, said: Sequence[Warned] = ()) -> Indexed:
    header = valid.header
    return Indexed(
        header.study_uid, header.series_uid, header.sop_instance_uid, header.sop_class_uid, header.patient_id,
        valid.sha256, valid.size_bytes, at, fresh, (*valid.warnings, *said),
    )  # fmt: skip


def _event(stored: Stored) -> Row:
    header, tenant = stored.validated.header, stored.validated.received.tenant
    return event_row(EventType.INSTANCE_STORED, tenant=tenant, subject=header.sop_instance_uid, data=event_data(stored))
