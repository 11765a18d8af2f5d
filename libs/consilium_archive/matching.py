"""Typed conditions as SQL: exact, wildcard, range, list, name, empty, inside a sequence; the same answers on SQLite and PostgreSQL.

Wildcards use GLOB on SQLite (case-sensitive, unlike its LIKE) and LIKE on PostgreSQL. Names are folded before (``names``).
``runs_of`` says which pieces of search text a matching study must hold, for the trigram index.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, or_, select, tuple_

from consilium_archive.keys import Level
from consilium_archive.names import encode, fold, fuzzy_words, name_patterns
from consilium_archive.query import Match
from consilium_archive.tables import instance, item, series, study

TABLES: dict[Level, Table] = {Level.STUDY: study, Level.SERIES: series, Level.INSTANCE: instance}
_PAIRS = (("study_date", "study_time"), ("series_date", "series_time"), ("step_date", "step_time"))
_SEARCHED = frozenset({"patient_key", "referring_key", "patient_id", "accession_number", "description"})
Condition = ColumnElement[bool]


def conditions(matches: Iterable[Match], tenant: str, *, sqlite: bool) -> list[Condition]:
    """Return the SQL conditions that all matches together make."""
    left = list(matches)
    found: list[Condition] = []
    for date, time in _PAIRS:
        both = [next((m for m in left if m.key.column == one and m.ranged), None) for one in (date, time)]
        if both[0] is not None and both[1] is not None and _combinable(both[0], both[1]):
            left = [one for one in left if one is not both[0] and one is not both[1]]
            found.append(_moment(both[0], both[1]))
    inside = sorted((one for one in left if one.key.path), key=lambda one: one.key.path)
    for _, members in groupby(inside, key=lambda one: one.key.path.split(".", 1)[0]):
        found.append(_in_one_item(list(members), tenant, sqlite=sqlite))
    for match in left:
        if not match.key.path:
            found.append(_on(TABLES[match.key.level].c[match.key.column], match, sqlite=sqlite))
    return found


def _on(column: ColumnElement[Any], match: Match, *, sqlite: bool) -> Condition:
    values, kind = match.values, match.key.kind
    if match.empty:
        return column.is_(None) if kind == "number" else column == ""
    if kind == "name":
        if match.fuzzy and match.key.column == "patient_key":
            return or_(*(_fuzzy(value, sqlite=sqlite) for value in values))
        return or_(*(_named(column, value, sqlite=sqlite) for value in values))
    if kind == "number":
        return column.in_([int(value) for value in values])
    if kind == "uid":
        return column.in_(values)
    if kind == "set":
        return or_(*(wildcard(column, f"*\\{value}\\*", sqlite=sqlite) for value in values))
    if kind in ("date", "time"):
        return _span(column, match)
    plain = [value for value in values if not is_wild(value)]
    wild = [wildcard(column, value, sqlite=sqlite) for value in values if is_wild(value)]
    return or_(*([column.in_(plain)] if plain else []), *wild)


def is_wild(value: str) -> bool:
    """Tell whether the value holds a wildcard."""
    return "*" in value or "?" in value


def _named(column: ColumnElement[Any], value: str, *, sqlite: bool) -> Condition:
    groups = name_patterns(value)
    return and_(*(or_(*(wildcard(column, form, sqlite=sqlite) for form in forms)) for forms in groups))


def _fuzzy(value: str, *, sqlite: bool) -> Condition:
    """Match names that have, for each word, one that begins with it or sounds like it."""
    column = study.c.fuzzy_key
    words: list[Condition] = []
    for word, sound in fuzzy_words(value):
        begins = wildcard(column, f"*^{word}*", sqlite=sqlite)
        words.append(or_(begins, wildcard(column, f"*^~{sound}^*", sqlite=sqlite)) if sound else begins)
    return and_(*words) if words else study.c.id >= 0


def _span(column: ColumnElement[Any], match: Match) -> Condition:
    """Match a day, a moment (by its given precision) or a range; the end of a range is inclusive at its precision."""
    if not match.ranged:
        if match.key.kind == "date":
            return column.in_(match.values)
        return or_(*(_at(column, value) for value in match.values))
    low, high = match.values
    parts: list[Condition] = [column != ""]
    if low:
        parts.append(column >= low)
    if high:
        parts.append(column <= (high if match.key.kind == "date" else _end_of(high)))
    return and_(*parts)


def _at(column: ColumnElement[Any], time: str) -> Condition:
    """Match what lies within the time as precisely as it is given; zeros at its end say nothing (``101112.000`` is ``101112``)."""
    least = time.rstrip("0").rstrip(".") if "." in time else time
    shorter = [time[:end] for end in range(len(least), len(time)) if time[end - 1] != "."]
    within = column.startswith(time)
    return or_(within, column.in_(shorter)) if shorter else within


def _end_of(time: str) -> str:
    return time + "235959.999999"[len(time) :]


def _combinable(date: Match, time: Match) -> bool:
    """Tell whether every bound of the times has its day: then both are one range (PS3.4 C.2.2.2.5.4)."""
    return all(not moment or day for day, moment in zip(date.values, time.values, strict=True))


def _moment(date: Match, time: Match) -> Condition:
    """Match from the first day's time to the last day's time, not that time of each day."""
    table = TABLES[date.key.level]
    day, moment = table.c[date.key.column], table.c[time.key.column]
    parts: list[Condition] = [day != ""]
    if date.values[0]:
        parts.append(or_(day > date.values[0], and_(day == date.values[0], moment >= time.values[0])))
    if date.values[1]:
        end = _end_of(time.values[1]) if time.values[1] else "~"
        parts.append(or_(day < date.values[1], and_(day == date.values[1], moment <= end)))
        parts.append(day <= date.values[1])  # said again for the index
    if date.values[0]:
        parts.append(day >= date.values[0])
    return and_(*parts)


def _in_one_item(members: list[Match], tenant: str, *, sqlite: bool) -> Condition:
    """Match studies or series of which one item of the sequence meets every key (PS3.4 C.2.2.2.6)."""
    place = (item.c.study_uid, item.c.series_uid, item.c.number)
    asked: list[Condition] = [item.c.tenant_id == tenant]
    first, *others = members
    asked += [item.c.path == first.key.path, _on(item.c.value, first, sqlite=sqlite)]
    for other in others:
        also = select(*place).where(
            item.c.tenant_id == tenant, item.c.path == other.key.path, _on(item.c.value, other, sqlite=sqlite)
        )
        asked.append(tuple_(*place).in_(also))
    if first.key.level is Level.STUDY:
        return study.c.study_uid.in_(select(item.c.study_uid).where(*asked))
    return tuple_(series.c.study_uid, series.c.series_uid).in_(
        select(item.c.study_uid, item.c.series_uid).where(*asked)
    )


def wildcard(column: Any, pattern: str, *, sqlite: bool) -> Condition:
    """Match ``*`` (any run) and ``?`` (any one character), everything else literally, with case."""
    if sqlite:
        result: Condition = column.op("GLOB", is_comparison=True)(pattern.replace("[", "[[]"))
        return result
    escaped = pattern.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    liked: Condition = column.like(escaped.replace("*", "%").replace("?", "_"), escape="!")
    return liked


def runs_of(match: Match) -> list[str]:
    """Return pieces of at least three characters that the search text of every matching study holds; none if that is unsure."""
    if match.key.column not in _SEARCHED or match.key.level is not Level.STUDY or match.key.path or match.fuzzy:
        return []
    if len(match.values) != 1 or match.empty:
        return []
    if match.key.kind == "name":
        forms = [group[0] for group in name_patterns(match.values[0]) if len(group) == 1]
        return [run for form in forms for run in _runs(form.replace("=", " "))]
    if not is_wild(match.values[0]):
        return []
    return _runs(f" {fold(match.values[0])} ")


def _runs(pattern: str) -> list[str]:
    return [run for run in re.split(r"[*?]+", encode(pattern)) if len(run) >= 3 and run.strip()]


def trigrams(runs: Iterable[str]) -> list[str]:
    """Return the different three-character pieces of the runs, at most 16, the later ones first: they tell more apart."""
    found = dict.fromkeys(run[at : at + 3] for run in runs for at in range(len(run) - 2))
    return list(found)[-16:]
