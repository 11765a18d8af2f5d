"""The JSON of the storage addresses."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=2000)]


class CopySums(BaseModel):
    """The second copies of a tenant."""

    copied: int
    copied_bytes: int
    waiting: int
    failing: int


class DamageSum(BaseModel):
    """Objects known to be bad in one place."""

    place: Literal["first", "copy"]
    kind: Literal["missing", "corrupt"]
    objects: int


class ScrubRun(BaseModel):
    """The last scrub of the whole store."""

    started_at: datetime
    finished_at: datetime | None
    objects: int
    bytes: int
    missing: int
    corrupt: int
    repaired: int


class HeldSums(BaseModel):
    """The quarantine's objects of a tenant, decided ones included."""

    objects: int
    copies: CopySums
    damage: list[DamageSum]


class StorageSummary(BaseModel):
    """How the tenant's originals and held objects stand. ``copy_store``: where second copies are kept."""

    copy_store: Literal["none", "folder", "s3"]
    studies: int
    instances: int
    copies: CopySums
    damage: list[DamageSum]
    held: HeldSums
    removals_under_way: int
    holds: int
    last_scrub: ScrubRun | None


class InstanceStorage(BaseModel):
    """One original in both places."""

    series_uid: str
    sop_instance_uid: str
    sha256: str
    size_bytes: int
    stored_at: datetime
    first: Literal["stored", "missing", "corrupt"]
    copy_: Literal["none", "waiting", "copied", "missing", "corrupt"] = Field(alias="copy")
    copied_at: datetime | None
    attempts: int
    problem: str


class StudyStorageOut(BaseModel):
    """One study: how many of its originals stand how in each place, and a page of them."""

    study_uid: str
    first: dict[str, int]
    copy_: dict[str, int] = Field(alias="copy")
    instances: list[InstanceStorage]
    next_cursor: str | None


class HoldIn(BaseModel):
    """What to hold: a study or a patient id, and why."""

    model_config = ConfigDict(extra="forbid")

    reason: Text
    study_uid: str = Field(default="", pattern=r"^[0-9.]{0,64}$")
    patient_id: str = Field(default="", max_length=128)

    @model_validator(mode="after")
    def _one_of_them(self) -> HoldIn:
        if bool(self.study_uid) == bool(self.patient_id):
            raise ValueError("name a study_uid or a patient_id, one of them")
        return self


class HoldOut(BaseModel):
    """One legal hold; ``studies``: how many stored studies it covers now."""

    id: str
    study_uid: str | None
    patient_id: str | None
    reason: str
    placed_by: str
    placed_at: datetime
    released_by: str | None
    released_at: datetime | None
    studies: int


class HoldPage(BaseModel):
    """Holds, newest first (at most 1,000)."""

    items: list[HoldOut]
    next_cursor: None = None


class TombstoneOut(BaseModel):
    """Proof of one removal: what, when, by which rule, by whom."""

    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    sha256: str
    size_bytes: int
    rule: str
    actor: str
    deleted_at: datetime


class TombstonePage(BaseModel):
    """Tombstones, newest first."""

    items: list[TombstoneOut]
    next_cursor: str | None
