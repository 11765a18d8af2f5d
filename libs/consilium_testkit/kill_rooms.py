"""The archive's rooms, forked from a parent that has everything imported: killed with SIGKILL and up again within a second.

``python -m consilium_testkit.kill_rooms FOLDER PORT JOURNAL``: each line on standard input forks one server of ``FOLDER`` and the
environment; it prints ``PID URL`` when it answers. A server leads a process group of its own, so a kill takes its workers too. It
holds a subscriber that writes the SOP Instance UID and number of each stored instance it hears of into ``JOURNAL``: a subscriber
that must not miss anything, for it begins with what the outbox has behind the last number that it wrote down.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import uvloop
from sqlalchemy import select

from consilium_core.events import EventType
from consilium_platform.outbox import outbox
from consilium_platform.platform import Platform, open_platform
from consilium_platform.process import settle_garbage
from consilium_platform.settings import PlatformSettings
from consilium_testkit.archive_rooms import archive_door, door_server


def heard(journal: Path) -> list[tuple[int, str]]:
    """Return (seq, SOP Instance UID) as the subscriber wrote them down; a line that the kill cut off was not heard."""
    found = []
    for line in journal.read_text().split("\n") if journal.exists() else ():
        seq, _, sop = line.partition(" ")
        if sop.endswith("."):
            found.append((int(seq), sop[:-1]))
    return found


async def _subscriber(platform: Platform, journal: Path, ready: asyncio.Event) -> None:
    stored = EventType.INSTANCE_STORED
    known = {seq for seq, _ in heard(journal)}
    with journal.open("ab", buffering=0) as file:
        file.write(b"\n")  # the kill may have cut the last line off
        async with platform.bus.subscribe() as events:
            missed = select(outbox.c.seq, outbox.c.subject).where(outbox.c.type == stored.value).order_by(outbox.c.seq)
            async with platform.database.read() as session:
                for seq, subject in await session.execute(missed):
                    if seq not in known:
                        file.write(f"{seq} {subject}.\n".encode())
            ready.set()
            while True:
                event = await events.next()
                if event is not None and event.type is stored:
                    file.write(f"{event.seq} {event.subject}.\n".encode())


async def serve(folder: Path, port: int, journal: Path) -> None:
    """Serve until killed; say where, when everything is open."""
    settings = PlatformSettings.load(data_dir=folder)
    async with (
        open_platform(settings, migrate=False) as platform,
        asyncio.TaskGroup() as group,
        archive_door(platform) as door,
    ):
        ready = asyncio.Event()
        group.create_task(_subscriber(platform, journal, ready), name="subscriber")
        await ready.wait()
        async with door_server(door, port) as url:
            settle_garbage()
            print(os.getpid(), url, flush=True)
            await asyncio.Event().wait()


def main() -> None:
    """Fork one server for each line that comes."""
    folder, port, journal = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the dead: their kernel entries go at once
    while os.read(0, 1):
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            os.close(0)
            os.open(os.devnull, os.O_RDONLY)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(serve(folder, port, journal))


if __name__ == "__main__":
    main()
