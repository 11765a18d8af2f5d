"""The database: SQLite (embedded) or PostgreSQL behind one class; one request or message is one transaction.

SQLite runs in WAL mode with ``synchronous=FULL``: a committed transaction is on the disk. It has one writer at a time, so
``write()`` takes a lock and begins immediately; ``read()`` never waits for it. Hot paths use ``transact`` and ``query``: plain functions
of a synchronous session, which cost one hand-over to a thread on SQLite instead of several per statement; their statements may
be compiled once (``hot``).
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from traceback import walk_tb
from typing import Any, TypeVar, cast

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from consilium_core.errors import Unavailable
from consilium_platform.hot import DRIVER
from consilium_platform.workers import Workers

T = TypeVar("T")
_THREADS = 4  # of SQLite; more readers at once only wait for the interpreter's lock


class DatabaseUnavailable(Unavailable):
    """The database does not answer; nothing was changed."""

    code = "database-unavailable"


class _Kept:
    """A thread's session on a connection of its own: making both anew costs as much as ten statements (0.25 ms)."""

    def __init__(self, engine: Engine) -> None:
        self.connection = engine.connect()
        self.session = Session(self.connection, expire_on_commit=False)
        self.driver = cast(sqlite3.Connection, self.connection.connection.driver_connection)
        self.session.info[DRIVER] = self.driver
        self.busy = False

    def close(self) -> None:
        """Roll back and close."""
        self.session.close()
        self.connection.close()


class Database:
    """An engine and its two kinds of transaction; open with ``open_database``."""

    def __init__(self, engine: AsyncEngine, threads: Engine | None = None) -> None:
        self.engine = engine
        self._threads = threads
        self._pool = Workers(_THREADS, "sqlite") if threads is not None else None
        self._kept = threading.local()
        self._opened: list[_Kept] = []
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._writer = asyncio.Lock()  # of the loop's tasks, in their order; who has it takes the turn
        self._turn = threading.Lock()  # SQLite's one writer at a time, also of threads that commit for themselves

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """Yield a session for reading; it is rolled back at the end."""
        with _translated():
            async with AsyncSession(self.engine, expire_on_commit=False) as session:
                if self.is_sqlite:  # else each statement would be a transaction of its own, and a write would stay
                    await session.execute(text("BEGIN"))
                yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """Yield a session whose work is committed, durably, when the block ends without an error."""
        async with AsyncExitStack() as stack:
            if self.is_sqlite:
                await stack.enter_async_context(self._writer)
                await self._take_turn()
                stack.callback(self._turn.release)
            with _translated():
                async with AsyncSession(self.engine, expire_on_commit=False) as session:
                    if self.is_sqlite:
                        await session.execute(text("BEGIN IMMEDIATE"))
                    yield session
                    await session.commit()

    async def transact(self, work: Callable[[Session], T], *, durable: bool = True) -> T:
        """Run ``work`` in one write transaction; return its result once that is committed, durably.

        ``durable=False`` is for what may be lost with the power and is then done again: SQLite does not sync for it.
        """
        if self._threads is None:
            async with self.write() as session:
                return await session.run_sync(work)
        async with self._writer:
            return await self._in_thread(partial(self._take_and_commit, work, durable))

    async def _take_turn(self) -> None:
        """Wait for the turn without keeping the loop waiting; who is cancelled meanwhile gives it back when it comes."""
        if self._turn.acquire(blocking=False):
            return
        taken = asyncio.get_running_loop().run_in_executor(None, self._turn.acquire)
        try:
            await asyncio.shield(taken)
        except asyncio.CancelledError:
            taken.add_done_callback(lambda _: self._turn.release())
            raise

    def _take_and_commit(self, work: Callable[[Session], T], durable: bool) -> T:
        with self._turn:
            return self._commit(work, durable)

    @contextmanager
    def turn_here(self) -> Iterator[Callable[[Callable[[Session], T]], T]]:
        """Wait for the calling thread's turn to write, and yield what commits as ``transact`` does (SQLite only, not in the loop's thread)."""
        with self._turn:
            yield self._commit_here

    def _commit_here(self, work: Callable[[Session], T]) -> T:
        with _translated():
            return self._commit(work, durable=True)

    def _commit(self, work: Callable[[Session], T], durable: bool) -> T:
        with self._session("BEGIN IMMEDIATE", "FULL" if durable else "NORMAL") as session:
            result = work(session)
            session.flush()
            session.info[DRIVER].commit()
            return result

    async def query(self, work: Callable[[Session], T]) -> T:
        """Run ``work`` for reading and return its result; it is rolled back at the end."""
        if self._threads is None:
            async with self.read() as session:
                return await session.run_sync(work)
        return await self._in_thread(partial(self.query_here, work))

    @property
    def answers_here(self) -> bool:
        """Tell whether ``query_here`` can be used: on SQLite a thread asks for itself."""
        return self._threads is not None

    def query_here(self, work: Callable[[Session], T]) -> T:
        """Run ``work`` for reading in the calling thread, which must not be the loop's (SQLite only)."""
        with _translated(), self._session("BEGIN") as session:
            return work(session)

    def glance_here(self, work: Callable[[Session], T]) -> T:
        """Do what ``query_here`` does without a transaction: each statement sees the newest commit, for what is checked again later."""
        with _translated(), self._session("") as session:
            return work(session)

    @contextmanager
    def _session(self, begin: str, synchronous: str = "FULL") -> Iterator[Session]:
        kept: _Kept | None = getattr(self._kept, "one", None)
        if kept is None:
            kept = self._kept.one = self._open()
        elif kept.busy:  # work that asks again from within
            kept = self._open()
        session, driver, kept.busy = kept.session, kept.driver, True
        try:
            if synchronous != "FULL":
                driver.execute(f"PRAGMA synchronous={synchronous}")
            if begin:
                driver.execute(begin)
            yield session
            if driver.in_transaction:
                driver.rollback()
            if synchronous != "FULL":  # the level can't change inside a transaction
                driver.execute("PRAGMA synchronous=FULL")
            session.expunge_all()
        except BaseException:  # nobody knows what state it is in: the next one begins with a connection of its own
            self._kept.one = None
            raise
        finally:
            kept.busy = False
            if kept is not getattr(self._kept, "one", None):
                self._opened.remove(kept)
                kept.close()

    def _open(self) -> _Kept:
        kept = _Kept(cast(Engine, self._threads))
        self._opened.append(kept)
        return kept

    async def _in_thread(self, work: Callable[[], T]) -> T:
        with _translated():
            return await cast(Workers, self._pool).run(work)

    async def close(self) -> None:
        """End the threads and the connections."""
        if self._pool is not None:
            await asyncio.to_thread(self._pool.close)
        for kept in self._opened:
            kept.close()
        if self._threads is not None:
            self._threads.dispose()
        await self.engine.dispose()

    async def ping(self) -> None:
        """Raise DatabaseUnavailable unless a trivial query answers within 2 s."""
        try:
            async with asyncio.timeout(2), self.read() as session:
                await session.execute(text("SELECT 1"))
        except TimeoutError as problem:
            raise DatabaseUnavailable("The database does not answer within 2 s.") from problem


