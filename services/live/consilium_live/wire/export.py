"""Write the JSON Schemas of `consilium.room.v1`: ``python -m consilium_live.wire.export contracts/signalling``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from consilium_live.wire.client import CLIENT_MESSAGE
from consilium_live.wire.server import SERVER_MESSAGE

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, dict[str, Any]]:
    """Return the schemas by file name: what clients send, and what the server sends."""
    return {
        "client-message.schema.json": _schema(CLIENT_MESSAGE),
        "server-message.schema.json": _schema(SERVER_MESSAGE),
    }


def _schema(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    """Absent values are left out on the wire, so only the discriminator is added to what must be there."""
    schema = adapter.json_schema(mode="validation")
    for definition in schema["$defs"].values():
        if "const" in definition.get("properties", {}).get("type", {}):
            definition["required"] = sorted({"type", *definition.get("required", [])})
    return {"$schema": DIALECT, **schema}


def as_text(schema: dict[str, Any]) -> str:
    """Return the file's content."""
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def main(folder: Path) -> None:
    """Write every schema into ``folder``."""
    for name, schema in schemas().items():
        (folder / name).write_text(as_text(schema), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
