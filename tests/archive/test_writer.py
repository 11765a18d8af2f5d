"""The one writer: durable, idempotent, first bytes win, one study is one patient (on both worlds)."""

from __future__ import annotations

import asyncio
import json

import pytest
from sqlalchemy import func, select

from consilium_archive.errors import (
    InstanceConflict,
    InstanceHeld,
    InstanceRejected,
    NotArchived,
    PatientMismatch,
    StudyMismatch,
)
from consilium_archive.query import Level, PageRule, parse_query
from consilium_archive.reader import ArchiveReader, Scope
from consilium_archive.removal import remove_doomed
from consilium_archive.stages import Indexed, Origin, Received, Stored
from consilium_archive.tables import instance
from consilium_archive.writer import ArchiveWriter, WriterLimits, open_writer
from consilium_core.ids import new_uid
from consilium_dicom.policy import DEFAULT_POLICY, STORE_ALL, Policy
from consilium_platform.outbox import outbox
from consilium_platform.platform import Platform
from consilium_testkit.instances import ct_instance, uids_of


async def events_of(platform: Platform, subject: str) -> list[dict[str, object]]:
    async with platform.database.read() as session:
        rows = await session.execute(select(outbox.c.type, outbox.c.data).where(outbox.c.subject == subject))
        return [{"type": row.type, **json.loads(row.data)} for row in rows]


async def studies_of(reader: ArchiveReader, tenant: str = "demo") -> list[dict[str, dict[str, list[object]]]]:
    found = await reader.search(tenant, parse_query(Level.STUDY, [], PageRule()), Scope(), "")
    return [json.loads(one) for one in found.objects]


async def test_what_is_stored_can_be_read_and_is_announced(
    any_platform: Platform, writer: ArchiveWriter, reader: ArchiveReader
) -> None:
    data = ct_instance(side=8)
    origin = Origin("capture", room_id="room1", capture_id="cap1", upload_id="up1")
    indexed = await writer.store(Received("demo", data, origin=origin))
    assert indexed.fresh
    study, series, sop = uids_of(data)
    place, index = await reader.frame_index("demo", Scope(study, series, sop))
    assert await reader.original(place) == data
    assert index is not None
    assert index.count == 1
    assert await events_of(any_platform, sop) == [
        {
            "type": "instance.stored", "study_uid": study, "series_uid": series, "modality": "CT", "frames": 1,
            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2", "origin": "capture", "room_id": "room1",
            "capture_id": "cap1", "upload_id": "up1",
        }
    ]  # fmt: skip


async def test_the_same_bytes_again_are_a_success_without_a_second_event(
    any_platform: Platform, writer: ArchiveWriter
) -> None:
    data = ct_instance(side=8)
    first = await writer.store(Received("demo", data))
    again = await writer.store(Received("demo", data))
    assert (first.fresh, again.fresh) == (True, False)
    assert abs((again.received_at - first.received_at).total_seconds()) < 0.001
    assert len(await events_of(any_platform, first.sop_instance_uid)) == 1


async def test_other_bytes_under_a_known_uid_are_refused_and_change_nothing(
    writer: ArchiveWriter, reader: ArchiveReader
) -> None:
    sop, study = new_uid(), new_uid()
    data = ct_instance(side=8, SOPInstanceUID=sop, StudyInstanceUID=study)
    await writer.store(Received("demo", data))
    for other_study in (study, new_uid()):
        other = ct_instance(side=8, seed=7, SOPInstanceUID=sop, StudyInstanceUID=other_study)
        with pytest.raises(InstanceConflict):
            await writer.store(Received("demo", other))
    assert [one["0020000D"]["Value"] for one in await studies_of(reader)] == [[study]]
    places = await reader.places("demo", Scope(study))
    assert await reader.original(places[0]) == data


