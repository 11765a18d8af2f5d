"""The worklist of studies: newest first, by free text, modality and date, continued by a cursor (docs/architecture.md section 5)."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, literal_column, select, tuple_
from sqlalchemy.orm import Session

from consilium_archive.candidates import of_few, of_rare_modality, planned_for_its_values
from consilium_archive.dicom_json import members_of
from consilium_archive.errors import NotArchived, QueryInvalid
from consilium_archive.matching import wildcard
from consilium_archive.names import encode, fold
from consilium_archive.shown import Shown, shown_by
from consilium_archive.tables import study
from consilium_core.clock import iso
from consilium_dicom.person_name import PersonName
from consilium_platform.sql import Database


@dataclass(frozen=True, slots=True)
class WorklistAsk:
    """What to list. ``text``: every word must occur; dates are YYYYMMDD, inclusive; ``patient_of_study``: that study's patient's."""

    text: str = ""
    modality: str = ""
    date_from: str = ""
    date_to: str = ""
    patient_of_study: str = ""
    cursor: str = ""
    limit: int = 50


@dataclass(frozen=True, slots=True)
class WorklistPage:
    """One page, where the next begins (None at the end), and whose data it shows."""

    items: tuple[dict[str, Any], ...]
    next_cursor: str | None
    patients: tuple[Shown, ...] = ()


async def worklist(database: Database, tenant: str, ask: WorklistAsk) -> WorklistPage:
    """Return one page; raise QueryInvalid for a bad date or cursor, NotArchived for an unknown ``patient_of_study``."""
    return await database.query(partial(_page, tenant=tenant, ask=ask, sqlite=database.is_sqlite))


def _page(session: Session, tenant: str, ask: WorklistAsk, *, sqlite: bool) -> WorklistPage:
    order = (study.c.study_date, study.c.study_time, study.c.id)
    conditions = [study.c.tenant_id == tenant, *_conditions(ask, sqlite=sqlite)]
    if ask.patient_of_study:
        mine = select(study.c.patient_id, study.c.issuer, study.c.study_uid).where(
            study.c.tenant_id == tenant, study.c.study_uid == ask.patient_of_study
        )
        row = session.execute(mine).first()
        if row is None:
            raise NotArchived("There is no such study.")
        # Studies without any patient id are not one patient's.
        same = study.c.patient_id == row.patient_id if row.patient_id else study.c.study_uid == row.study_uid
        conditions += [same, study.c.issuer == row.issuer]
    if ask.cursor:
        conditions.append(tuple_(*order) < tuple_(*_parse_cursor(ask.cursor)))
    pieces = [encode(word) for word in words_of(ask.text)]
    runs = [run for piece in pieces if len(run := piece if len(piece) >= 3 else f" {piece}") >= 3]
    few = bool(ask.patient_of_study)
    if ask.modality and not few:
        narrower, few = of_rare_modality(session, tenant, [_word(ask.modality)])
        conditions += narrower
    if runs and not few and sqlite:
        narrower, few = of_few(session, runs)
        conditions += narrower
    planned_for_its_values(session, sqlite=sqlite)
    first: Any = literal_column("+archive_study.study_date") if few and sqlite else study.c.study_date
    ordered = (first.desc(), study.c.study_time.desc(), study.c.id.desc())
    # The ids come from an index alone; only the page's own rows, which are wide, are read.
    asked = select(study.c.id).where(*conditions).order_by(*ordered).limit(ask.limit + 1)
    ids = session.scalars(asked).all()
    by_id = {row.id: row for row in session.execute(select(study).where(study.c.id.in_(ids)))} if ids else {}
    rows = [by_id[one] for one in ids]
    more = rows[ask.limit - 1] if len(rows) > ask.limit else None
    cursor = _cursor([more.study_date, more.study_time, more.id]) if more is not None else None
    page = rows[: ask.limit]
    return WorklistPage(tuple(_item(row) for row in page), cursor, shown_by(page))


def words_of(text: str) -> list[str]:
    """Return the words of a free search, folded; at most eight."""
    plain = text[:200].replace("*", " ").replace("?", " ")
    return [word for word in fold(plain).split("^") if word][:8]


def _conditions(ask: WorklistAsk, *, sqlite: bool) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    for word in words_of(ask.text):
        piece = encode(word)
        # Less than three characters are looked for at the beginning of words: " li" is found by the trigram index too.
        found.append(wildcard(study.c.search_text, f"*{piece}*" if len(piece) >= 3 else f"* {piece}*", sqlite=sqlite))
    if ask.modality:
        found.append(wildcard(study.c.modalities, f"*\\{_word(ask.modality)}\\*", sqlite=sqlite))
    for value, name in ((ask.date_from, "date_from"), (ask.date_to, "date_to")):
        plain = value.replace("-", "")
        if value and not (len(plain) == 8 and plain.isdecimal()):
            raise QueryInvalid(f"{name} is a date YYYY-MM-DD.", parameter=name)
    if ask.date_from:
        found.append(study.c.study_date >= ask.date_from.replace("-", ""))
    if ask.date_to:
        found.append(study.c.study_date <= ask.date_to.replace("-", ""))
    return found


def _word(modality: str) -> str:
    if not modality.replace("_", "").replace(" ", "").isalnum() or len(modality) > 16:
        raise QueryInvalid("modality is a code such as US or CT.", parameter="modality")
    return modality.upper()


def _cursor(place: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def _parse_cursor(text: str) -> tuple[str, str, int]:
    try:
        date, time, number = json.loads(base64.urlsafe_b64decode(text.encode()))
        return str(date), str(time), int(number)
    except (ValueError, TypeError, binascii.Error) as problem:
        raise QueryInvalid("The cursor is not one of ours. Start from the first page.", parameter="cursor") from problem


def _item(row: Any) -> dict[str, Any]:
    name = PersonName.parse(row.patient_name)
    received: datetime = row.received_at if row.received_at.tzinfo else row.received_at.replace(tzinfo=UTC)
    return {
        "study_uid": row.study_uid,
        "patient_id": row.patient_id,
        "patient_name": {
            "alphabetic": name.alphabetic,
            **({"ideographic": name.ideographic} if name.ideographic else {}),
            **({"phonetic": name.phonetic} if name.phonetic else {}),
        },
        "patient_birth_date": row.birth_date,
        "patient_sex": row.sex,
        "study_date": row.study_date,
        "study_time": row.study_time,
        "description": row.description,
        "modalities": members_of(row.modalities),
        "series": row.series_count,
        "instances": row.instance_count,
        "accession_number": row.accession_number,
        "received_at": iso(received),
    }
