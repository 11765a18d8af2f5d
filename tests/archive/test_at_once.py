"""All stages in one visit to a thread: the same outcomes as by the loop, in one transaction with what the sender writes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from consilium_archive.commits import Also
from consilium_archive.errors import InstanceRejected
from consilium_archive.index import Outcome
from consilium_archive.stages import Indexed, Received, Stored
from consilium_archive.tables import instance
from consilium_archive.writer import ArchiveWriter, Known, open_writer
from consilium_platform.platform import Platform
from consilium_testkit.instances import ct_instance, uids_of


class Sender:
    """Writes down what it is told inside the transaction."""

    def __init__(self) -> None:
        self.told: list[list[Outcome]] = []
        self.threads: set[str] = set()

    def __call__(self, stored: Sequence[Stored]) -> Also:
        def write(session: Session, outcomes: Sequence[Outcome]) -> None:
            assert len(stored) == len(outcomes)
            session.execute(text("SELECT 1"))
            self.told.append(list(outcomes))
            self.threads.add(threading.current_thread().name)

        return write


@pytest_asyncio.fixture
async def here(platform: Platform) -> AsyncIterator[ArchiveWriter]:
    """Yield the writer of an embedded archive."""
    async with open_writer(platform.database, platform.blobs, platform.outbox) as opened:
        yield opened


async def indexed(platform: Platform) -> set[str]:
    async with platform.database.read() as session:
        return {row.sop_instance_uid for row in await session.execute(select(instance.c.sop_instance_uid))}


def received(*files: bytes) -> list[Received]:
    return [Received("demo", one) for one in files]


async def test_objects_and_what_their_sender_writes_are_one_transaction(
    platform: Platform, here: ArchiveWriter
) -> None:
    files, sender = [ct_instance(side=8) for _ in range(3)], Sender()
    done = await here.at_once(received(*files), sender)
    assert done is not None
    assert done.outcomes is not None
    assert [isinstance(one, Indexed) and one.fresh for one in done.outcomes] == [True] * 3
    assert [one.sop_instance_uid for one in done.outcomes if isinstance(one, Indexed)] == [uids_of(f)[2] for f in files]
    assert sender.told == [done.outcomes]
    assert all(name.startswith("ingest") for name in sender.threads)
    assert await indexed(platform) == {uids_of(file)[2] for file in files}


@pytest.mark.parametrize("which", ["known", "broken"])
async def test_where_one_needs_more_none_is_indexed_and_each_goes_on_from_where_it_is(
    platform: Platform, here: ArchiveWriter, which: str
) -> None:
    good, other, sender = ct_instance(side=8), ct_instance(side=8), Sender()
    if which == "known":
        await here.store(Received("demo", other))
    else:
        other = other[:-100]
    before = await indexed(platform)
    done = await here.at_once(received(good, other), sender)
    assert done is not None
    assert done.outcomes is None
    assert sender.told == []
    assert await indexed(platform) == before
    assert isinstance(done.held[0], Stored)
    held = await here.resume(Received("demo", good), done.held[0])
    assert held is done.held[0]
    assert isinstance(await here.index(done.held[0]), Indexed)
    if which == "known":
        assert isinstance(done.held[1], Known)
        again = await here.resume(Received("demo", other), done.held[1])
        assert isinstance(again, Indexed)
        assert not again.fresh
    else:
        with pytest.raises(InstanceRejected):
            await here.resume(Received("demo", other), done.held[1])


async def test_a_commit_that_fails_is_the_loops_to_try_again(
    platform: Platform, here: ArchiveWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(stored: Sequence[Stored]) -> Also:
        def write(session: Session, outcomes: Sequence[Outcome]) -> None:
            raise RuntimeError("not now")

        return write

    done = await here.at_once(received(ct_instance(side=8)), failing)
    assert done is not None
    assert done.outcomes is None
    assert await indexed(platform) == set()
    [stored] = done.held
    assert isinstance(stored, Stored)
    assert isinstance(await here.index(stored), Indexed)


async def test_threads_that_wait_for_their_turn_share_a_commit(
    platform: Platform, here: ArchiveWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits: list[str] = []
    database: Any = platform.database
    commit: Callable[..., Any] = database._commit

    def counted(work: Callable[[Session], Any], durable: bool) -> Any:
        commits.append(threading.current_thread().name)
        return commit(work, durable)

    monkeypatch.setattr(database, "_commit", counted)
    senders = [Sender() for _ in range(3)]
    async with platform.database.write(), asyncio.timeout(20):
        tasks = [asyncio.create_task(here.at_once(received(ct_instance(side=8)), sender)) for sender in senders]
        while len(here.commits._crowd) < 3:
            await asyncio.sleep(0.005)
        assert commits == []
    done = await asyncio.gather(*tasks)
    assert all(one is not None and one.outcomes is not None for one in done)
    assert [len(sender.told) for sender in senders] == [1, 1, 1]
    assert sum(name.startswith("ingest") for name in commits) == 1
    assert len(await indexed(platform)) == 3


async def test_two_senders_of_one_instance_at_once_give_one(platform: Platform, here: ArchiveWriter) -> None:
    data = ct_instance(side=8)
    done = await asyncio.gather(*(here.at_once(received(data), Sender()) for _ in range(4)))
    outcomes = [outcome for one in done if one is not None for outcome in one.outcomes or []]
    assert sum(isinstance(one, Indexed) and one.fresh for one in outcomes) == 1
    assert await indexed(platform) == {uids_of(data)[2]}


async def test_other_worlds_say_that_they_can_not(any_platform: Platform, writer: ArchiveWriter) -> None:
    done = await writer.at_once(received(ct_instance(side=8)), Sender())
    assert (done is None) == (not any_platform.database.is_sqlite)