async def test_a_conflict_inside_one_commit_leaves_no_empty_study(
    any_platform: Platform, writer: ArchiveWriter, reader: ArchiveReader
) -> None:
    sop = new_uid()
    files = [ct_instance(side=8, seed=n, SOPInstanceUID=sop) for n in (1, 2, 3)]
    answers = await asyncio.gather(*(writer.store(Received("demo", f)) for f in files), return_exceptions=True)
    assert sum(isinstance(answer, Indexed) for answer in answers) == 1
    assert sum(isinstance(answer, InstanceConflict) for answer in answers) == 2
    assert len(await studies_of(reader)) == 1


async def test_concurrent_senders_of_one_instance_make_one(
    any_platform: Platform, writer: ArchiveWriter, reader: ArchiveReader
) -> None:
    data = ct_instance(side=8)
    async with open_writer(any_platform.database, any_platform.blobs, any_platform.outbox) as other:
        answers = await asyncio.gather(*(w.store(Received("demo", data)) for w in (writer, other) for _ in range(8)))
    assert sum(answer.fresh for answer in answers) == 1
    assert len(await events_of(any_platform, answers[0].sop_instance_uid)) == 1
    [study] = await studies_of(reader)
    assert study["00201208"]["Value"] == [1]


async def test_counts_and_modalities_add_up_under_concurrency(
    any_platform: Platform, writer: ArchiveWriter, reader: ArchiveReader
) -> None:
    study, series = new_uid(), [new_uid() for _ in range(3)]
    files = [
        ct_instance(
            side=8, StudyInstanceUID=study, SeriesInstanceUID=series[n % 3], Modality=("CT", "US", "MR")[n % 3],
            InstanceNumber=n,
        )
        for n in range(30)
    ]  # fmt: skip
    async with open_writer(any_platform.database, any_platform.blobs, any_platform.outbox) as other:
        await asyncio.gather(*((writer, other)[n % 2].store(Received("demo", f)) for n, f in enumerate(files)))
    [found] = await studies_of(reader)
    assert found["00201206"]["Value"] == [3]
    assert found["00201208"]["Value"] == [30]
    assert found["00080061"]["Value"] == ["CT", "MR", "US"]
    by_series = await reader.search("demo", parse_query(Level.SERIES, [], PageRule()), Scope(study), "")
    assert [json.loads(one)["00201209"]["Value"] for one in by_series.objects] == [[10], [10], [10]]


async def test_one_study_never_mixes_two_patients(writer: ArchiveWriter, reader: ArchiveReader) -> None:
    study = new_uid()
    await writer.store(Received("demo", ct_instance(side=8, StudyInstanceUID=study, PatientID="P1")))
    other = ct_instance(side=8, StudyInstanceUID=study, PatientID="P2")
    with pytest.raises(InstanceHeld) as held:
        await writer.store(Received("demo", other))
    assert held.value.findings[0]["code"] == "patient-mismatch"
    with pytest.raises(PatientMismatch):
        await writer.store(Received("demo", ct_instance(side=8, StudyInstanceUID=study, PatientID="P3"), cleared=True))
    [found] = await studies_of(reader)
    assert found["00201208"]["Value"] == [1]


async def test_a_study_without_a_patient_id_takes_the_first_one_that_is_named_and_no_other(
    writer: ArchiveWriter, reader: ArchiveReader
) -> None:
    study = new_uid()

    async def send(**patient: str) -> Indexed:
        return await writer.store(Received("demo", ct_instance(side=8, StudyInstanceUID=study, **patient)))

    await send(PatientID="", PatientName="Unknown", PatientSex="", StudyDescription="Trauma")
    await send(PatientID="P2", PatientName="Li^Na", PatientSex="F", StudyDescription="Second")
    for other in ("P3", "P1"):
        with pytest.raises(InstanceHeld):
            await send(PatientID=other)
    await send(PatientID="", PatientName="Li Na", PatientSex="O")
    [found] = await studies_of(reader)
    assert found["00201208"]["Value"] == [3]
    assert (found["00100020"]["Value"], found["00100040"]["Value"]) == (["P2"], ["F"])
    assert found["00100010"]["Value"] == [{"Alphabetic": "Li^Na"}]
    assert found["00081030"]["Value"] == ["Trauma"]
    assert await reader.patient_of("demo", study) == "P2"
    for key, value in (("PatientID", "P2"), ("PatientName", "Li*"), ("StudyDescription", "Trauma")):
        page = await reader.search("demo", parse_query(Level.STUDY, [(key, value)], PageRule()), Scope(), "")
        assert page.total == 1


