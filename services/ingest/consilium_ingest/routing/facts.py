"""Instances as rules see them: pages of the index in order of their rows, joined with study and series.

Station name and slice thickness stand in the metadata, which is opened only for rules that ask for them, never in the loop's thread.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from consilium_archive.packing import unpack
from consilium_archive.tables import instance, series, study
from consilium_core.clock import utc
from consilium_ingest.routing.rules import Facts

_STATION, _THICKNESS = "00081010", "00180050"
_SHARED, _PER_FRAME, _MEASURES = "52009229", "52009230", "00289110"
_COLUMNS = (
    instance.c.id, instance.c.tenant_id, instance.c.study_uid, instance.c.series_uid, instance.c.sop_instance_uid,
    instance.c.sop_class_uid, instance.c.size_bytes, instance.c.origin, instance.c.sender, instance.c.received_at,
    series.c.modality, series.c.description.label("series_description"), study.c.description.label("study_description"),
    study.c.study_date,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Seen:
    """One instance, whose it is and its number in the index; ``packed``: its metadata, if that was asked for."""

    number: int
    tenant: str
    row: Any
    packed: bytes | None

    @property
    def received_at(self) -> datetime:
        """Return when it was indexed."""
        at: datetime = self.row.received_at
        return utc(at)

    def facts(self) -> Facts:
        """Return what rules may ask of it; opens the metadata."""
        row, station, thickness = self.row, "", None
        if self.packed is not None:
            station, thickness = read_metadata(self.packed)
        return Facts(
            row.study_uid, row.series_uid, row.sop_instance_uid, row.sop_class_uid, row.modality, row.study_description,
            row.series_description, station, row.origin, row.sender, thickness, _date(row.study_date), self.received_at,
            row.size_bytes,
        )  # fmt: skip


def page(session: Session, conditions: Sequence[Any], limit: int, *, metadata: bool) -> list[Seen]:
    """Return instances that meet ``conditions`` (of the index's columns), in order of their numbers."""
    columns = (*_COLUMNS, instance.c.metadata) if metadata else _COLUMNS
    of_series = and_(
        series.c.tenant_id == instance.c.tenant_id,
        series.c.study_uid == instance.c.study_uid,
        series.c.series_uid == instance.c.series_uid,
    )
    of_study = and_(study.c.tenant_id == instance.c.tenant_id, study.c.study_uid == instance.c.study_uid)
    asked = select(*columns).join(series, of_series).join(study, of_study).where(*conditions)
    rows = session.execute(asked.order_by(instance.c.id).limit(limit)).all()
    return [Seen(row.id, row.tenant_id, row, row.metadata if metadata else None) for row in rows]


def first_since(session: Session, since: datetime) -> int:
    """Return a number that all instances received since then are above: by bisection, as numbers grow with time but for seconds."""
    low, high = 0, session.scalar(select(func.max(instance.c.id))) or 0
    while low < high:
        middle = (low + high) // 2
        asked = select(instance.c.received_at).where(instance.c.id > middle).order_by(instance.c.id).limit(1)
        at: datetime = session.execute(asked).scalar_one()
        if utc(at) < since:
            low = middle + 1
        else:
            high = middle
    return low


def read_metadata(packed: bytes) -> tuple[str, float | None]:
    """Return station name (0008,1010) and slice thickness (0018,0050) in mm; of enhanced images from Pixel Measures (PS3.3 C.7.6.16.2.1)."""
    found: dict[str, Any] = json.loads(unpack(packed))
    thickness = _number(_value(found, _THICKNESS))
    if thickness is None:
        for group in (_SHARED, _PER_FRAME):
            measures = _item(_item(found, group), _MEASURES)
            thickness = _number(_value(measures, _THICKNESS)) if thickness is None else thickness
    station = _value(found, _STATION)
    return station if isinstance(station, str) else "", thickness


def _value(found: dict[str, Any], tag: str) -> Any:
    values = found.get(tag, {}).get("Value") or [None]
    return values[0]


def _item(found: dict[str, Any], tag: str) -> dict[str, Any]:
    item = _value(found, tag)
    return item if isinstance(item, dict) else {}


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _date(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC).date()
    except ValueError:
        return None
