"""Write the JSON Schemas of the site protocol and of the events: ``python -m consilium.contracts contracts``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from consilium_core import site_protocol as site
from consilium_core.events import Event

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SITE_MESSAGES: dict[str, type[BaseModel]] = {
    "enroll-request": site.EnrollRequest,
    "enroll-reply": site.EnrollReply,
    "token-request": site.TokenRequest,
    "token-reply": site.TokenReply,
    "session-request": site.SessionRequest,
    "session-reply": site.SessionReply,
    "poll-reply": site.PollReply,
    "command": site.Command,
    "ack": site.Ack,
    "result": site.Result,
    "lease-renewal": site.LeaseRenewal,
    "lease-reply": site.LeaseReply,
    "agent-events": site.AgentEvents,
    "events-reply": site.EventsReply,
    "upload-status": site.UploadStatus,
}
MESSAGES: dict[str, dict[str, type[BaseModel]]] = {"site": SITE_MESSAGES, "events": {"event": Event}}


def schemas() -> dict[str, dict[str, Any]]:
    """Return the schemas by path below ``contracts``."""
    return {
        f"{folder}/{name}.schema.json": {"$schema": DIALECT, **model.model_json_schema(mode="validation")}
        for folder, models in MESSAGES.items()
        for name, model in models.items()
    }


def as_text(schema: dict[str, Any]) -> str:
    """Return the file's content."""
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def main(folder: Path) -> None:
    """Write every schema below ``folder``."""
    for name, schema in schemas().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(as_text(schema), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
