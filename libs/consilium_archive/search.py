"""One page of a search, from the index alone (PS3.18 10.6): which rows, in a stable order, and how many there are in all.

Large archives: on SQLite a covering index answers scans without touching the wide rows, and the trigram index is asked first whether
only few studies can match; on PostgreSQL the planner decides with pg_trgm. Totals are exact up to ``COUNTED_TO``, are not counted
where the page itself tells, and are remembered for some seconds.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Select, func, literal_column, select, text
from sqlalchemy.orm import Session

from consilium_archive.matching import conditions, is_wild, runs_of, trigrams
from consilium_archive.query import Level, Match, Query
from consilium_archive.tables import instance, series, study
from consilium_archive.wide import TABLES, downwards, first_ids, order_of, same, selected, wide_rows

COUNTED_TO = 10_000
_FEW = 500
_KEPT_S = 10.0
_KEPT = 512
_INDEXED = frozenset({"patient_id", "accession_number", "study_uid", "series_uid", "sop_instance_uid", "birth_date"})


@dataclass(frozen=True, slots=True)
class Scope:
    """Which study, series or instance a path names; empty parts are open."""

    study_uid: str = ""
    series_uid: str = ""
    sop_instance_uid: str = ""

    def conditions(self, table: Any) -> list[ColumnElement[bool]]:
        """Return the conditions that hold ``table``'s rows inside the scope."""
        named = {"study_uid": self.study_uid, "series_uid": self.series_uid, "sop_instance_uid": self.sop_instance_uid}
        return [table.c[column] == uid for column, uid in named.items() if uid and column in table.c]


_EVERYTHING = Scope()


@dataclass(frozen=True, slots=True)
class Ask:
    """A query of a tenant inside a scope, and the dialect it is put in."""

    tenant: str
    query: Query
    scope: Scope
    sqlite: bool

    @property
    def with_study(self) -> bool:
        """Tell whether the study's row is needed."""
        return not self.scope.study_uid or any(match.key.level is Level.STUDY for match in self.query.matches)


@dataclass(frozen=True, slots=True)
class Total:
    """How many match; ``exact`` is False where only so many were counted."""

    count: int
    exact: bool = True


@dataclass
class Totals:
    """Remembers totals for some seconds, as long as nothing new was stored."""

    _known: OrderedDict[tuple[Any, ...], tuple[float, Total]] = field(default_factory=OrderedDict)

    def get(self, key: tuple[Any, ...]) -> Total | None:
        """Return a fresh total or None."""
        known = self._known.get(key)
        return known[1] if known is not None and time.monotonic() - known[0] < _KEPT_S else None

    def put(self, key: tuple[Any, ...], total: Total) -> None:
        """Keep a total; the oldest goes."""
        self._known[key] = (time.monotonic(), total)
        self._known.move_to_end(key)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)


def page(session: Session, ask: Ask, totals: Totals) -> tuple[Sequence[Any], Total]:
    """Return the rows of the page, in order, and the total."""
    query = ask.query
    where, few = _where(session, ask)
    rows: Sequence[Any] = ()
    if query.limit:
        rows = _rows(session, ask, where, few=few)
    if 0 < len(rows) < query.limit:
        return rows, Total(query.offset + len(rows))
    if not rows and query.limit and not query.offset:
        return rows, Total(0)
    return rows, _total(session, ask, where, totals)


def _where(session: Session, ask: Ask) -> tuple[list[ColumnElement[bool]], bool]:
    """Return the conditions, and whether few rows are known to meet them: then an index leads to them, not the order."""
    matches = ask.query.matches
    table = TABLES[ask.query.level]
    where = [table.c.tenant_id == ask.tenant, *ask.scope.conditions(table)]
    where += conditions(matches, ask.tenant, sqlite=ask.sqlite)
    few = bool(ask.scope.study_uid) or any(_selective(match) for match in matches)
    for match in matches:
        if not few and match.key.column == "modalities" and not match.empty:
            found, few = of_rare_modality(session, ask.tenant, match.values)
            where += found
    runs = [run for match in matches for run in runs_of(match)]
    if runs and not few:
        found, few = narrowed(session, runs, sqlite=ask.sqlite)
        where += found
    return where, few


