"""Attributes that ``includefield`` adds to answers, from the stored metadata (PS3.18 8.3.4.3): no object is opened.

A study and a series take them from their first instance: for ``all``, what the standard's modules say of patient and study (PS3.3 C.7.1,
C.7.2), and of series and equipment (C.7.3, C.7.5). A dotted field adds the sequences on its way with only that attribute.
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
_OF_STUDY = """
00080020 00080030 00080050 00080051 00080090 00080096 0008009C 0008009D 00080201 00081030 00081032 00081048 00081049
00081060 00081062 00081080 00081084 00081110 00120010 00120020 00120021 00120030 00120031 00120040 00120042 00120050
00120051 0020000D 00200010 00321033 00321034 00321060 00380010 00380014 00380060 00380062 00380064 00380500
"""
_OF_SERIES = """
00080021 00080031 00080060 00080070 00080080 00080081 00081010 0008103E 0008103F 00081040 00081041 00081050 00081052
00081070 00081072 00081090 00081111 00081250 00120060 00120071 00180015 00181000 00181008 00181009 00181020 00181030
00181050 00181200 00181201 00185100 0020000E 00200011 00200052 00200060 00201040 00280108 00280109 00400241 00400242
00400243 00400244 00400245 00400250 00400251 00400253 00400254 00400260 00400275 00400280
"""
_STUDY, _SERIES = frozenset(_OF_STUDY.split()), frozenset(_OF_SERIES.split())
_COLUMNS = (instance.c.study_uid, instance.c.series_uid, instance.c.sop_instance_uid)


def with_fields(session: Session, tenant: str, query: Query, texts: Sequence[str], places: Sequence[Any]) -> list[str]:
    """Return the answers with what the query includes; ``places`` are their rows."""
    depth = query.level + 1
    keys = [tuple(getattr(row, column.name) for column in _COLUMNS[:depth]) for row in places]
    packed = _first_metadata(session, tenant, keys, depth)
    found: list[str] = []
    for text, key in zip(texts, keys, strict=True):
        full = json.loads(unpack(packed[key])) if key in packed else {}
        body: Json = json.loads(text)
        more = _picked(full, query.include)
        if "all" in query.include:
            more = _of_level(full, query.level) | more
        found.append(json.dumps(dict(sorted({**more, **body}.items())), ensure_ascii=False, separators=(",", ":")))
    return found


def _of_level(full: Json, level: Level) -> Json:
    """Return what is true of the whole study or series."""
    if level is Level.INSTANCE:
        return full
    known = _STUDY if level is Level.STUDY else _STUDY | _SERIES
    return {tag: value for tag, value in full.items() if tag in known or tag.startswith("0010")}


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
