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
        self.told: list[Outcome] = []
        self.threads: set[str] = set()

    def __call__(self, stored: Stored) -> Also:
        def write(session: Session, outcomes: Sequence[Outcome]) -> None:
            session.execute(text("SELECT 1"))
            self.told += outcomes
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


async def test_an_object_and_what_its_sender_writes_are_one_transaction(
    platform: Platform, here: ArchiveWriter
) -> None:
    file, sender = ct_instance(side=8), Sender()
    done = await here.at_once(Received("demo", file), sender)
    assert isinstance(done.outcome, Indexed)
    assert done.outcome.fresh
    assert done.outcome.sop_instance_uid == uids_of(file)[2]
    assert sender.told == [done.outcome]
    assert all(name.startswith("ingest") for name in sender.threads)
    assert await indexed(platform) == {uids_of(file)[2]}


async def test_what_is_here_already_goes_on_by_the_loop(platform: Platform, here: ArchiveWriter) -> None:
    file, sender = ct_instance(side=8), Sender()
    await here.store(Received("demo", file))
    done = await here.at_once(Received("demo", file), sender)
    assert done.outcome is None
    assert isinstance(done.held, Known)
    again = await here.resume(Received("demo", file), done.held)
    assert isinstance(again, Indexed)
    assert not again.fresh
    assert sender.told == []


async def test_what_is_refused_is_refused_by_the_loop(platform: Platform, here: ArchiveWriter) -> None:
    received = Received("demo", ct_instance(side=8)[:-100])
    done = await here.at_once(received, Sender())
    assert done.outcome is None
    with pytest.raises(InstanceRejected):
        await here.resume(received, done.held)
    assert await indexed(platform) == set()


async def test_a_commit_that_fails_is_the_loops_to_try_again(platform: Platform, here: ArchiveWriter) -> None:
    def failing(stored: Stored) -> Also:
        def write(session: Session, outcomes: Sequence[Outcome]) -> None:
            raise RuntimeError("not now")

        return write

    received = Received("demo", ct_instance(side=8))
    done = await here.at_once(received, failing)
    assert done.outcome is None
    assert await indexed(platform) == set()
    stored = await here.resume(received, done.held)
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
        tasks = [asyncio.create_task(here.at_once(Received("demo", ct_instance(side=8)), one)) for one in senders]
        while len(here.commits._crowd) < 3:
            await asyncio.sleep(0.005)
        assert commits == []
    done = await asyncio.gather(*tasks)
    assert all(isinstance(one.outcome, Indexed) for one in done)
    assert [sender.told for sender in senders] == [[one.outcome] for one in done]
    assert sum(name.startswith("ingest") for name in commits) == 1
    assert len(await indexed(platform)) == 3


async def test_four_senders_of_one_instance_at_once_give_one(platform: Platform, here: ArchiveWriter) -> None:
    data = ct_instance(side=8)
    done = await asyncio.gather(*(here.at_once(Received("demo", data), Sender()) for _ in range(4)))
    assert sum(isinstance(one.outcome, Indexed) and one.outcome.fresh for one in done) == 1
    assert await indexed(platform) == {uids_of(data)[2]}


async def test_other_worlds_leave_it_to_the_loop(any_platform: Platform, writer: ArchiveWriter) -> None:
    received = Received("demo", ct_instance(side=8))
    done = await writer.at_once(received, Sender())
    assert (done.held is None) == (not any_platform.database.is_sqlite)
    if done.held is None:
        assert isinstance(await writer.resume(received, None), Stored)
