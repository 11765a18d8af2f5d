"""The wide rows that answers are made of, by id, and the ids of pages without any condition: statements compiled once per form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import ARRAY, BigInteger, ColumnElement, Select, any_, bindparam, select, text
from sqlalchemy.orm import Session

from consilium_archive.query import Level, Order
from consilium_archive.tables import instance, series, study
from consilium_platform.hot import Hot

TABLES = {Level.STUDY: study, Level.SERIES: series, Level.INSTANCE: instance}
_STUDY = (
    study.c.attributes.label("study_attributes"), study.c.modalities, study.c.sop_classes, study.c.series_count,
    study.c.instance_count, study.c.patient_id, study.c.issuer,
)  # fmt: skip


def selected(level: Level, *, with_study: bool) -> Select[Any]:
    """Return the selection of a level's rows, each with its series' and, if asked for, its study's."""
    if level is Level.STUDY:
        return select(study.c.study_uid, *_STUDY).select_from(study)
    columns: list[Any] = [series.c.study_uid, series.c.series_uid, series.c.attributes]
    columns += [series.c.instance_count.label("in_series"), *(_STUDY if with_study else ())]
    tables: Any = series
    if level is Level.INSTANCE:
        columns += [instance.c.sop_instance_uid, instance.c.summary]
        tables = instance.join(series, same(instance, series, "tenant_id", "study_uid", "series_uid"))
    if with_study:
        tables = tables.join(study, same(series, study, "tenant_id", "study_uid"))
    return select(*columns).select_from(tables)


def same(left: Any, right: Any, *columns: str) -> ColumnElement[bool]:
    """Return the condition that the columns of two tables are equal."""
    first, *rest = [left.c[column] == right.c[column] for column in columns]
    for more in rest:
        first = first & more
    result: ColumnElement[bool] = first
    return result


def order_of(level: Level, by: Order) -> list[ColumnElement[Any]]:
    """Return what a level's answers are ordered by; all of it downwards or none."""
    if level is Level.STUDY:
        return [study.c[by.column], *([study.c.study_time] if by.column == "study_date" else []), study.c.id]
    if level is Level.SERIES:
        return [series.c.study_uid, series.c.number, series.c.id]
    return [instance.c.study_uid, instance.c.series_uid, instance.c.number, instance.c.id]


def downwards(level: Level, by: Order) -> bool:
    """Tell whether a level's order goes from the greatest to the smallest."""
    return level is Level.STUDY and by.descending


def first_ids(session: Session, tenant: str, level: Level, by: Order, limit: int, offset: int) -> Sequence[int]:
    """Return the ids of a page of everything that the tenant has."""
    rows = _everything(level, by).run(session, {"tenant": tenant, "most": limit, "skipped": offset})
    return [row[0] for row in rows]


@cache
def _everything(level: Level, by: Order) -> Hot:
    columns = order_of(level, by)
    ordered = [one.desc() for one in columns] if downwards(level, by) else columns
    table = TABLES[level]
    asked = select(table.c.id).where(table.c.tenant_id == bindparam("tenant", required=True)).order_by(*ordered)
    return Hot(asked.limit(bindparam("most", required=True)).offset(bindparam("skipped", required=True)))


def wide_rows(session: Session, level: Level, ids: Sequence[int], *, with_study: bool, sqlite: bool) -> Sequence[Any]:
    """Return the rows of these ids, in their order."""
    if not ids:
        return ()
    given: Any = json.dumps(ids) if sqlite else list(ids)
    by_id = {row.row_id: row for row in _by_ids(level, with_study).run(session, {"ids": given})}
    return [by_id[one] for one in ids]


@cache
def _by_ids(level: Level, with_study: bool) -> Hot:
    id_ = TABLES[level].c.id
    asked = selected(level, with_study=with_study).add_columns(id_.label("row_id"))
    listed = text("SELECT value FROM json_each(:ids)").bindparams(bindparam("ids", required=True)).columns(id_)
    known = bindparam("ids", type_=ARRAY(BigInteger), required=True)
    return Hot(asked.where(id_.in_(listed)), postgres=asked.where(id_ == any_(known)))
