"""Where the last ``consilium up`` of this user keeps its data, so that ``consilium token`` finds it from any folder."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import structlog

from consilium_core.errors import NotFound

log = structlog.get_logger()


def _pointer() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "consilium" / "last-up.json"


def remember(data: Path, url: str) -> None:
    """Write the pointer; it holds no secret. A home that can't be written costs only the convenience: --data must then be given."""
    try:
        path = _pointer()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"data": str(data.resolve()), "url": url}))
    except (OSError, RuntimeError) as problem:  # RuntimeError: this user has no home
        log.info("last_up_not_remembered", error=str(problem))


def _in_use(folder: Path) -> bool:
    """Tell whether the folder holds a database that was brought to a revision."""
    file = folder / "consilium.db"
    if not file.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as database:
            return bool(database.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchall())
    except sqlite3.Error as problem:
        log.info("database_unreadable", folder=str(folder), error=type(problem).__name__)
        return False


def data_folder(given: Path | None) -> Path:
    """Return the data folder: the given one, the last one used, or ``./data``. Raise NotFound unless consilium has run there."""
    if given is not None:
        if not _in_use(given):
            raise NotFound(f"There is no consilium data in {given}: give the folder of `consilium up --data DIR`.")
        return given
    try:
        last = Path(json.loads(_pointer().read_text())["data"])
        if _in_use(last):
            return last
    except (OSError, RuntimeError, ValueError, KeyError):
        pass
    if _in_use(Path("data")):
        return Path("data")
    raise NotFound("No data folder was found: start `make run` once, or give --data DIR.")
