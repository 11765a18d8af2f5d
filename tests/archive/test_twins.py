"""The same data set under other file meta information is the same instance; anything else stays a conflict (on both worlds)."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, select

from consilium_archive import twins
from consilium_archive.errors import InstanceConflict
from consilium_archive.index import Outcome
from consilium_archive.removal import remove_doomed
from consilium_archive.stages import Indexed, Received, Stored, original_key
from consilium_archive.tables import instance, study
from consilium_archive.twins import ComparisonUnfinished, OriginalUnreadable
from consilium_archive.writer import ArchiveWriter, open_writer
from consilium_core.ids import new_uid
from consilium_dicom.header import read_header
from consilium_platform.blobs import BlobStore
from consilium_platform.outbox import outbox
from consilium_platform.platform import Platform
from consilium_testkit.instances import ct_instance, with_meta

DEFLATED = "1.2.840.10008.1.2.1.99"
NO_IMAGE = dict.fromkeys(
    ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel",
     "PhotometricInterpretation")
)  # fmt: skip


def key(one: Indexed) -> str:
    return original_key("demo", one.sha256)


async def swept(platform: Platform) -> list[str]:
    """Take what is doomed away and return the keys of the originals that are left."""
    await remove_doomed(platform.database, platform.stores, platform.clock, grace_s=0)
    return await platform.blobs.list("originals/")


async def events(platform: Platform) -> int:
    async with platform.database.read() as session:
        return await session.scalar(select(func.count()).select_from(outbox)) or 0


def deflated(file: bytes) -> bytes:
    begins = read_header(file).dataset_offset
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    data = engine.compress(file[begins:]) + engine.flush()
    return with_meta(file[:begins] + data, TransferSyntaxUID=DEFLATED)


class Watched:
    """A store that counts what is read of it, and may stand still."""

    def __init__(self, store: BlobStore, *, stands: bool = False) -> None:
        self._store, self._stands = store, stands
        self.bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        """Count."""
        found = await self._store.get_range(key, start, length)
        self.bytes += len(found)
        return found

    async def get_stream(self, key: str) -> AsyncGenerator[bytes]:
        """Count, or wait for ever."""
        if self._stands:
            await asyncio.Event().wait()
        async for chunk in self._store.get_stream(key):
            self.bytes += len(chunk)
            yield chunk


# -- the same ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "meta",
    [
        {"SourceApplicationEntityTitle": "CT1"},
        {"preamble": b"II*\0" * 32},
        {"preamble": None},
        {"PrivateInformationCreatorUID": "1.2.3", "PrivateInformation": bytes(200_000)},
    ],
    ids=["another title", "a TIFF's preamble", "no preamble", "much private information"],
)
async def test_the_same_data_set_in_another_file_is_a_success_that_changes_nothing(
    any_platform: Platform, writer: ArchiveWriter, tmp_path: Path, meta: dict[str, Any]
) -> None:
    file = ct_instance(side=8)
    other = with_meta(file, **meta)
    for first, again in ((file, other), (with_meta(other, SourceApplicationEntityTitle="MR2"), file)):
        tenant = f"t{len(again)}"
        stored = await writer.store(Received(tenant, first))
        spooled = tmp_path / "spooled"
        spooled.write_bytes(again)
        for received in (Received(tenant, bytearray(again)), Received(tenant, None, spooled)):
            known = await writer.store(received)
            assert (known.fresh, known.sha256, known.size_bytes) == (False, stored.sha256, len(first))
            assert known.received_at == pytest.approx(stored.received_at, abs=stored.received_at.resolution * 1000)
            assert (known.study_uid, known.patient_id) == (stored.study_uid, "P1")
            assert {warned.code for warned in known.warnings} <= {"no-preamble"}, (
                "what is said is of the file that came"
            )
        assert await any_platform.blobs.list(f"originals/{tenant}/") == [original_key(tenant, stored.sha256)]
        assert await any_platform.blobs.get(original_key(tenant, stored.sha256)) == first
    assert await events(any_platform) == 2


async def test_a_large_and_a_deflated_data_set_are_known_again(any_platform: Platform, writer: ArchiveWriter) -> None:
    for file in (ct_instance(side=1800), deflated(ct_instance(side=64))):
        stored = await writer.store(Received("demo", file))
        again = await writer.store(Received("demo", with_meta(file, SourceApplicationEntityTitle="OTHER")))
        assert (again.fresh, again.sha256) == (False, stored.sha256)


# -- anything else -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [-1, -6_000_000], ids=["the last byte", "in the first stretch"])
async def test_one_other_byte_is_another_content(any_platform: Platform, writer: ArchiveWriter, at: int) -> None:
    file = ct_instance(side=1800)
    stored = await writer.store(Received("demo", file))
    other = bytearray(with_meta(file))
    other[at] ^= 1
    with pytest.raises(InstanceConflict):
        await writer.store(Received("demo", other))
    assert await any_platform.blobs.list("originals/") == [key(stored)]
    assert await any_platform.blobs.get(key(stored)) == file


async def test_another_transfer_syntax_is_another_content_even_with_the_same_bytes(writer: ArchiveWriter) -> None:
    report = ct_instance(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", Modality="SR", **NO_IMAGE)
    await writer.store(Received("demo", report))
    for syntax in ("1.2.840.10008.1.2.4.90", DEFLATED):
        other = deflated(report) if syntax == DEFLATED else with_meta(report, TransferSyntaxUID=syntax)
        assert read_header(other).transfer_syntax_uid == syntax
        with pytest.raises(InstanceConflict):
            await writer.store(Received("demo", other))


async def test_a_copy_in_another_transfer_syntax_is_not_sent_back_for_a_new_uid(writer: ArchiveWriter) -> None:
    uids = {"SOPInstanceUID": new_uid(), "StudyInstanceUID": new_uid(), "SeriesInstanceUID": new_uid()}
    plain = ct_instance(side=8, **uids)
    await writer.store(Received("demo", plain))
    with pytest.raises(InstanceConflict, match="nothing to do") as same:
        await writer.store(Received("demo", deflated(plain)))
    assert DEFLATED in same.value.detail
    with pytest.raises(InstanceConflict, match="one UID for two objects"):
        await writer.store(Received("demo", deflated(ct_instance(side=9, **uids))))
    with pytest.raises(InstanceConflict, match="A changed copy") as other:
        await writer.store(Received("demo", ct_instance(side=8, seed=5, **uids)))
    for refusal in (same, other):
        assert "new UID" not in refusal.value.detail


async def test_data_sets_of_another_length_are_told_apart_without_reading(any_platform: Platform) -> None:
    """Also where the files are of one length because the other's meta group is longer by as much as its data set is shorter."""
    uid = new_uid()
    file = ct_instance(side=16, SOPInstanceUID=uid, StudyDescription="Chest" * 12)
    shorter = with_meta(ct_instance(side=16, SOPInstanceUID=uid))
    private = {"PrivateInformationCreatorUID": "1.2.3", "PrivateInformation": b""}
    room = len(file) - len(with_meta(shorter, **private))
    level = with_meta(shorter, **private | {"PrivateInformation": bytes(room)})
    assert len(level) == len(file)
    huge = with_meta(ct_instance(side=1800, SOPInstanceUID=uid))
    blobs = Watched(any_platform.blobs)
    async with open_writer(any_platform.database, blobs, any_platform.outbox) as writer:
        await writer.store(Received("demo", file))
        for other in (shorter, level, huge):
            with pytest.raises(InstanceConflict):
                await writer.store(Received("demo", other))
    assert blobs.bytes <= 3 * len(file)