def of_rare_modality(
    session: Session, tenant: str, modalities: Sequence[str]
) -> tuple[list[ColumnElement[bool]], bool]:
    """Return the condition that leads to the studies of a modality if there are few of them, and whether there are."""
    of_modality = (series.c.tenant_id == tenant, series.c.modality.in_(modalities))
    uids = session.scalars(select(series.c.study_uid).where(*of_modality).limit(_FEW + 1)).all()
    return ([study.c.study_uid.in_(set(uids))], True) if len(uids) <= _FEW else ([], False)


def narrowed(session: Session, runs: list[str], *, sqlite: bool) -> tuple[list[ColumnElement[bool]], bool]:
    """Return conditions that let the trigram index help to find studies whose search text holds every run, and whether they are few."""
    if not sqlite:
        return [study.c.search_text.like(f"%{run}%") for run in runs], False
    asked = " AND ".join(f'"{three}"' for three in trigrams(runs))
    sql = text("SELECT rowid FROM archive_study_find WHERE archive_study_find MATCH :asked LIMIT :most")
    ids = [row[0] for row in session.execute(sql, {"asked": asked, "most": _FEW + 1})]
    if len(ids) > _FEW:
        return [], False
    listed = text("SELECT value FROM json_each(:ids)").bindparams(ids=json.dumps(ids)).columns(study.c.id)
    return [study.c.id.in_(listed)], True


def _selective(match: Match) -> bool:
    plain = match.key.column in _INDEXED and not match.ranged and not match.empty and not match.key.path
    return plain and not any(is_wild(value) for value in match.values)


def _rows(session: Session, ask: Ask, where: list[ColumnElement[bool]], *, few: bool) -> Sequence[Any]:
    query = ask.query
    if ask.scope.study_uid:
        direct = selected(query.level, with_study=ask.with_study).where(*where).order_by(*ordering(ask, few=few))
        return session.execute(direct.limit(query.limit).offset(query.offset)).all()
    # The ids come from indexes alone; only the page's own rows, which are wide, are read and joined.
    if not query.matches and ask.scope == _EVERYTHING:
        ids = first_ids(session, ask.tenant, query.level, query.order, query.limit, query.offset)
    else:
        asked = select(TABLES[query.level].c.id).select_from(_matched(ask)).where(*where)
        asked = asked.order_by(*ordering(ask, few=few))
        ids = session.scalars(asked.limit(query.limit).offset(query.offset)).all()
    return wide_rows(session, query.level, ids, with_study=ask.with_study, sqlite=ask.sqlite)


def _matched(ask: Ask) -> Any:
    """Return the tables that the conditions and the order of a query need."""
    levels = {match.key.level for match in ask.query.matches}
    tables: Any = TABLES[ask.query.level]
    if ask.query.level is Level.INSTANCE and Level.SERIES in levels:
        tables = tables.join(series, same(instance, series, "tenant_id", "study_uid", "series_uid"))
    if ask.query.level is not Level.STUDY and Level.STUDY in levels:
        tables = tables.join(study, same(TABLES[ask.query.level], study, "tenant_id", "study_uid"))
    return tables


def ordering(ask: Ask, *, few: bool) -> list[ColumnElement[Any]]:
    """Return the order of the level; a plus before its first column keeps SQLite from walking the order's index for few rows."""
    level, by = ask.query.level, ask.query.order
    expressions = order_of(level, by)
    if few and ask.sqlite:
        expressions[0] = literal_column(f"+{TABLES[level].name}.{expressions[0].name}")
    return [one.desc() for one in expressions] if downwards(level, by) else expressions


def _total(session: Session, ask: Ask, where: list[ColumnElement[bool]], totals: Totals) -> Total:
    newest = session.scalar(select(func.max(instance.c.id)))
    key = (ask.tenant, ask.query.level, ask.scope, ask.query.matches, newest)
    known = totals.get(key)
    if known is None:
        # Without any condition the order's index alone is counted, to the end: some ms for 100,000 studies.
        everything = ask.query.level is Level.STUDY and not ask.query.matches
        counted: Select[Any] = select(literal_column("1")).select_from(_matched(ask)).where(*where)
        if not everything:
            counted = counted.limit(COUNTED_TO + 1)
        count = session.scalar(select(func.count()).select_from(counted.subquery())) or 0
        known = Total(count) if everything or count <= COUNTED_TO else Total(COUNTED_TO, exact=False)
        totals.put(key, known)
    return known
