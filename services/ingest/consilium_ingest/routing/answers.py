"""From rules, health, forecasts and traces to the JSON of the routing addresses (``wire``)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from consilium_core.clock import iso, utc
from consilium_ingest.routing.breaker import BreakerRule
from consilium_ingest.routing.dry_run import Forecast, Volume
from consilium_ingest.routing.places import Known
from consilium_ingest.routing.rows import Rule
from consilium_ingest.routing.rules import Priority
from consilium_ingest.routing.settings import DimseDestination, StowDestination
from consilium_ingest.routing.trace import RuleTrace, Standing, Trace
from consilium_ingest.routing.wire import (
    Backlog,
    ConditionsBody,
    DayOut,
    DestinationOut,
    DryRunOut,
    JobOut,
    PriorityWord,
    ReasonOut,
    RuleOut,
    RuleTraceOut,
    Said,
    StandingOut,
    TraceOut,
)
from consilium_ingest.routing.words import REASONS, words_of


def rule_out(rule: Rule) -> RuleOut:
    """Return a rule as JSON."""
    wish = rule.wish
    return RuleOut(
        id=rule.id, version=rule.version, name=wish.name, destination=wish.destination, priority=_word(wish.priority),
        conditions=ConditionsBody.model_validate(wish.conditions.written()), enabled=wish.enabled,
        since=iso(rule.since), changed_by=rule.changed_by, changed_at=iso(rule.changed_at),
    )  # fmt: skip


def destination_out(
    to: StowDestination | DimseDestination,
    known: Known,
    waiting: dict[str, tuple[int, int]],
    judged: tuple[BreakerRule, datetime, str],
) -> DestinationOut:
    """Return a destination as JSON; ``judged``: the breaker's rule, the time, the currency."""
    breaker_rule, now, currency = judged
    return DestinationOut(
        name=to.name, kind=to.kind, breaker=known.breaker.state(breaker_rule, now), failures=known.breaker.failures,
        shut_until=_at(known.breaker.shut_until), problem=_said(known.problem), problem_at=_at(known.problem_at),
        bytes_per_s=known.bytes_per_s, measured_at=_at(known.measured_at), price_per_gb=to.price_per_gb,
        currency=currency, sent_instances=known.sent_instances, sent_bytes=known.sent_bytes,
        backlog=Backlog(
            instances=sum(count for count, _ in waiting.values()), bytes=sum(size for _, size in waiting.values()),
            sending=waiting.get("sending", (0, 0))[0],
        ),
    )  # fmt: skip


def dry_run_out(found: Forecast, stated: float | None, price_per_gb: float | None, currency: str) -> DryRunOut:
    """Return a forecast as JSON: a stated bandwidth goes before the measured one."""
    speed = stated if stated is not None else found.measured_bytes_per_s
    size = found.all.size_bytes
    return DryRunOut(
        studies=len(found.all.studies), instances=found.all.instances, bytes=size, looked_at=found.looked,
        kept_back=found.kept_back, complete=found.complete,
        days=[_day(date, volume) for date, volume in sorted(found.days.items())],
        bandwidth="stated" if stated is not None else "measured" if speed is not None else "unknown",
        bytes_per_s=speed, seconds=size / speed if speed else None, price_per_gb=price_per_gb,
        cost=size / 1e9 * price_per_gb if price_per_gb is not None else None, currency=currency,
    )  # fmt: skip


def trace_out(found: Trace) -> TraceOut:
    """Return a trace as JSON."""
    return TraceOut(
        study_uid=found.study_uid, instances=found.instances, held=found.held, complete=found.complete,
        destinations=[_standing(one) for one in found.standings], rules=[_rule_trace(one) for one in found.rules],
        jobs=[_job(row) for row in found.jobs], next_cursor=found.next_cursor,
    )  # fmt: skip


def _day(date: str, volume: Volume) -> DayOut:
    return DayOut(date=date, studies=len(volume.studies), instances=volume.instances, bytes=volume.size_bytes)


def _standing(one: Standing) -> StandingOut:
    waits = one.state in ("waiting", "failed")
    return StandingOut.model_validate({
        "destination": one.destination, "state": one.state, "instances": one.instances, "problem": _said(one.problem),
        "next_attempt_at": _at(one.try_at) if waits else None, "last_sent_at": _at(one.sent_at),
    })  # fmt: skip


def _rule_trace(one: RuleTrace) -> RuleTraceOut:
    missed = [
        ReasonOut(code=code, text_en=REASONS[code][0], text_zh=REASONS[code][1], instances=count)
        for code, count in sorted(one.missed.items())
    ]
    wish = one.rule.wish
    return RuleTraceOut(
        rule_id=one.rule.id, name=wish.name, destination=wish.destination, matched=one.matched, missed=missed
    )


def _job(row: Any) -> JobOut:
    waits = row.state in ("waiting", "failed")
    return JobOut(
        destination=row.destination, rule_id=row.rule_id, series_uid=row.series_uid,
        sop_instance_uid=row.sop_instance_uid, priority=_word(Priority(row.priority)), state=row.state,
        attempts=row.attempts, problem=_said(row.problem), next_attempt_at=_at(row.try_at) if waits else None,
        sent_at=_at(row.sent_at),
    )  # fmt: skip


def _said(problem: str) -> Said | None:
    if not problem:
        return None
    words = words_of(problem)
    return Said(code=problem, text_en=words.en, text_zh=words.zh, mend=words.mend)


def _word(priority: Priority) -> PriorityWord:
    words: dict[Priority, PriorityWord] = {
        Priority.STAT: "stat", Priority.ROUTINE: "routine", Priority.BACKGROUND: "background",
    }  # fmt: skip
    return words[priority]


def _at(at: datetime | None) -> str | None:
    return iso(utc(at)) if at is not None else None
