"""Lists and metadata come from the index: the object store is never asked. Events reach each subscriber, numbered, for each instance."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from consilium_archive.packing import json_array, zlib_stream
from consilium_archive.query import Level, PageRule, parse_query
from consilium_archive.reader import ArchiveReader, Scope
from consilium_archive.stages import Indexed, Received
from consilium_archive.worklist import WorklistAsk, worklist
from consilium_archive.writer import ArchiveWriter, open_writer
from consilium_core.ids import new_uid
from consilium_platform.bus import Subscription
from consilium_platform.platform import Platform
from consilium_testkit.instances import ct_instance

Put = Callable[..., Awaitable[Indexed]]


class NoStore:
    """A store that must not be asked for anything."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the object store is asked: {name}")


async def test_searches_metadata_and_the_work_list_never_ask_the_object_store(any_platform: Platform, put: Put) -> None:
    study, series = new_uid(), new_uid()
    for number in range(1, 4):
        await put(StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=number)
    reader = ArchiveReader(any_platform.database, NoStore())
    for level, scope in ((Level.STUDY, Scope()), (Level.SERIES, Scope()), (Level.INSTANCE, Scope(study, series))):
        query = parse_query(level, [("includefield", "KVP"), ("includefield", "all")], PageRule())
        found = await reader.search("demo", query, scope, "http://h/dicomweb")
        assert found.total == (3 if level is Level.INSTANCE else 1)
    assert len((await worklist(any_platform.database, "demo", WorklistAsk(text="wang"))).items) == 1
    pieces = await reader.metadata("demo", Scope(study, series))
    bodies = json.loads(zlib.decompress(zlib_stream(json_array(pieces))))
    assert [body["00200013"]["Value"] for body in bodies] == [[1], [2], [3]]


async def _until(subscription: Subscription, subjects: set[str]) -> list[tuple[int, str]]:
    """Return (seq, subject) of the events that come until all subjects have been told of."""
    got: list[tuple[int, str]] = []
    async with asyncio.timeout(60):
        while not subjects <= {subject for _, subject in got}:
            event = await subscription.next(10)
            if event is not None:
                got.append((event.seq, event.subject))
    return got


async def test_each_subscriber_hears_of_each_instance_at_least_once_with_a_number(
    any_platform: Platform, writer: ArchiveWriter
) -> None:
    files = [ct_instance(side=8) for _ in range(12)]
    async with any_platform.bus.subscribe() as one, any_platform.bus.subscribe() as two:
        stored = await asyncio.gather(*(writer.store(Received("demo", file)) for file in files for _ in range(2)))
        subjects = {one.sop_instance_uid for one in stored}
        first, second = await asyncio.gather(_until(one, subjects), _until(two, subjects))
    assert len(subjects) == len(files)
    assert sum(answer.fresh for answer in stored) == len(files)
    for heard in (first, second):
        assert {subject for _, subject in heard} == subjects
        assert [number for number, _ in dict.fromkeys(heard)] == sorted({number for number, _ in heard})


async def test_a_batch_of_two_senders_holds_each_instance_once_and_both_audit_entries(
    any_platform: Platform, writer: ArchiveWriter
) -> None:
    files = [ct_instance(side=8) for _ in range(6)]
    held = [[await writer.hold(Received("demo", file)) for file in files] for _ in range(2)]
    written: list[int] = []

    async with open_writer(any_platform.database, any_platform.blobs, any_platform.outbox) as other:
        answers = await asyncio.gather(
            *(
                sender.index_all(
                    [one for one in mine if not isinstance(one, Indexed)], lambda _, got: written.append(len(got))
                )
                for sender, mine in zip((writer, other), held, strict=True)
            )
        )
    outcomes = [one for answer in answers for one in answer]
    assert sum(isinstance(one, Indexed) and one.fresh for one in outcomes) == 6
    assert sum(isinstance(one, Indexed) and not one.fresh for one in outcomes) == 6
    assert sorted(written) == [6, 6]
