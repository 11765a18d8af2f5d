"""One page of a search, from the index alone (PS3.18 10.6): which rows, in a stable order, and how many there are in all.

Large archives: the trigram index is asked first for what a name or free text can match (``candidates``); what matches often is walked
in order, on SQLite by a covering index that spares the wide rows. Totals are exact up to ``COUNTED_TO``, are not counted where the page
itself tells, and are remembered for some seconds.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Select, func, literal_column, select
from sqlalchemy.orm import Session

from consilium_archive.candidates import (
    Several,
    of_few,
    of_prefix,
    of_rare_modality,
    planned_for_its_values,
    several,
    within,
)
from consilium_archive.matching import conditions, is_wild, runs_of, wildcard
from consilium_archive.query import Level, Match, Query
from consilium_archive.tables import instance, series, study
from consilium_archive.wide import TABLES, downwards, first_ids, order_of, same, selected, wide_rows

COUNTED_TO = 10_000
_KEPT_S = 10.0
_KEPT = 512
_PREFIXED = frozenset({"patient_id", "accession_number"})
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


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a query is met: its conditions for a page and for the total; ``few``: few rows are known to meet them; ``runs``: trigrams lead."""

    where: list[ColumnElement[bool]]
    counted: list[ColumnElement[bool]]
    few: bool
    runs: list[str]


def page(session: Session, ask: Ask, totals: Totals) -> tuple[Sequence[Any], Total]:
    """Return the rows of the page, in order, and the total."""
    query = ask.query
    plan = _plan(session, ask)
    if plan.runs:
        found = _of_several(session, ask, plan, totals)
        if found is not None:
            return found
    rows: Sequence[Any] = ()
    if query.limit:
        rows = _rows(session, ask, plan)
    if 0 < len(rows) < query.limit:
        return rows, Total(query.offset + len(rows))
    if not rows and query.limit and not query.offset:
        return rows, Total(0)
    return rows, _total(session, ask, plan.counted, totals)


def _plan(session: Session, ask: Ask) -> _Plan:
    """Return how to meet the query: by an index that leads to few rows, by trigrams, or by walking the order."""
    matches, level = ask.query.matches, ask.query.level
    table = TABLES[level]
    few = exact = bool(ask.scope.study_uid) or any(_selective(match) for match in matches)
    where = [table.c.tenant_id == ask.tenant, *ask.scope.conditions(table)]
    walked: list[ColumnElement[bool]] = []  # one that keeps an index out of a page, which counts as another
    counted: list[ColumnElement[bool]] = []
    for match in matches:
        if ask.sqlite and level is Level.STUDY and not few and _prefixed(match):
            counted = [wildcard(study.c[match.key.column], match.values[0], sqlite=True)]
            few = of_prefix(session, ask.tenant, counted[0])
            walked = counted if few else [
                wildcard(literal_column(f"+archive_study.{match.key.column}"), match.values[0], sqlite=True)
            ]  # fmt: skip
            matches = tuple(one for one in matches if one is not match)
            break
    where += conditions(matches, ask.tenant, sqlite=ask.sqlite)
    for match in matches:
        if not few and match.key.column == "modalities" and not match.empty:
            found, few = of_rare_modality(session, ask.tenant, match.values)
            where += found
    led = [match for match in matches if ask.sqlite or level is not Level.STUDY or not _prefixed(match)]
    runs = [] if few or counted else [run for match in led for run in runs_of(match)]
    if runs and ask.sqlite:
        found, few = of_few(session, runs)
        where += found
    elif runs and level is not Level.STUDY:
        where += within(runs)
    if matches and not exact:
        planned_for_its_values(session, sqlite=ask.sqlite)
    return _Plan([*where, *walked], [*where, *counted], few, runs if level is Level.STUDY and not few else [])


def _of_several(session: Session, ask: Ask, plan: _Plan, totals: Totals) -> tuple[Sequence[Any], Total] | None:
    """Return page and total from one pass over what the trigram index finds; None where the order is to be walked."""
    query = ask.query
    key = _key(session, ask)
    known = totals.get(key)
    if known is not None and _soon_met(known.count, query.offset + query.limit, sqlite=ask.sqlite):
        return None
    sets = [match for match in query.matches if match.key.column == "modalities" and not match.empty]
    asked = Several(
        ask.tenant,
        plan.where,
        narrow=conditions(sets, ask.tenant, sqlite=ask.sqlite),
        runs=plan.runs,
        dated=any(match.key.column == "study_date" for match in query.matches),
        order=order_of(query.level, query.order),
        downwards=downwards(query.level, query.order),
        limit=query.limit,
        offset=query.offset,
        most=COUNTED_TO + 1,
    )
    found = several(session, asked, sqlite=ask.sqlite)
    if found is None:
        return None
    ids, count = found
    total = Total(count) if count <= COUNTED_TO else Total(COUNTED_TO, exact=False)
    totals.put(key, total)
    if not total.exact:
        return None
    return wide_rows(session, query.level, ids, with_study=ask.with_study, sqlite=ask.sqlite), total


def _selective(match: Match) -> bool:
    plain = match.key.column in _INDEXED and not match.ranged and not match.empty and not match.key.path
    return plain and not any(is_wild(value) for value in match.values)


def _soon_met(matching: int, reach: int, *, sqlite: bool) -> bool:
    """Tell whether a walk in order over 100,000 studies meets ``reach`` of the matching ones sooner than trigrams find them all.

    SQLite walks a covering index, PostgreSQL reads a row at each step.
    """
    return matching > 5 * reach if sqlite else matching**2 > 100_000 * reach


def _prefixed(match: Match) -> bool:
    """Tell whether an index leads to the values that begin as the match's only one does."""
    wild = match.key.column in _PREFIXED and not match.key.path and len(match.values) == 1 and is_wild(match.values[0])
    return wild and match.values[0][0] not in "*?"


def _rows(session: Session, ask: Ask, plan: _Plan) -> Sequence[Any]:
    query, where, few = ask.query, plan.where, plan.few
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
    key = _key(session, ask)
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


def _key(session: Session, ask: Ask) -> tuple[Any, ...]:
    newest = session.scalar(select(func.max(instance.c.id)))
    return (ask.tenant, ask.query.level, ask.scope, ask.query.matches, newest)
