"""A change of a table that is in use lets others pass."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from consilium_platform.migrate import patiently
from consilium_platform.platform import Platform


async def test_a_change_behind_a_long_reader_gives_up_its_place_in_the_queue_and_comes_again(
    any_platform: Platform,
) -> None:
    if any_platform.database.is_sqlite:
        pytest.skip("PostgreSQL's locks")
    engine = any_platform.database.engine
    async with engine.begin() as setting:
        await setting.execute(text("CREATE TABLE busy (id integer)"))
    tried = 0

    def change(connection: Connection) -> None:
        def work() -> None:
            nonlocal tried
            tried += 1
            connection.execute(text("ALTER TABLE busy ADD COLUMN sender text"))

        patiently(connection, work, wait_ms=20, tries=50)

    async def changing() -> None:
        async with engine.begin() as connection:
            await connection.run_sync(change)

    async with engine.connect() as reader:
        await reader.execute(text("SELECT * FROM busy"))
        async with asyncio.TaskGroup() as group:
            group.create_task(changing())
            async with asyncio.timeout(60):
                while tried < 2:
                    await asyncio.sleep(0.01)
            async with engine.connect() as another:
                await another.execute(text("SELECT * FROM busy"))
                await another.rollback()
            await reader.rollback()
    async with engine.connect() as connection:
        await connection.execute(text("SELECT sender FROM busy"))
        assert (await connection.execute(text("SHOW lock_timeout"))).scalar_one() == "0"


async def test_what_fails_otherwise_is_not_tried_again(any_platform: Platform) -> None:
    tried = 0

    def change(connection: Connection) -> None:
        def work() -> None:
            nonlocal tried
            tried += 1
            connection.execute(text("SELECT * FROM no_such_table"))

        patiently(connection, work)

    async with any_platform.database.engine.connect() as connection:
        with pytest.raises(DBAPIError):
            await connection.run_sync(change)
    assert tried == 1
