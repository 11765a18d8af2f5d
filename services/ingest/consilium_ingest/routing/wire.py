"""The JSON of the routing addresses."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from consilium_core.errors import Mend
from consilium_ingest.routing.rows import Wish
from consilium_ingest.routing.rules import Conditions, Priority

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
    """Why a study is not there, or that it is; ``held``: objects of it that wait in quarantine; ``complete`` False: only the first instances were held against the rules."""

    study_uid: str
    instances: int
    held: int
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
