"""Attributes that ``includefield`` adds to answers, from the stored metadata (PS3.18 8.3.4.3): no object is opened.

A study and a series take them from their first instance. A dotted field adds the sequences on its way with only that attribute.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from consilium_archive.packing import unpack
from consilium_archive.query import Level, Query
from consilium_archive.tables import instance

Json = dict[str, Any]
_UIDS = ("0020000D", "0020000E", "00080018")
_COLUMNS = (instance.c.study_uid, instance.c.series_uid, instance.c.sop_instance_uid)


def with_fields(session: Session, tenant: str, query: Query, texts: Sequence[str], places: Sequence[Any]) -> list[str]:
    """Return the answers with what the query includes; ``places`` are their rows."""
    depth = query.level + 1
    of_level = query.include == {"all"} and query.level is not Level.INSTANCE
    if of_level:  # the level's whole set is what is answered anyway
        return list(texts)
    keys = [tuple(getattr(row, column.name) for column in _COLUMNS[:depth]) for row in places]
    packed = _first_metadata(session, tenant, keys, depth)
    found: list[str] = []
    for text, key in zip(texts, keys, strict=True):
        full = json.loads(unpack(packed[key])) if key in packed else {}
        body: Json = json.loads(text)
        more = full if "all" in query.include and query.level is Level.INSTANCE else _picked(full, query.include)
        found.append(json.dumps({**more, **body}, ensure_ascii=False, separators=(",", ":")))
    return found


def _first_metadata(
    session: Session, tenant: str, keys: list[tuple[Any, ...]], depth: int
) -> dict[tuple[Any, ...], bytes]:
    columns = _COLUMNS[:depth]
    of_tenant = instance.c.tenant_id == tenant
    first = select(func.min(instance.c.id)).where(of_tenant, tuple_(*columns).in_(keys)).group_by(*columns)
    rows = session.execute(select(*columns, instance.c.metadata).where(instance.c.id.in_(first)))
    return {tuple(row[:depth]): row.metadata for row in rows}


def _picked(full: Json, include: frozenset[str]) -> Json:
    """Return the fields asked for."""
    picked: Json = {}
    for path in sorted(include - {"all"}):
        tag, _, rest = path.partition(".")
        if tag in full:
            picked[tag] = _merged(picked.get(tag), full[tag] if not rest else _inside(full[tag], rest))
    return picked


def _inside(element: Json, path: str) -> Json:
    """Return a sequence whose items hold only what the path leads to."""
    if element.get("vr") != "SQ":
        return element
    return {"vr": "SQ", "Value": [_picked(one, frozenset({path})) for one in element.get("Value", [])]}


def _merged(first: Json | None, second: Json) -> Json:
    """Return one element of two that hold different parts of the same sequence."""
    if first is None or first.get("vr") != "SQ" or second.get("vr") != "SQ":
        return second
    pairs = zip(first.get("Value", []), second.get("Value", []), strict=True)
    return {"vr": "SQ", "Value": [_joined(one, other) for one, other in pairs]}


def _joined(one: Json, other: Json) -> Json:
    return {
        tag: _merged(one.get(tag), other[tag]) if tag in other else one[tag]
        for tag in sorted(one.keys() | other.keys())
    }
