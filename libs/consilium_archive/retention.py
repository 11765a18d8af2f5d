"""Retention: which rule an instance falls under, what is past it, and its removal with a tombstone that can be shown.

The first rule that fits an instance decides. A study's time runs from its last arrival, so nothing is removed from a study that is still
being added to; with ``since: study-date`` from the examination's date, but not before the study has been here for 30 days. What is
under a legal hold stays. One study and rule is one transaction (``burial``); bytes follow (``removal``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement, Select, and_, func, not_, or_, select, true
from sqlalchemy.orm import Session

from consilium_archive.burial import Burial, bury, joined
from consilium_archive.holds import held
from consilium_archive.stages import OriginKind
from consilium_archive.tables import instance, series, study
from consilium_core.clock import Clock
from consilium_platform.audit import AuditLog
from consilium_platform.sql import Database

LEAST_STAY_DAYS = 30
_LEAST_STAY = timedelta(days=LEAST_STAY_DAYS)
_PAGE = 200


class RetentionRule(BaseModel):
    """How long what is kept; empty conditions fit everything."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9-]{1,64}$")
    days: int = Field(ge=1)
    tenants: tuple[str, ...] = ()
    origins: tuple[OriginKind, ...] = ()
    modalities: tuple[str, ...] = ()
    sop_classes: tuple[str, ...] = ()
    since: Literal["arrival", "study-date"] = "arrival"

    def fits(self, tenant: str) -> bool:
        """Tell whether the rule is this tenant's."""
        return not self.tenants or tenant in self.tenants


DEFAULT_RULES = (RetentionRule(name="exam", days=5479),)  # 15 years


@dataclass(frozen=True, slots=True)
class Due:
    """What of one study is past one rule, and whether a hold keeps it; ``removed`` after it has been done."""

    tenant: str
    study_uid: str
    rule: str
    instances: int
    size_bytes: int
    held: bool
    removed: bool = False


@dataclass(frozen=True, slots=True)
class Retainer:
    """Applies the rules; ``actor`` is who the trail and the tombstones name."""

    database: Database
    audit: AuditLog
    clock: Clock
    rules: Sequence[RetentionRule]
    actor: str

    async def due(self, tenant: str = "") -> AsyncIterator[Due]:
        """Yield everything that is past its rule, held or not; changes nothing."""
        async for found, _ in self._due(tenant):
            yield found

    async def apply(self, tenant: str = "") -> AsyncIterator[Due]:
        """Remove what is past its rule and not held; yield what was looked at, with what happened."""
        async for found, which in self._due(tenant):
            if found.held:
                yield found
                continue
            burial = Burial(found.tenant, found.study_uid, found.rule, self.actor, which)
            done = await self.database.transact(partial(bury, burial=burial, audit=self.audit))
            yield Due(
                found.tenant, found.study_uid, found.rule, done.instances, done.size_bytes, done.held, not done.held
            )

    async def recent(self, tenant: str = "") -> int:
        """Return how many studies are past a rule by their study date, but stay because they have not been here for 30 days."""
        tenants = [tenant] if tenant else await self.database.query(_tenants)
        found = 0
        for mine in tenants:
            rules = [rule for rule in self.rules if rule.fits(mine)]
            which = [
                and_(
                    _fits(rule),
                    *(not_(_fits(earlier)) for earlier in rules[:number]),
                    _examined_before(rule, self.clock),
                )
                for number, rule in enumerate(rules)
                if rule.since == "study-date"
            ]
            if which:
                young = and_(or_(*which), study.c.updated_at >= self.clock.now() - _LEAST_STAY)
                found += await self.database.query(partial(_number, tenant=mine, which=young))
        return found

    async def _due(self, tenant: str) -> AsyncIterator[tuple[Due, ColumnElement[bool]]]:
        tenants = [tenant] if tenant else await self.database.query(_tenants)
        for mine in tenants:
            rules = [rule for rule in self.rules if rule.fits(mine)]
            for number, rule in enumerate(rules):
                which = and_(
                    _fits(rule), *(not_(_fits(earlier)) for earlier in rules[:number]), _past(rule, self.clock)
                )
                after = 0
                while rows := await self.database.query(partial(_page, tenant=mine, which=which, after=after)):
                    after = rows[-1].id
                    for row in rows:
                        yield (
                            Due(mine, row.study_uid, rule.name, row.instances, int(row.size_bytes), bool(row.held)),
                            which,
                        )


def _tenants(session: Session) -> list[str]:
    return list(session.scalars(select(study.c.tenant_id).distinct().order_by(study.c.tenant_id)))


def _fits(rule: RetentionRule) -> ColumnElement[bool]:
    """Return the condition on instance and series rows that the rule fits."""
    conditions: list[ColumnElement[bool]] = []
    if rule.origins:
        conditions.append(instance.c.origin.in_(rule.origins))
    if rule.sop_classes:
        conditions.append(instance.c.sop_class_uid.in_(rule.sop_classes))
    if rule.modalities:
        conditions.append(series.c.modality.in_(rule.modalities))
    return and_(true(), *conditions)


def _past(rule: RetentionRule, clock: Clock) -> ColumnElement[bool]:
    end = clock.now() - timedelta(days=rule.days)
    if rule.since == "arrival":
        return study.c.updated_at < end
    return and_(_examined_before(rule, clock), study.c.updated_at < clock.now() - _LEAST_STAY)


def _examined_before(rule: RetentionRule, clock: Clock) -> ColumnElement[bool]:
    return and_(study.c.study_date != "", study.c.study_date < _date(clock.now() - timedelta(days=rule.days)))


def _date(at: datetime) -> str:
    return at.strftime("%Y%m%d")


def _has(which: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition on studies that something of it fits."""
    in_series = and_(series.c.tenant_id == instance.c.tenant_id, series.c.study_uid == instance.c.study_uid)
    inside = instance.join(series, and_(in_series, series.c.series_uid == instance.c.series_uid))
    mine = and_(instance.c.tenant_id == study.c.tenant_id, instance.c.study_uid == study.c.study_uid)
    return select(instance.c.id).select_from(inside).where(mine, which).correlate(study).exists()


def _number(session: Session, tenant: str, which: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count(study.c.id)).where(study.c.tenant_id == tenant, _has(which))) or 0


def _page(session: Session, tenant: str, which: ColumnElement[bool], after: int) -> Sequence[Any]:
    """Return the next studies that have something of it: found by their ids first, then counted."""
    asked = select(study.c.id).where(study.c.tenant_id == tenant, study.c.id > after, _has(which))
    ids = session.scalars(asked.order_by(study.c.id).limit(_PAGE)).all()
    counted: Select[Any] = (
        select(
            study.c.id,
            study.c.study_uid,
            func.count(instance.c.id).label("instances"),
            func.sum(instance.c.size_bytes).label("size_bytes"),
            held().label("held"),
        )
        .select_from(joined())
        .where(study.c.id.in_(ids), which)
        .group_by(study.c.id, study.c.study_uid, study.c.tenant_id, study.c.patient_id)
    )
    return session.execute(counted.order_by(study.c.id)).all() if ids else []
