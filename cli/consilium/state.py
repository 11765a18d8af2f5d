"""Where the last ``consilium up`` of this user keeps its data, so that ``consilium token`` finds it from any folder."""

from __future__ import annotations

import json
import os
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


def data_folder(given: Path | None) -> Path:
    """Return the data folder: the given one, the last one used, or ``./data``."""
    if given is not None:
        return given
    try:
        last = Path(json.loads(_pointer().read_text())["data"])
        if (last / "consilium.db").exists():
            return last
    except (OSError, RuntimeError, ValueError, KeyError):
        pass
    if Path("data/consilium.db").exists():
        return Path("data")
    raise NotFound("No data folder was found: start `make run` once, or give --data DIR.")