async def test_a_data_set_that_is_only_the_end_of_the_stored_one_is_another(writer: ArchiveWriter) -> None:
    """The stored file ends with the very bytes that came, but its data set begins before them."""
    file = ct_instance(side=16)
    begins = read_header(file).dataset_offset
    await writer.store(Received("demo", file))
    end = file[begins + 8 + int.from_bytes(file[begins + 6 : begins + 8], "little") :]
    with pytest.raises(InstanceConflict):
        await writer.store(Received("demo", with_meta(file[:begins] + end)))


# -- a stored file that can't be read ------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [-1, 200, 600], ids=["its pixels", "its meta group", "its header"])
async def test_a_damaged_original_is_neither_the_same_nor_another(
    any_platform: Platform, writer: ArchiveWriter, at: int
) -> None:
    file = ct_instance(side=16)
    stored = await writer.store(Received("demo", file))
    rotten = bytearray(file)
    rotten[at] ^= 1
    twin = with_meta(file)
    for bad in (bytes(rotten), file[:-10], None):
        await any_platform.blobs.delete(key(stored))
        if bad is not None:
            await any_platform.blobs.put(key(stored), bad)
        with pytest.raises(OriginalUnreadable, match="operator repairs it"):
            await writer.store(Received("demo", twin))
    assert not (await writer.store(Received("demo", file))).fresh  # the very same file needs no comparison
    await any_platform.blobs.put(key(stored), file)
    assert not (await writer.store(Received("demo", twin))).fresh


