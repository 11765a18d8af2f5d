"""What counts as committed: indexed under the class that was asked for, and whole in the first place, or else in the second."""

from __future__ import annotations

from typing import Any

import pytest
from joserfc.jwk import KeySet, OKPKey
from sqlalchemy import update

from consilium_archive.commitment import MAX_REFERENCES, FailureReason, Reference, Verdict, judge, study_references
from consilium_archive.copies import Copier
from consilium_archive.damage import mark_damage
from consilium_archive.errors import InstanceHeld, NotArchived
from consilium_archive.receipt import RECEIPT, Asked, receipt_of, verify_receipt
from consilium_archive.retention import Retainer, RetentionRule
from consilium_archive.stages import Indexed, Received, original_key
from consilium_archive.storage_tables import copy
from consilium_archive.writer import WriterLimits, open_writer
from consilium_core.clock import FakeClock
from consilium_core.errors import Unavailable
from consilium_dicom.policy import HELD_BY_DEFAULT, parse_policy
from consilium_platform.blobs import BlobsUnavailable, Stores
from consilium_platform.platform import Platform
from consilium_platform.statements import sign_statement
from consilium_testkit.instances import CT, ct_instance, uids_of

from .conftest import Put

MR = "1.2.840.10008.5.1.4.1.1.4"


async def verdict_of(
    platform: Platform, stores: Stores, uid: str, sop_class: str = CT, tenant: str = "demo"
) -> Verdict:
    [verdict] = await judge(platform.database, stores, tenant, [Reference(sop_class, uid)])
    return verdict


async def test_a_stored_instance_is_committed_with_its_facts(any_platform: Platform, stores: Stores, put: Put) -> None:
    one = await put()
    found = await verdict_of(any_platform, stores, one.sop_instance_uid)
    assert found.committed
    assert found.failure_reason is None
    assert (found.sha256, found.study_uid, found.series_uid) == (one.sha256, one.study_uid, one.series_uid)
    assert (found.size_bytes, found.first, found.copy) == (one.size_bytes, "stored", "waiting")
    assert found.stored_at.endswith("Z")
    alone = await verdict_of(any_platform, any_platform.stores, one.sop_instance_uid)
    assert (alone.committed, alone.copy) == (True, "none")


async def test_what_is_asked_for_wrongly_is_not_committed(any_platform: Platform, stores: Stores, put: Put) -> None:
    one = await put()
    asked = [Reference(MR, one.sop_instance_uid), Reference(CT, "1.2.3"), Reference(CT, one.sop_instance_uid)]
    found = await judge(any_platform.database, stores, "demo", asked)
    assert [(v.why, v.failure_reason) for v in found] == [
        ("class-differs", FailureReason.CLASS_INSTANCE_CONFLICT), ("unknown", FailureReason.NO_SUCH_INSTANCE), ("", None),
    ]  # fmt: skip
    foreign = await verdict_of(any_platform, stores, one.sop_instance_uid, tenant="elsewhere")
    assert (foreign.why, foreign.sha256) == ("unknown", "")


@pytest.mark.parametrize("harm", ["lost", "short", "marked"])
async def test_what_the_first_place_has_not_whole_counts_only_where_the_second_has_it(
    any_platform: Platform, stores: Stores, put: Put, clock: FakeClock, tmp_path: Any, harm: str
) -> None:
    one = await put()
    key = original_key("demo", one.sha256)
    if harm == "lost":
        await stores.first.delete(key)
    elif harm == "short":
        await stores.first.put(key, b"short")
    else:
        await any_platform.database.transact(lambda s: mark_damage(s, "demo", one.sha256, "first", "corrupt"))
    found = await verdict_of(any_platform, stores, one.sop_instance_uid)
    assert (found.why, found.failure_reason) == ("damaged", FailureReason.PROCESSING_FAILURE)
    assert found.first == ("missing" if harm == "lost" else "corrupt")
    assert stores.copy is not None
    await any_platform.stores.first.put(key, whole := b"x" * one.size_bytes)
    copier = Copier(any_platform.database, stores.first, stores.copy, tmp_path, clock)
    await copier.feed()
    await stores.copy.put(key, whole)
    await any_platform.database.transact(lambda s: _copied(s, one))
    if harm != "marked":
        await stores.first.delete(key)
    again = await verdict_of(any_platform, stores, one.sop_instance_uid)
    assert (again.committed, again.copy) == (True, "copied")
    await stores.copy.put(key, b"short too")
    assert (await verdict_of(any_platform, stores, one.sop_instance_uid)).why == "damaged"


