"""What must survive a crash, in ``agent.db`` (SQLite, WAL, synchronous FULL): media epoch, events, commands, streams.

Commands are kept without their arguments: those hold patient data. One connection, one lock; every call is one transaction.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from consilium_core.clock import iso
from consilium_core.site_protocol import AgentEvent, AgentEventType, CommandType, Result
from consilium_site.domain.publication import DesiredStream
from consilium_site.ports import OpenCommand

_KEEP_COMMANDS = 2000
_SCHEMA = """
create table if not exists counter (name text primary key, value integer not null);
create table if not exists event (seq integer primary key autoincrement, type text not null, time text not null, data text not null);
create table if not exists command (
  id text primary key, type text not null, capture_id text not null, room_id text not null,
  state text not null check (state in ('received', 'accepted', 'finished', 'delivered')), result text);
create table if not exists stream (
  room_id text not null, codec text not null, max_height integer not null, max_bitrate_bps integer not null,
  primary key (room_id, codec));
"""


class SqliteMemory:
    """``ports.Memory`` on one file; close it at the end."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        path.chmod(0o600)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = full")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("begin immediate")
            try:
                yield self._db
            except BaseException:
                self._db.execute("rollback")
                raise
            self._db.execute("commit")

    def _rows(self, query: str, *values: object) -> list[Any]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def next_media_epoch(self) -> int:
        """Count one more start."""
        return self._count("media_epoch")

    def next_number(self, series_uid: str) -> int:
        """Count one more instance of a series."""
        return self._count(f"series {series_uid}")

    def _count(self, name: str) -> int:
        with self._change() as db:
            db.execute("insert into counter values (?, 1) on conflict (name) do update set value = value + 1", (name,))
            row = db.execute("select value from counter where name = ?", (name,)).fetchone()
        return int(row[0])

    def add_event(self, kind: AgentEventType, at: datetime, data: dict[str, Any]) -> int:
        """Keep an event under the next number; numbers are never used twice."""
        with self._change() as db:
            cursor = db.execute(
                "insert into event (type, time, data) values (?, ?, ?)", (kind.value, iso(at), json.dumps(data))
            )
        return int(cursor.lastrowid or 0)

    def waiting_events(self, limit: int) -> list[AgentEvent]:
        """Return the oldest events."""
        rows = self._rows("select seq, type, time, data from event order by seq limit ?", limit)
        return [
            AgentEvent(seq=s, type=AgentEventType(t), time=datetime.fromisoformat(at), data=json.loads(d))
            for s, t, at, d in rows
        ]

    def forget_events(self, through_seq: int) -> None:
        """Drop what the server holds."""
        with self._change() as db:
            db.execute("delete from event where seq <= ?", (through_seq,))

    def note_received(self, command: OpenCommand) -> bool:
        """Remember a command; False when it was known."""
        with self._change() as db:
            cursor = db.execute(
                "insert or ignore into command values (?, ?, ?, ?, 'received', null)",
                (command.command_id, command.type.value, command.capture_id, command.room_id),
            )
            db.execute(
                "delete from command where state = 'delivered' and rowid <= (select max(rowid) from command) - ?",
                (_KEEP_COMMANDS,),
            )
        return cursor.rowcount == 1

    def note_accepted(self, command_id: str) -> None:
        """The server holds our acceptance."""
        with self._change() as db:
            db.execute("update command set state = 'accepted' where id = ? and state = 'received'", (command_id,))

    def drop_command(self, command_id: str) -> None:
        """Forget a command that had no effect."""
        with self._change() as db:
            db.execute("delete from command where id = ?", (command_id,))

    def note_result(self, command_id: str, result: Result) -> None:
        """Keep the first result."""
        with self._change() as db:
            db.execute(
                "update command set state = 'finished', result = ? where id = ? and result is null",
                (result.model_dump_json(), command_id),
            )

    def waiting_results(self) -> list[tuple[str, Result]]:
        """Return results to deliver, oldest first."""
        rows = self._rows("select id, result from command where state = 'finished' order by rowid")
        return [(command_id, Result.model_validate_json(result)) for command_id, result in rows]

    def result_delivered(self, command_id: str) -> None:
        """The server holds the result."""
        with self._change() as db:
            db.execute("update command set state = 'delivered' where id = ?", (command_id,))

    def deliver_again(self, command_id: str) -> bool:
        """Let a result be delivered once more: the server has offered its command again."""
        with self._change() as db:
            cursor = db.execute(
                "update command set state = 'finished' where id = ? and state = 'delivered'", (command_id,)
            )
        return cursor.rowcount == 1

    def interrupted(self) -> list[OpenCommand]:
        """Return commands without result: accepted ones, and those whose acceptance may or may not have reached the server."""
        rows = self._rows("select id, type, capture_id, room_id from command where result is null order by rowid")
        return [OpenCommand(i, CommandType(t), c, r) for i, t, c, r in rows]

    def put_stream(self, stream: DesiredStream) -> None:
        """Remember or replace a desired stream."""
        with self._change() as db:
            db.execute(
                "insert or replace into stream values (?, ?, ?, ?)",
                (stream.room_id, stream.codec, stream.max_height, stream.max_bitrate_bps),
            )

    def drop_stream(self, room_id: str, codec: str) -> None:
        """Forget a desired stream."""
        with self._change() as db:
            db.execute("delete from stream where room_id = ? and codec = ?", (room_id, codec))

    def streams(self) -> list[DesiredStream]:
        """Return the desired streams."""
        rows = self._rows("select room_id, codec, max_height, max_bitrate_bps from stream order by rowid")
        return [DesiredStream(*row) for row in rows]
