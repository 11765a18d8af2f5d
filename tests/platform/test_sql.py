"""The database's contract on SQLite and PostgreSQL: transactions, outages, and errors that tell no secrets."""

from __future__ import annotations

import asyncio
import threading

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from consilium_platform.migrate import head_revision, upgrade
from consilium_platform.platform import Platform
from consilium_platform.sql import Database, DatabaseUnavailable, open_database

ADD = text("INSERT INTO thing (name, size) VALUES (:name, :size)")


@pytest.fixture
async def database(any_platform: Platform) -> Database:
    """Return the world's database with a small table."""
    async with any_platform.database.write() as session:
        await session.execute(text("CREATE TABLE thing (name VARCHAR(40) PRIMARY KEY, size INTEGER NOT NULL)"))
    return any_platform.database


async def names(database: Database) -> list[str]:
    """Return the names in the table."""
    async with database.read() as session:
        return list((await session.scalars(text("SELECT name FROM thing ORDER BY name"))).all())


async def test_what_a_write_block_did_is_there_for_all_afterwards_and_not_before(database: Database) -> None:
    async with database.write() as session:
        await session.execute(ADD, {"name": "a", "size": 1})
        assert await names(database) == [], "a reader does not wait and does not see it yet"
    assert await names(database) == ["a"]


async def test_a_write_block_that_fails_did_nothing(database: Database) -> None:
    async def fail() -> None:
        async with database.write() as session:
            await session.execute(ADD, {"name": "a", "size": 1})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert await names(database) == []
    async with database.write() as session:
        await session.execute(ADD, {"name": "b", "size": 1})
    assert await names(database) == ["b"], "the writer is free again"


async def test_a_cancelled_write_did_nothing_and_frees_the_writer(database: Database) -> None:
    inside = asyncio.Event()

    async def work() -> None:
        async with database.write() as session:
            await session.execute(ADD, {"name": "a", "size": 1})
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(20), database.write() as session:
        await session.execute(ADD, {"name": "b", "size": 1})
    assert await names(database) == ["b"]


async def test_a_read_block_changes_nothing(database: Database) -> None:
    async with database.read() as session:
        await session.execute(ADD, {"name": "a", "size": 1})
    assert await names(database) == []


async def test_plain_functions_read_and_write_like_the_blocks(database: Database) -> None:
    def add(session: Session) -> int:
        session.execute(ADD, {"name": "a", "size": 7})
        return 7

    def fail(session: Session) -> None:
        session.execute(ADD, {"name": "b", "size": 1})
        raise RuntimeError

    assert await database.transact(add) == 7
    with pytest.raises(RuntimeError):
        await database.transact(fail)
    assert await database.query(lambda session: session.scalar(text("SELECT sum(size) FROM thing"))) == 7


async def test_a_threads_kept_session_survives_failures_and_reads_leave_nothing(platform: Platform) -> None:
    database = platform.database
    async with database.write() as session:
        await session.execute(text("CREATE TABLE thing (name VARCHAR(40) PRIMARY KEY, size INTEGER NOT NULL)"))

    def add(session: Session) -> None:
        session.execute(ADD, {"name": f"n{turn}", "size": turn})
        if turn % 3 == 2:
            session.execute(ADD, {"name": f"n{turn}", "size": turn})  # a second time: the whole transaction fails

    for turn in range(12):
        if turn % 3 == 2:
            with pytest.raises(IntegrityError):
                await database.transact(add)
        else:
            await database.transact(add)
        await database.query(lambda session: session.execute(ADD, {"name": "read", "size": 0}))
    assert len(await names(database)) == 8


async def test_increments_at_once_are_none_lost(database: Database) -> None:
    async with database.write() as session:
        await session.execute(ADD, {"name": "n", "size": 0})

    async def add_in_a_block() -> None:
        async with database.write() as session:
            await session.execute(text("UPDATE thing SET size = size + 1"))

    def add(session: Session) -> None:
        session.execute(text("UPDATE thing SET size = size + 1"))

    await asyncio.gather(*(add_in_a_block() for _ in range(10)), *(database.transact(add) for _ in range(10)))
    assert await database.query(lambda session: session.scalar(text("SELECT size FROM thing"))) == 20


