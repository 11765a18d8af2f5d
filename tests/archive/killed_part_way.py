"""A process that kills itself (SIGKILL) at a named point of storing or copying; run by ``test_storage_kill``.

``python killed_part_way.py FOLDER POINT`` prints what it did before, one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from consilium_archive.copies import ORIGINALS, Copier
from consilium_archive.stages import Received
from consilium_archive.writer import open_writer
from consilium_core.clock import SystemClock
from consilium_platform.platform import open_platform
from consilium_platform.settings import PlatformSettings
from consilium_testkit.instances import ct_instance


def die(*_given: Any, **_named: Any) -> Any:
    """End as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


async def main(folder: Path, point: str) -> None:
    """Go as far as ``point``."""
    async with (
        open_platform(PlatformSettings.load(data_dir=folder, copy_store="folder"), migrate=False) as platform,
        open_writer(platform.database, platform.blobs, platform.outbox) as writer,
    ):
        kept = await writer.store(Received("demo", ct_instance(side=8)))
        print(json.dumps({"sha256": kept.sha256}), flush=True)
        if point == "stored":
            await writer.hold(Received("demo", ct_instance(side=8)))
            die()
        assert platform.stores.copy is not None
        dying, places = replace(ORIGINALS, done=die), platform.stores
        copier = Copier(platform.database, places.first, platform.stores.copy, folder, SystemClock(), queue=dying)
        await copier.feed()
        await copier.work()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
