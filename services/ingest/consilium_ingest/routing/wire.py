"""The JSON of the routing addresses."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from consilium_core.clock import iso
from consilium_core.errors import Mend
from consilium_ingest.routing.breaker import BreakerRule
from consilium_ingest.routing.dry_run import Forecast, Volume
from consilium_ingest.routing.jobs import Known
from consilium_ingest.routing.rows import Rule, Wish, utc
from consilium_ingest.routing.rules import Conditions, Priority
from consilium_ingest.routing.settings import DimseDestination, StowDestination
from consilium_ingest.routing.trace import RuleTrace, Standing, Trace
from consilium_ingest.routing.words import REASONS, words_of

PriorityWord = Literal["stat", "routine", "background"]
JobState = Literal["waiting", "sending", "failed", "sent", "given-up"]
Pattern = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]
Uid = Annotated[str, StringConstraints(pattern=r"^[0-9.]{1,64}$")]
Code = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9 _]{1,16}$")]
AeTitle = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=16)]
Millimetres = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]


class ConditionsBody(BaseModel):
    """What an instance must be; all of what is said, of one list any word. ``*`` and ``?`` stand for characters in descriptions, names, titles."""

    model_config = ConfigDict(extra="forbid")

    modalities: list[Code] = Field(default=[], max_length=50)
    sop_class_uids: list[Uid] = Field(default=[], max_length=50)
    study_descriptions: list[Pattern] = Field(default=[], max_length=50)
    series_descriptions: list[Pattern] = Field(default=[], max_length=50)
    station_names: list[Pattern] = Field(default=[], max_length=50)
    calling_ae_titles: list[AeTitle] = Field(default=[], max_length=50)
    origins: list[Literal["stow", "capture", "dimse", "import"]] = Field(default=[], max_length=4)
    slice_thickness_at_least_mm: Millimetres | None = None
    slice_thickness_at_most_mm: Millimetres | None = None
    study_age_at_most_days: int | None = Field(default=None, ge=0, le=36500)

    @model_validator(mode="after")
    def _can_be_met(self) -> ConditionsBody:
        least, most = self.slice_thickness_at_least_mm, self.slice_thickness_at_most_mm
        if least is not None and most is not None and least > most:
            raise ValueError("slice_thickness_at_least_mm is above slice_thickness_at_most_mm")
        return self


class RuleIn(BaseModel):
    """A rule as its author writes it."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=64)]
    destination: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    priority: PriorityWord = "routine"
    conditions: ConditionsBody = ConditionsBody()
    enabled: bool = True

    def wish(self) -> Wish:
        """Return it as the domain's."""
        conditions = Conditions.read(self.conditions.model_dump())
        return Wish(self.name, self.destination, Priority[self.priority.upper()], conditions, self.enabled)


class RuleChange(RuleIn):
    """A rule anew; ``version`` is the one that was looked at."""

    version: int = Field(ge=1)


class RuleOut(BaseModel):
    """A rule as it stands; ``since``: it is for what was received from then on."""

    id: str
    version: int
    name: str
    destination: str
    priority: PriorityWord
    conditions: ConditionsBody
    enabled: bool
    since: str
    changed_by: str
    changed_at: str


class RulePage(BaseModel):
    """All rules of the tenant, in the order in which they were made."""

    items: list[RuleOut]
    next_cursor: None = None


class Said(BaseModel):
    """A cause in plain words, and who can mend it."""

    code: str
    text_en: str
    text_zh: str
    mend: Mend


class Backlog(BaseModel):
    """What is not done yet."""

    instances: int
    bytes: int
    sending: int


class DestinationOut(BaseModel):
    """A destination and its health; ``bytes_per_s``: moving average of what was sent. Addresses are not told."""

    name: str
    kind: Literal["stow", "dimse"]
    breaker: Literal["closed", "open", "half-open"]
    failures: int
    shut_until: str | None
    problem: Said | None
    problem_at: str | None
    bytes_per_s: float | None
    measured_at: str | None
    price_per_gb: float | None
    currency: str
    sent_instances: int
    sent_bytes: int
    backlog: Backlog


class DestinationPage(BaseModel):
    """The tenant's destinations."""

    items: list[DestinationOut]
    next_cursor: None = None


class DryRunIn(BaseModel):
    """A rule to try on what came in the last days; ``bytes_per_s``: stated for a destination that nothing was measured of."""

    model_config = ConfigDict(extra="forbid")

    rule: RuleIn
    days: int = Field(default=7, ge=1, le=31)
    bytes_per_s: float | None = Field(default=None, gt=0, le=1e12, allow_inf_nan=False)


class DayOut(BaseModel):
    """One day (UTC) of a dry run."""

    date: str
    studies: int
    instances: int
    bytes: int


class DryRunOut(BaseModel):
    """What the rule would have sent. ``seconds``: at ``bytes_per_s``; a GB of ``cost`` is 10^9 bytes; ``complete`` False: the bound was reached."""

    studies: int
    instances: int
    bytes: int
    looked_at: int
    kept_back: int
    complete: bool
    days: list[DayOut]
    bandwidth: Literal["stated", "measured", "unknown"]
    bytes_per_s: float | None
    seconds: float | None
    price_per_gb: float | None
    cost: float | None
    currency: str


class StandingOut(BaseModel):
    """Instances of the study that stand alike at one destination."""

    destination: str
    state: JobState
    instances: int
    problem: Said | None
    next_attempt_at: str | None
    last_sent_at: str | None


class ReasonOut(BaseModel):
    """Why a rule made no job of so many instances."""

    code: str
    text_en: str
    text_zh: str
    instances: int


class RuleTraceOut(BaseModel):
    """What one rule says of the study."""

    rule_id: str
    name: str
    destination: str
    matched: int
    missed: list[ReasonOut]


class JobOut(BaseModel):
    """One instance on its way."""

    destination: str
    rule_id: str
    series_uid: str
    sop_instance_uid: str
    priority: PriorityWord
    state: JobState
    attempts: int
    problem: Said | None
    next_attempt_at: str | None
    sent_at: str | None


class TraceOut(BaseModel):
    """Why a study is not there, or that it is; ``complete`` False: only the first instances were held against the rules."""

    study_uid: str
    instances: int
    complete: bool
    destinations: list[StandingOut]
    rules: list[RuleTraceOut]
    jobs: list[JobOut]
    next_cursor: str | None


class RetryIn(BaseModel):
    """Which destination; none: all."""

    model_config = ConfigDict(extra="forbid")

    destination: str = Field(default="", max_length=64)


class RetryOut(BaseModel):
    """How many instances are tried again now."""

    instances: int


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
        study_uid=found.study_uid, instances=found.instances, complete=found.complete,
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