async def test_two_processes_write_into_one_database(database: Database, any_platform: Platform) -> None:
    async with open_database(any_platform.settings.sql_url) as other:

        async def write(to: Database, name: str) -> None:
            async with to.write() as session:
                await session.execute(ADD, {"name": name, "size": 1})

        await asyncio.gather(*(write((database, other)[n % 2], f"n{n:02}") for n in range(12)))
        assert await names(other) == [f"n{n:02}" for n in range(12)]


async def test_a_broken_rule_and_a_mistake_of_ours_are_no_outage_and_show_no_values(database: Database) -> None:
    values = {"name": "canary-patient", "size": 1}
    async with database.write() as session:
        await session.execute(ADD, values)
    with pytest.raises(IntegrityError) as double:
        async with database.write() as session:
            await session.execute(ADD, values)
    with pytest.raises(DBAPIError) as mistake:
        async with database.read() as session:
            await session.execute(text("SELECT nothing FROM thing WHERE name = :name"), {"name": "canary-patient"})
    assert not isinstance(mistake.value, DatabaseUnavailable)
    assert "canary-patient" not in str(mistake.value)
    assert "parameters hidden" in str(double.value)


async def test_a_database_that_is_away_is_unavailable() -> None:
    async with open_database("postgresql+asyncpg://nobody@127.0.0.1:9/x") as away:
        with pytest.raises(DatabaseUnavailable):
            await away.ping()
        with pytest.raises(DatabaseUnavailable):
            await away.transact(lambda session: session.execute(text("SELECT 1")))


@pytest.mark.parametrize("error", [FileNotFoundError("mine"), TimeoutError("mine"), ConnectionResetError("mine")])
async def test_what_the_callers_own_work_raises_is_no_outage_of_the_database(
    database: Database, error: OSError
) -> None:
    async def fail() -> None:
        async with database.write() as session:
            await session.execute(ADD, {"name": "a", "size": 1})
            raise error

    with pytest.raises(type(error), match="mine"):
        await fail()
    assert await names(database) == []


async def test_migrating_again_does_nothing_and_ends_at_the_newest_revision(any_platform: Platform) -> None:
    await upgrade(any_platform.settings.sql_url)
    async with any_platform.database.read() as session:
        assert await session.scalar(text("SELECT version_num FROM alembic_version")) == head_revision()


async def test_a_thread_that_commits_for_itself_takes_turns_with_the_loop(platform: Platform) -> None:
    database = platform.database
    async with database.write() as session:
        await session.execute(text("CREATE TABLE thing (name VARCHAR(40) PRIMARY KEY, size INTEGER NOT NULL)"))
        await session.execute(ADD, {"name": "n", "size": 0})

    def add(session: Session) -> None:
        session.execute(text("UPDATE thing SET size = size + 1"))

    def add_here() -> None:
        with database.turn_here() as commit:
            commit(add)

    async def add_in_a_block() -> None:
        async with database.write() as session:
            await session.execute(text("UPDATE thing SET size = size + 1"))

    await asyncio.gather(
        *(asyncio.to_thread(add_here) for _ in range(10)),
        *(add_in_a_block() for _ in range(10)),
        *(database.transact(add) for _ in range(10)),
    )
    assert await database.query(lambda session: session.scalar(text("SELECT size FROM thing"))) == 30


async def test_who_is_cancelled_while_he_waits_for_the_turn_does_not_keep_it(platform: Platform) -> None:
    database, taken, let_go = platform.database, threading.Event(), threading.Event()

    def hold() -> None:
        with database.turn_here():
            taken.set()
            let_go.wait(20)

    holder = asyncio.create_task(asyncio.to_thread(hold))
    await asyncio.to_thread(taken.wait, 20)

    async def write() -> None:
        async with database.write() as session:
            await session.execute(text("SELECT 1"))

    waiting = asyncio.create_task(write())
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    let_go.set()
    await holder
    async with asyncio.timeout(20):
        await write()
        await database.transact(lambda session: session.execute(text("SELECT 1")))