def _copied(session: Any, one: Indexed) -> None:
    done = update(copy).where(copy.c.tenant_id == "demo", copy.c.sha256 == one.sha256).values(state="copied")
    assert session.execute(done).rowcount == 1


async def test_what_is_held_in_quarantine_is_not_committed_and_is_once_it_is_released(
    any_platform: Platform, stores: Stores
) -> None:
    doubtful = ct_instance(side=8, PatientBirthDate="20250101")
    uid = uids_of(doubtful)[2]
    limits = WriterLimits(policy=parse_policy(",".join(HELD_BY_DEFAULT)))
    async with open_writer(any_platform.database, any_platform.blobs, any_platform.outbox, limits) as writer:
        with pytest.raises(InstanceHeld):
            await writer.store(Received("demo", doubtful))
        held = await verdict_of(any_platform, stores, uid)
        assert (held.why, held.failure_reason) == ("held", FailureReason.NO_SUCH_INSTANCE)
        await writer.store(Received("demo", doubtful, cleared=True))
    assert (await verdict_of(any_platform, stores, uid)).committed


async def test_an_instance_of_which_other_bytes_are_held_is_not_committed_for_the_older_ones(
    any_platform: Platform, stores: Stores, put: Put
) -> None:
    one = await put()
    other = ct_instance(
        side=8, PatientBirthDate="20250101", StudyInstanceUID=one.study_uid, SeriesInstanceUID=one.series_uid,
        SOPInstanceUID=one.sop_instance_uid,
    )  # fmt: skip
    limits = WriterLimits(policy=parse_policy(",".join(HELD_BY_DEFAULT)))
    async with open_writer(any_platform.database, any_platform.blobs, any_platform.outbox, limits) as writer:
        with pytest.raises(InstanceHeld):
            await writer.store(Received("demo", other))
    found = await verdict_of(any_platform, stores, one.sop_instance_uid)
    assert (found.why, found.failure_reason, found.sha256) == ("held", FailureReason.NO_SUCH_INSTANCE, one.sha256)


def test_the_receipt_of_the_longest_request_is_signed_and_verified() -> None:
    longest = "1." + "2" * 62
    one = Verdict(
        longest, longest, "class-differs", longest, longest, "a" * 64, 1 << 40, "2030-01-01T00:00:00.000000Z", "missing", "missing"
    )  # fmt: skip
    asked = Asked("CT1", "dicom-peer", "dimse", "10.1.0.7", "2030-01-01T00:00:00Z")
    content = receipt_of("demo", {"study_uid": longest}, asked, asked.at, [one] * MAX_REFERENCES)
    key = OKPKey.generate_key("Ed25519", {"kid": "receipts.1"})
    said = verify_receipt(sign_statement(key, RECEIPT, content), KeySet([key]))
    assert (said.content["not_committed"], len(said.content["instances"])) == (MAX_REFERENCES, MAX_REFERENCES)


async def test_what_retention_removed_is_not_committed(
    any_platform: Platform, stores: Stores, put: Put, clock: FakeClock
) -> None:
    one = await put()
    rules = [RetentionRule(name="exam", days=1)]
    async for _ in Retainer(any_platform.database, any_platform.audit, clock, rules, "test").apply():
        pass
    assert (await verdict_of(any_platform, stores, one.sop_instance_uid)).why == "removed"
    with pytest.raises(NotArchived):
        await study_references(any_platform.database, "demo", one.study_uid)


async def test_a_store_that_does_not_answer_decides_nothing(
    any_platform: Platform, stores: Stores, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await put()

    async def silent(key: str) -> int:
        raise BlobsUnavailable("The store does not answer.")

    monkeypatch.setattr(stores.first, "size", silent)
    with pytest.raises(Unavailable):
        await verdict_of(any_platform, stores, one.sop_instance_uid)


async def test_a_study_is_asked_for_by_all_its_instances_in_the_order_they_came(
    any_platform: Platform, put: Put
) -> None:
    first = await put()
    second = await put(StudyInstanceUID=first.study_uid)
    asked = await study_references(any_platform.database, "demo", first.study_uid)
    assert [one.sop_instance_uid for one in asked] == [first.sop_instance_uid, second.sop_instance_uid]
    with pytest.raises(NotArchived):
        await study_references(any_platform.database, "elsewhere", first.study_uid)
