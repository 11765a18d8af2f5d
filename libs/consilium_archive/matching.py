"""Typed conditions as SQL: exact, wildcard, range, list, name; the same answers on SQLite and PostgreSQL.

Wildcards use GLOB on SQLite (case-sensitive, unlike its LIKE) and LIKE on PostgreSQL. Names are folded before (``names``).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Table, and_, or_, true

from consilium_archive.names import name_patterns
from consilium_archive.query import Level, Match
from consilium_archive.tables import instance, series, study

TABLES: dict[Level, Table] = {Level.STUDY: study, Level.SERIES: series, Level.INSTANCE: instance}


def condition(match: Match, *, sqlite: bool) -> ColumnElement[bool]:
    """Return the SQL condition of one match."""
    column: ColumnElement[Any] = TABLES[match.key.level].c[match.key.column]
    values = match.values
    if match.key.kind == "name":
        patterns = name_patterns(values[0])
        conditions = [wildcard(column, pattern, sqlite=sqlite) for pattern in patterns]
        return conditions[0] if len(conditions) == 1 else _all(conditions)
    if match.key.kind == "number":
        return column.in_([int(value) for value in values])
    if match.key.kind == "uid":
        return column.in_(values)
    if match.key.kind == "set":
        return or_(*(wildcard(column, f"*\\{value}\\*", sqlite=sqlite) for value in values))
    if match.key.kind in ("date", "time"):
        return _span(column, match)
    if "*" in values[0] or "?" in values[0]:
        return wildcard(column, values[0], sqlite=sqlite)
    return column.in_(values)


def _all(conditions: list[ColumnElement[bool]]) -> ColumnElement[bool]:
    return and_(true(), *conditions)


def _span(column: ColumnElement[Any], match: Match) -> ColumnElement[bool]:
    """Match a day, a moment (by its given precision) or a range; the end of a range is inclusive at its precision."""
    if not match.ranged:
        one: ColumnElement[bool] = column.in_(match.values)
        return one if match.key.kind == "date" else column.startswith(match.values[0])
    low, high = match.values
    conditions: list[ColumnElement[bool]] = [column != ""]
    if low:
        conditions.append(column >= low)
    if high:
        conditions.append(column <= (high if match.key.kind == "date" else high + "235959.999999"[len(high) :]))
    return _all(conditions)


def wildcard(column: Any, pattern: str, *, sqlite: bool) -> ColumnElement[bool]:
    """Match ``*`` (any run) and ``?`` (any one character), everything else literally, with case."""
    if sqlite:
        result: ColumnElement[bool] = column.op("GLOB", is_comparison=True)(pattern.replace("[", "[[]"))
        return result
    escaped = pattern.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    liked: ColumnElement[bool] = column.like(escaped.replace("*", "%").replace("?", "_"), escape="!")
    return liked
