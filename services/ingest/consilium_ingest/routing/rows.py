"""Rules in the database. Every question names its tenant; ``version`` guards against two people at once; each change is audited with it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import CursorResult, delete, func, insert, select, update
from sqlalchemy.orm import Session

from consilium_core.clock import Clock, utc
from consilium_core.ids import new_ulid
from consilium_core.roles import Principal
from consilium_ingest.routing.errors import RuleMoved, RuleNotFound, RulesFull
from consilium_ingest.routing.rules import Conditions, Priority
from consilium_ingest.routing.tables import rule
from consilium_platform.audit import AuditLog, AuditRecord
from consilium_platform.sql import Database

MOST_RULES = 200


@dataclass(frozen=True, slots=True)
class Wish:
    """A rule as its author writes it."""

    name: str
    destination: str
    priority: Priority
    conditions: Conditions
    enabled: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule as it stands; what was received before ``since`` is not its business."""

    id: str
    tenant: str
    wish: Wish
    version: int
    since: datetime
    changed_by: str
    changed_at: datetime


class RuleRows:
    """The table of rules."""

    def __init__(self, database: Database, audit: AuditLog, clock: Clock) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock

    async def all(self, tenant: str) -> list[Rule]:
        """Return a tenant's rules in the order in which they were made."""
        return await self._database.query(partial(rules_of, tenant=tenant))

    async def get(self, tenant: str, rule_id: str) -> Rule:
        """Return one rule; raise RuleNotFound."""
        return await self._database.query(partial(_one, tenant=tenant, rule_id=rule_id))

    async def add(self, who: Principal, wish: Wish) -> Rule:
        """Make a rule for what is received from now on; raise RulesFull."""
        now = self._clock.now()
        made = Rule(new_ulid(), who.tenant, wish, 1, now, who.subject, now)

        def work(session: Session) -> None:
            mine = select(func.count()).select_from(rule).where(rule.c.tenant_id == who.tenant)
            if (session.scalar(mine) or 0) >= MOST_RULES:
                raise RulesFull(f"A tenant has at most {MOST_RULES} rules. Remove one.", retry_after_s=60)
            session.execute(insert(rule).values(id=made.id, tenant_id=made.tenant, **_written(made)))
            self._record(session, who, "routing.rule-add", made)

        await self._database.transact(work)
        return made

    async def change(self, who: Principal, rule_id: str, version: int, wish: Wish) -> Rule:
        """Write a rule anew; switched on again it is for what is received from now on. Raise RuleNotFound or RuleMoved."""
        now = self._clock.now()

        def work(session: Session) -> Rule:
            known = _one(session, who.tenant, rule_id)
            on_again = wish.enabled and not known.wish.enabled
            since = now if on_again or wish.destination != known.wish.destination else known.since
            new = replace(known, wish=wish, version=version + 1, since=since, changed_by=who.subject, changed_at=now)
            mine = _mine(who.tenant, rule_id, version)
            _moved(session.execute(update(rule).where(*mine).values(**_written(new))), rule_id)
            self._record(session, who, "routing.rule-change", new)
            return new

        return await self._database.transact(work)

    async def remove(self, who: Principal, rule_id: str, version: int) -> None:
        """Remove a rule; jobs that it has made go on. Raise RuleNotFound or RuleMoved."""

        def work(session: Session) -> None:
            known = _one(session, who.tenant, rule_id)
            _moved(session.execute(delete(rule).where(*_mine(who.tenant, rule_id, version))), rule_id)
            self._record(session, who, "routing.rule-remove", known)

        await self._database.transact(work)

    def _record(self, session: Session, who: Principal, action: str, one: Rule) -> None:
        asked = {name: value for name, value in one.wish.conditions.written().items() if value not in (None, [])}
        state = "on" if one.wish.enabled else "off"
        detail = (
            f"{one.wish.name} to {one.wish.destination}, {one.wish.priority.word}, {state}, version {one.version}: "
        )
        detail += json.dumps(asked, ensure_ascii=False)
        record = AuditRecord(who.tenant, who.subject, who.role.value, action, "success", one.id, "", detail)
        self._audit.append(session, [record])


def rules_of(session: Session, tenant: str = "") -> list[Rule]:
    """Return rules in the order in which they were made; without a tenant every tenant's that are on."""
    asked = select(rule).where(rule.c.tenant_id == tenant if tenant else rule.c.enabled.is_(True))
    return [_rule(row) for row in session.execute(asked.order_by(rule.c.tenant_id, rule.c.id)).all()]


def _one(session: Session, tenant: str, rule_id: str) -> Rule:
    row = session.execute(select(rule).where(rule.c.tenant_id == tenant, rule.c.id == rule_id)).first()
    if row is None:
        raise RuleNotFound("There is no such routing rule.")
    return _rule(row)


def _mine(tenant: str, rule_id: str, version: int) -> tuple[Any, ...]:
    return rule.c.tenant_id == tenant, rule.c.id == rule_id, rule.c.version == version


def _moved(result: Any, rule_id: str) -> None:
    if not isinstance(result, CursorResult) or result.rowcount != 1:
        raise RuleMoved("Somebody has changed this rule meanwhile. Look at it again.", rule_id=rule_id)


def _written(one: Rule) -> dict[str, Any]:
    wish = one.wish
    return {
        "name": wish.name, "enabled": wish.enabled, "destination": wish.destination, "priority": int(wish.priority),
        "conditions": json.dumps(wish.conditions.written(), ensure_ascii=False), "version": one.version,
        "since": one.since, "changed_by": one.changed_by[:128], "changed_at": one.changed_at,
    }  # fmt: skip


def _rule(row: Any) -> Rule:
    conditions = Conditions.read(json.loads(row.conditions))
    wish = Wish(row.name, row.destination, Priority(row.priority), conditions, bool(row.enabled))
    return Rule(row.id, row.tenant_id, wish, row.version, utc(row.since), row.changed_by, utc(row.changed_at))