async def test_an_image_without_pixel_data_is_held_or_stored_as_the_policy_says(
    any_platform: Platform, writer: ArchiveWriter, reader: ArchiveReader
) -> None:
    whole = ct_instance(side=8)
    cut = whole[: whole.index(b"\xe0\x7f\x10\x00OW")]
    with pytest.raises(InstanceHeld) as held:
        await writer.store(Received("demo", cut))
    assert "pixel-data-missing" in [one["code"] for one in held.value.findings]
    assert (await writer.store(Received("demo", whole))).fresh, "sent again, whole"
    headers = WriterLimits(policy=Policy(DEFAULT_POLICY.hold - {"pixel-data-missing"}))
    other = ct_instance(side=8)
    async with open_writer(any_platform.database, any_platform.blobs, any_platform.outbox, headers) as migration:
        stored = await migration.store(Received("demo", other[: other.index(b"\xe0\x7f\x10\x00OW")]))
    assert [one.code for one in stored.warnings] == ["pixel-data-missing"]


async def swept(platform: Platform) -> list[str]:
    """Take what is doomed away and return the keys of the originals that are left."""
    await remove_doomed(platform.database, platform.stores, platform.clock, grace_s=0)
    return await platform.blobs.list("originals/")


async def test_bytes_of_another_patient_are_refused_before_they_are_stored_and_leave_nothing(
    any_platform: Platform, reader: ArchiveReader
) -> None:
    study = new_uid()
    mine, other = (ct_instance(side=8, StudyInstanceUID=study, PatientID=patient) for patient in ("P1", "P2"))
    strict = WriterLimits(policy=STORE_ALL)
    async with open_writer(any_platform.database, any_platform.blobs, any_platform.outbox, strict) as writer:
        late = await writer.keep(await writer.validate(Received("demo", other)))  # nothing is known of the study yet
        assert isinstance(late, Stored)
        await writer.store(Received("demo", mine))
        assert len(await any_platform.blobs.list("originals/")) == 2
        with pytest.raises(PatientMismatch):
            await writer.index(late)
        [place] = await reader.places("demo", Scope(study))
        assert await swept(any_platform) == [place.key]
        with pytest.raises(PatientMismatch):
            await writer.store(Received("demo", other))
        assert await any_platform.blobs.list("originals/") == [place.key]


async def test_other_bytes_under_a_uid_that_is_taken_meanwhile_leave_nothing(
    any_platform: Platform, writer: ArchiveWriter
) -> None:
    sop = new_uid()
    files = [ct_instance(side=8, seed=n, SOPInstanceUID=sop) for n in (1, 2)]
    kept = [await writer.keep(await writer.validate(Received("demo", file))) for file in (*files, files[0])]
    first, second, again = [one for one in kept if isinstance(one, Stored)]
    assert (await writer.index(first)).fresh
    with pytest.raises(InstanceConflict):
        await writer.index(second)
    assert not (await writer.index(again)).fresh
    assert await swept(any_platform) == [first.key]
    assert await any_platform.blobs.get(first.key) == files[0]


async def test_the_same_patient_id_of_another_issuer_is_another_patient(
    writer: ArchiveWriter, reader: ArchiveReader
) -> None:
    study = new_uid()

    async def send(issuer: str | None) -> Indexed:
        return await writer.store(
            Received("demo", ct_instance(side=8, StudyInstanceUID=study, IssuerOfPatientID=issuer))
        )

    for issuer in (None, "A", None, "A"):
        await send(issuer)
    with pytest.raises(InstanceHeld):
        await send("B")
    [found] = await studies_of(reader)
    assert (found["00100021"]["Value"], found["00201208"]["Value"]) == (["A"], [4])


