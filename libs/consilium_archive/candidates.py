"""Few studies instead of all: those of a rare modality, and those whose search text holds what a search must find (trigram index).

Where candidates are several thousand, one pass over them both counts and orders: the total is needed anyway. ``runs`` are pieces of
at least three characters that the search text of every match holds (``matching.runs_of``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Integer, Select, func, literal_column, select, table, text
from sqlalchemy.orm import Session
from sqlalchemy.sql.util import ClauseAdapter

from consilium_archive.matching import trigrams
from consilium_archive.tables import series, study

Conditions = list[ColumnElement[bool]]


FEW = 500  # studies that an answer begins with, whatever else is asked
# Candidates that are looked at one by one on SQLite; with more, a scan of the covering index costs as much, and of some years of it less.
SEVERAL = 15_000
_SEVERAL_OF_YEARS = 5000
_CUSTOM = text("SELECT set_config('plan_cache_mode', 'force_custom_plan', true)")
_FOUND = table("archive_study_find", Column("rowid", Integer))


@dataclass(frozen=True, slots=True)
class Several:
    """A page of studies: ``where`` on all of them, ``narrow`` what PostgreSQL's trigram index knows of that besides ``runs``; ``dated``: by day."""

    tenant: str
    where: Conditions
    narrow: Conditions
    runs: Sequence[str]
    dated: bool
    order: Sequence[ColumnElement[Any]]
    downwards: bool
    limit: int
    offset: int
    most: int


def of_rare_modality(session: Session, tenant: str, modalities: Sequence[str]) -> tuple[Conditions, bool]:
    """Return the condition that leads to the studies of a modality if there are few of them, and whether there are."""
    of_modality = (series.c.tenant_id == tenant, series.c.modality.in_(modalities))
    uids = session.scalars(select(series.c.study_uid).where(*of_modality).limit(FEW + 1)).all()
    return ([study.c.study_uid.in_(set(uids))], True) if len(uids) <= FEW else ([], False)


def of_few(session: Session, runs: Sequence[str]) -> tuple[Conditions, bool]:
    """Return the condition that leads to the studies of ``runs`` if they are few, and whether they are (SQLite)."""
    ids = list(session.scalars(_asked(runs).limit(FEW + 1)))
    if len(ids) > FEW:
        return [], False
    listed = text("SELECT value FROM json_each(:ids)").bindparams(ids=json.dumps(ids)).columns(study.c.id)
    return [study.c.id.in_(listed)], True


def of_prefix(session: Session, tenant: str, begins: ColumnElement[bool]) -> bool:
    """Tell whether few studies meet a condition that an index of a column answers (SQLite)."""
    some = select(literal_column("1")).where(study.c.tenant_id == tenant, begins).limit(FEW + 1).subquery()
    return (session.scalar(select(func.count()).select_from(some)) or 0) <= FEW


def planned_for_its_values(session: Session, *, sqlite: bool) -> None:
    """Have PostgreSQL plan each statement of this transaction for its values: ``%wang%`` and ``%nobody%`` want different plans."""
    if not sqlite:
        session.execute(_CUSTOM)


def _asked(runs: Sequence[str]) -> Select[Any]:
    words = " AND ".join(f'"{three}"' for three in trigrams(runs))
    return select(_FOUND.c.rowid).where(text("archive_study_find MATCH :asked").bindparams(asked=words))


def within(runs: Sequence[str]) -> Conditions:
    """Return the conditions that let PostgreSQL's trigram index help."""
    return [study.c.search_text.like(f"%{run}%") for run in runs]


def several(session: Session, ask: Several, *, sqlite: bool) -> tuple[list[int], int] | None:
    """Return the ids of the page and how many studies match, at most ``ask.most``; None where a scan is cheaper."""
    columns = [study.c.id, *(one for one in ask.order if one is not study.c.id)]
    if sqlite:
        most = min(SEVERAL, _SEVERAL_OF_YEARS) if ask.dated else SEVERAL
        counted = select(func.count()).select_from(_asked(ask.runs).limit(most + 1).subquery())
        if (session.scalar(counted) or 0) > most:
            return None
        # A plus before the tenant keeps every other index out: the rows are read by their ids.
        mine = literal_column("+archive_study.tenant_id") == ask.tenant
        matching = select(*columns).where(mine, study.c.id.in_(_asked(ask.runs)), *ask.where)
    else:
        # OFFSET 0 is a fence: the trigram index alone leads to the rows, whatever values the plan is made for.
        fenced = select(study).where(study.c.tenant_id == ask.tenant, *within(ask.runs), *ask.narrow)
        rows = ClauseAdapter(fenced.offset(literal_column("0")).subquery("candidates"))
        matching = select(*map(rows.traverse, columns)).where(*map(rows.traverse, ask.where))
    found = matching.limit(ask.most).cte("found")
    order = [found.c[one.name].desc() if ask.downwards else found.c[one.name] for one in ask.order]
    total = select(func.count()).select_from(found)
    page = select(found.c.id, total.scalar_subquery()).order_by(*order).limit(ask.limit).offset(ask.offset)
    got = session.execute(page).all()
    if got:
        return [row[0] for row in got], int(got[0][1])
    return [], int(session.scalar(total) or 0)
