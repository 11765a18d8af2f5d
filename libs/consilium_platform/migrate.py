"""Migrations by alembic: one linear history for the one database (``migrations/versions``), run by ``consilium migrate`` or at embedded start.

Alembic runs in a thread of its own with a synchronous connection taken from the async engine, because its environment is synchronous.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine


def alembic_config() -> Config:
    """Return the configuration that points at the versions beside this file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return config


def head_revision() -> str:
    """Return the newest revision's id."""
    return ScriptDirectory.from_config(alembic_config()).get_current_head() or ""


async def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database at ``url`` to ``revision``; does nothing when it is there."""

    def work(connection: Connection) -> None:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    engine = create_async_engine(url)
    try:
        async with asyncio.timeout(600), engine.begin() as connection:
            await connection.run_sync(work)
    finally:
        await engine.dispose()


_LOCK_NOT_AVAILABLE = "55P03"


def patiently(connection: Connection, work: Callable[[], None], *, wait_ms: int = 2000, tries: int = 60) -> None:
    """Do ``work`` on a table that is in use: who waits for its lock lets others pass every ``wait_ms``, and tries again after a second.

    PostgreSQL alone: a change of a table that waits behind a long reader makes everybody else wait behind itself, every store too.
    """
    if connection.dialect.name != "postgresql":
        work()
        return
    for left in reversed(range(tries)):
        try:
            with connection.begin_nested():
                connection.execute(text(f"SET LOCAL lock_timeout = {wait_ms}"))
                work()
                connection.execute(text("SET LOCAL lock_timeout TO DEFAULT"))
        except DBAPIError as problem:
            if getattr(problem.orig, "sqlstate", "") != _LOCK_NOT_AVAILABLE or not left:
                raise
            connection.execute(text("SELECT pg_sleep(1)"))  # not the loop's thread
        else:
            return