async def test_a_study_takes_one_patient_from_senders_that_name_several_at_once(
    any_platform: Platform, writer: ArchiveWriter, reader: ArchiveReader
) -> None:
    study = new_uid()
    await writer.store(Received("demo", ct_instance(side=8, StudyInstanceUID=study, PatientID="")))
    files = [ct_instance(side=8, StudyInstanceUID=study, PatientID=f"P{n}") for n in range(6)]
    async with open_writer(any_platform.database, any_platform.blobs, any_platform.outbox) as other:
        sent = ((writer, other)[n % 2].store(Received("demo", file)) for n, file in enumerate(files))
        answers = await asyncio.gather(*sent, return_exceptions=True)
    [stored] = [answer for answer in answers if isinstance(answer, Indexed)]
    assert sum(isinstance(answer, InstanceHeld) for answer in answers) == 5
    assert await reader.patient_of("demo", study) == stored.patient_id


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, about the odd values it writes
async def test_a_nul_inside_any_text_is_stored_with_a_warning_in_either_world(
    writer: ArchiveWriter, reader: ArchiveReader
) -> None:
    words = (
        "PatientName", "PatientID", "IssuerOfPatientID", "PatientSex", "StudyDescription", "SeriesDescription", "StudyID",
        "AccessionNumber", "Modality", "BodyPartExamined", "ReferringPhysicianName", "Manufacturer", "ProtocolName",
    )  # fmt: skip
    file = ct_instance(side=8, StudyInstanceUID="1.2.3", **dict.fromkeys(words, "A@B")).replace(b"A@B", b"A\0B")
    indexed = await writer.store(Received("demo", file))
    assert "text-nul" in {warning.code for warning in indexed.warnings}
    [found] = await studies_of(reader)
    assert (found["00081030"]["Value"], indexed.patient_id) == (["A B"], "A B")
    assert await reader.patient_of("demo", "1.2.3") == "A B"
    assert len(await reader.metadata("demo", Scope("1.2.3"))) == 1


async def test_tenants_do_not_see_each_other_even_with_equal_uids(writer: ArchiveWriter, reader: ArchiveReader) -> None:
    data = ct_instance(side=8)
    study = uids_of(data)[0]
    assert (await writer.store(Received("demo", data))).fresh
    with pytest.raises(NotArchived):
        await reader.places("other", Scope(study))
    assert (await writer.store(Received("other", data))).fresh
    assert len(await studies_of(reader, "other")) == 1


async def test_a_crash_between_store_and_index_is_mended_by_sending_again(
    any_platform: Platform, writer: ArchiveWriter, reader: ArchiveReader
) -> None:
    data = ct_instance(side=8)
    await writer.keep(await writer.validate(Received("demo", data)))  # the bytes are durable, the process dies here
    assert await studies_of(reader) == []
    assert (await writer.store(Received("demo", data))).fresh
    assert len(await studies_of(reader)) == 1


async def test_a_truncated_object_is_refused_by_name_and_leaves_nothing(
    any_platform: Platform, writer: ArchiveWriter
) -> None:
    with pytest.raises(InstanceRejected) as refusal:
        await writer.store(Received("demo", ct_instance(side=64)[:-1000]))
    assert "pixel-data-truncated" in {found["code"] for found in refusal.value.findings}
    async with any_platform.database.read() as session:
        assert await session.scalar(select(func.count()).select_from(instance)) == 0
    assert await any_platform.blobs.list("originals/") == []


async def test_an_instance_of_another_study_than_named_is_refused(writer: ArchiveWriter) -> None:
    with pytest.raises(StudyMismatch):
        await writer.store(Received("demo", ct_instance(side=8), study_uid=new_uid()))
