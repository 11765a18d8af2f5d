"""Judge found files without storing one: what validation would say, what is archived already, and who and what it is about.

Flows in: batches of found files, as the writer would get them; flows out: the same answers, and the tree of patients, studies and series.
What is known of the archive comes through ``Known``: its index, or a server's QIDO-RS.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from consilium_archive.errors import InstanceDoubtful, PatientMismatch
from consilium_archive.identity import Person, differences
from consilium_archive.index import conflict, stored_already
from consilium_archive.prepare import finding_json, prepare
from consilium_archive.stages import Indexed, Received, Validated, Warned
from consilium_archive.tables import study
from consilium_core.errors import ConsiliumError
from consilium_dicom.findings import Finding, finding
from consilium_dicom.policy import Policy
from consilium_dicom.validate import DecodeFrames
from consilium_ingest.errors import ObjectTooLarge
from consilium_ingest.importing.outcomes import Answer
from consilium_ingest.importing.sources import IN_MEMORY_BYTES, Found, unreadable
from consilium_platform.sql import Database


class Known(Protocol):
    """What an archive has."""

    async def instances(self, uids: Sequence[str]) -> Mapping[str, str]:
        """Return the SHA-256 of those instances that are there, "" where it is not said."""

    async def patients(self, study_uids: Sequence[str]) -> Mapping[str, Person]:
        """Return the person of those studies that are there."""


@dataclass(frozen=True, slots=True)
class KnownHere:
    """What the index of this process's archive has."""

    database: Database
    tenant: str

    async def instances(self, uids: Sequence[str]) -> Mapping[str, str]:
        """Return the SHA-256 of those that are indexed."""
        rows = await self.database.query(partial(stored_already, tenant=self.tenant, uids=list(uids)))
        return {uid: str(row.sha256) for (_, uid), row in rows.items()}

    async def patients(self, study_uids: Sequence[str]) -> Mapping[str, Person]:
        """Return whose the indexed studies are."""

        def read(session: Session) -> dict[str, Person]:
            mine = (study.c.tenant_id == self.tenant, study.c.study_uid.in_(list(study_uids)))
            return {row.study_uid: Person.read(row._asdict()) for row in session.execute(select(study).where(*mine))}

        return await self.database.query(read)


@dataclass
class Series:
    """Sums of one series."""

    modality: str
    number: int | None
    description: str
    instances: int = 0
    size_bytes: int = 0
    already: int = 0
    not_taken: int = 0


@dataclass
class Study:
    """One study and its series by UID."""

    patient_id: str
    patient_name: str
    birth_date: str
    date: str
    description: str
    series: dict[str, Series] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judging:
    """How objects are judged, as the writer would."""

    tenant: str
    decode: DecodeFrames
    policy: Policy
    max_bytes: int
    jobs: int


class Preview:
    """A sink that stores nothing; ``studies`` is what it saw, by Study Instance UID."""

    def __init__(self, judging: Judging, known: Known) -> None:
        self.studies: dict[str, Study] = {}
        self._judging = judging
        self._known = known
        self._patients: dict[str, Person] = {}  # by Study Instance UID, of this import
        self._seen: dict[str, str] = {}  # SOP Instance UID -> SHA-256, of this import

    async def store(self, batch: Sequence[Found]) -> list[Answer]:
        """Return the answer that each file would probably get, in order."""
        room = asyncio.Semaphore(self._judging.jobs)

        async def one(found: Found) -> Validated | ConsiliumError:
            async with room:
                return await asyncio.to_thread(self._judge, found)

        judged = await asyncio.gather(*(one(found) for found in batch))
        valid = [one for one in judged if isinstance(one, Validated)]
        there = dict(await self._known.instances([one.header.sop_instance_uid for one in valid]))
        owners = dict(await self._known.patients(sorted({one.header.study_uid for one in valid})))
        return [self._answer(one, there, owners) if isinstance(one, Validated) else one for one in judged]

    def _judge(self, found: Found) -> Validated | ConsiliumError:
        judging = self._judging
        if found.size_bytes > judging.max_bytes:
            return ObjectTooLarge(f"An object may have at most {judging.max_bytes} bytes.")
        try:
            data = found.path.read_bytes() if found.size_bytes <= IN_MEMORY_BYTES else None
            received = Received(judging.tenant, data, found.path if data is None else None)
            return prepare(received, judging.decode, judging.policy)
        except ConsiliumError as refusal:
            return refusal
        except OSError as problem:
            return unreadable(problem)

    def _answer(self, valid: Validated, there: dict[str, str], owners: dict[str, Person]) -> Answer:
        header = valid.header
        uid, mine = header.sop_instance_uid, Person.of(header)
        known = uid in there or uid in self._seen
        before = self._seen.setdefault(uid, valid.sha256)
        series = self._series(valid)
        if before != valid.sha256 or there.get(uid, "") not in ("", valid.sha256):
            series.not_taken += 1
            return conflict(uid)
        owner = owners.get(header.study_uid) or self._patients.setdefault(header.study_uid, mine)
        against = () if known else differences(owner, mine)
        refusal = None if known else self._refusal(owner, mine, uid, against)
        if refusal is not None:
            series.not_taken += 1
            return refusal
        series.instances += 1
        series.size_bytes += valid.size_bytes
        series.already += known
        return Indexed(
            header.study_uid, header.series_uid, uid, header.sop_class_uid, header.patient_id, valid.sha256,
            valid.size_bytes, datetime.now(UTC), not known,
            (*valid.warnings, *(Warned(one.code, one.text_en) for one in against)),
        )  # fmt: skip

    def _refusal(self, owner: Person, mine: Person, uid: str, against: Sequence[Finding]) -> ConsiliumError | None:
        """Return what keeps an object out of the study of another person: held if the policy says so."""
        hold = self._judging.policy.hold
        held = [one for one in against if one.code in hold]
        if mine.patient_id and owner.patient_id and mine.patient_id != owner.patient_id:
            if "patient-mismatch" not in hold:
                return PatientMismatch("The study is another patient's.", sop_instance_uid=uid)
            held = [finding("patient-mismatch", "(0010,0020)"), *against]
        if not held:
            return None
        said = [finding_json(one) for one in held]
        reasons = list(dict.fromkeys(one.code for one in held))
        return InstanceDoubtful(
            "A person must look first: the study is another's.", reasons, said, sop_instance_uid=uid
        )

    def _series(self, valid: Validated) -> Series:
        header = valid.header
        study_ = self.studies.setdefault(
            header.study_uid,
            Study(
                header.patient_id, header.patient_name.display(), header.birth_date, header.study_date,
                header.study_description,
            ),
        )  # fmt: skip
        return study_.series.setdefault(
            header.series_uid, Series(header.modality, header.series_number, header.series_description)
        )

    def wire(self) -> list[dict[str, Any]]:
        """Return patients with their studies and series as JSON."""
        patients: dict[str, list[dict[str, Any]]] = {}
        for uid, one in sorted(self.studies.items(), key=lambda pair: (pair[1].patient_id, pair[1].date, pair[0])):
            series = [{"series_uid": each, **asdict(sums)} for each, sums in one.series.items()]
            found = {"study_uid": uid, **asdict(one), "series": series}
            patients.setdefault(one.patient_id, []).append(found)
        return [{"patient_id": patient_id, "studies": studies} for patient_id, studies in patients.items()]