def upsert(session: Session) -> Any:
    """Return the INSERT of the session's dialect that knows ON CONFLICT."""
    return sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert


class _translated:  # noqa: N801 - reads as a statement
    """Turn lost connections into DatabaseUnavailable; leave everything else alone."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        outage = isinstance(error, DBAPIError) and _is_outage(error)
        if outage or (isinstance(error, sqlite3.Error) and _sqlite_outage(error)):
            raise DatabaseUnavailable(
                "The database does not answer. Try again; if it stays, tell the operator."
            ) from error
        if isinstance(error, OSError) and _from_driver(error):
            raise DatabaseUnavailable("The database can't be reached.") from error


def _from_driver(error: BaseException) -> bool:
    """Tell the driver's OSError from one that the caller's own work raised inside the block (a file, a bus, a time limit)."""
    names = (frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__))
    return any(str(name).partition(".")[0] in ("asyncpg", "aiosqlite", "sqlalchemy") for name in names)


def _is_outage(error: DBAPIError) -> bool:
    """Tell an outage from a mistake of ours: SQLite calls a missing column an OperationalError too."""
    if isinstance(error.orig, sqlite3.Error):
        return _sqlite_outage(error.orig)
    return error.connection_invalidated or isinstance(error, InterfaceError | OperationalError)


def _sqlite_outage(error: sqlite3.Error) -> bool:
    words = str(error)
    return any(sign in words for sign in ("locked", "unable to open", "disk I/O", "database or disk is full"))


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun by us, not by the driver
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "busy_timeout=10000",
        "cache_size=-65536",
        "wal_autocheckpoint=4000",  # pages: 16 MiB; hot pages are written back four times less often than by default
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


@asynccontextmanager
async def open_database(url: str, *, pool_size: int = 10) -> AsyncIterator[Database]:
    """Open the engine for ``url``, yield a Database, dispose of the engine at the end.

    Parameters are hidden in errors: they may be a patient's name, and errors are logged.
    """
    threads: Engine | None = None
    if url.startswith("sqlite"):
        engine = create_async_engine(url, pool_size=8, max_overflow=0, hide_parameters=True)
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        if ":memory:" not in url:
            plain = url.replace("sqlite+aiosqlite", "sqlite", 1)
            threads = create_engine(
                plain, poolclass=NullPool, hide_parameters=True, connect_args={"check_same_thread": False}
            )
            event.listen(threads, "connect", _prepare_sqlite)
    else:
        engine = create_async_engine(
            url, pool_size=pool_size, max_overflow=0, pool_pre_ping=True, pool_timeout=10, hide_parameters=True
        )
    database = Database(engine, threads)
    try:
        yield database
    finally:
        await database.close()