async def test_a_store_that_stands_still_is_given_up_and_the_object_is_to_be_sent_again(
    any_platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = ct_instance(side=16)
    monkeypatch.setattr(twins, "_LEAST_S", 0.02)
    standing = Watched(any_platform.blobs, stands=True)
    async with open_writer(any_platform.database, standing, any_platform.outbox) as writer:
        await writer.store(Received("demo", file))
        with pytest.raises(ComparisonUnfinished):
            await writer.store(Received("demo", with_meta(file)))


async def test_what_was_removed_on_purpose_meanwhile_is_no_damage(
    any_platform: Platform, writer: ArchiveWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = ct_instance(side=16)
    stored = await writer.store(Received("demo", file))
    asked = type(any_platform.blobs).get_range

    async def removed(*given: Any) -> bytes:
        async with any_platform.database.write() as session:
            for table in (instance, study):
                await session.execute(delete(table))
        await any_platform.blobs.delete(key(stored))
        return await asked(*given)

    with monkeypatch.context() as patch:
        patch.setattr(type(any_platform.blobs), "get_range", removed)
        with pytest.raises(ComparisonUnfinished):
            await writer.store(Received("demo", with_meta(file)))
    assert (await writer.store(Received("demo", with_meta(file)))).fresh


# -- at once -------------------------------------------------------------------------------------------------------


async def test_two_that_meet_in_the_index_are_compared_after_its_commit_and_written_down_as_they_ended(
    any_platform: Platform, writer: ArchiveWriter
) -> None:
    uid = new_uid()
    first, strange = (ct_instance(side=16, seed=seed, SOPInstanceUID=uid) for seed in (1, 9))
    twin = with_meta(first)
    held = [await writer.hold(Received("demo", file)) for file in (first, twin, strange, ct_instance(side=16))]
    stored = [one for one in held if isinstance(one, Stored)]
    assert len(stored) == 4, "nothing was known of them yet"
    told: list[Sequence[Outcome]] = []
    answers = await writer.index_all(stored, lambda _, outcomes: told.append(outcomes))
    won, same, refused, beside = answers
    assert [list(one) for one in told] == [answers], "written once, when it is known how all of them ended"
    assert isinstance(won, Indexed)
    assert won.fresh
    assert isinstance(same, Indexed)
    assert (same.fresh, same.sha256) == (False, won.sha256)
    assert isinstance(refused, InstanceConflict)
    assert isinstance(beside, Indexed)
    assert await swept(any_platform) == sorted([key(won), key(beside)])
    assert await any_platform.blobs.get(key(won)) == first
    assert await events(any_platform) == 2


async def test_a_file_that_was_put_again_after_its_sister_was_answered_is_the_same_too(
    any_platform: Platform, writer: ArchiveWriter
) -> None:
    """The sister's bytes are leaving the store by then: that is no reason to send the object once more."""
    file = ct_instance(side=16)
    held = [await writer.hold(Received("demo", one)) for one in (file, with_meta(file), with_meta(file))]
    won, sister, again = [await writer.index(one) for one in held if isinstance(one, Stored)]
    assert [won.fresh, sister.fresh, again.fresh] == [True, False, False]
    assert {won.sha256, sister.sha256, again.sha256} == {won.sha256}
    assert await swept(any_platform) == [key(won)]


async def test_one_of_a_failed_group_is_compared_too(
    any_platform: Platform, writer: ArchiveWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    from consilium_archive import commits as module

    def fails(session: Any, group: Sequence[Stored], resend: Any) -> list[Outcome]:
        if len(group) > 1:
            raise ValueError("a mistake of ours")
        return admitted(session, group, resend)

    admitted = module.index_admitted
    monkeypatch.setattr(module, "index_admitted", fails)
    file = ct_instance(side=16)
    held = [await writer.hold(Received("demo", one)) for one in (file, with_meta(file))]
    told: list[Sequence[Outcome]] = []
    answers = await writer.index_all(
        [one for one in held if isinstance(one, Stored)], lambda _, ended: told.append(ended)
    )
    assert [isinstance(one, Indexed) for one in answers] == [True, True]
    assert [list(one) for one in told] == [answers]


async def test_many_senders_of_one_data_set_in_many_files_at_once_make_one(
    any_platform: Platform, writer: ArchiveWriter
) -> None:
    file = ct_instance(side=64)
    files = [with_meta(file, SourceApplicationEntityTitle=f"AE{n}") for n in range(8)]
    async with open_writer(any_platform.database, any_platform.blobs, any_platform.outbox) as other:
        sent = ((writer, other)[n % 2].store(Received("demo", one)) for n, one in enumerate([*files, *files]))
        answers = await asyncio.gather(*sent)
    assert sum(answer.fresh for answer in answers) == 1
    assert len({answer.sha256 for answer in answers}) == 1
    assert await swept(any_platform) == [key(answers[0])]
    assert await events(any_platform) == 1
