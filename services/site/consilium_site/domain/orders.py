"""Whether a command may run, said before anything is done: schema, deadline, local policy, origin (SP-04, SP-24, SP-29). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from consilium_core.site_protocol import SCHEMA_VERSION, Command, CommandType


class Policy(BaseModel):
    """The hospital's own list of what the cloud may order (``policy.toml``); everything in the catalogue by default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    allow: frozenset[CommandType] = frozenset(CommandType)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a command is not obeyed; ``reason`` is one of the words of SP-24."""

    command_id: str
    reason: str


def read_command(raw: dict[str, Any]) -> Command | Refusal:
    """Parse one command of a poll reply alone, so that one unknown type does not block the others (SP-04)."""
    command_id = str(raw.get("id", ""))
    kind = (raw.get("args") or {}).get("type") if isinstance(raw.get("args"), dict) else None
    version = raw.get("schema_version", SCHEMA_VERSION)
    if not isinstance(version, int) or version > SCHEMA_VERSION or kind not in set(CommandType):
        return Refusal(command_id, "unsupported")
    try:
        return Command.model_validate(raw)
    except ValidationError:
        return Refusal(command_id, "invalid")


def verdict(command: Command, policy: Policy, now: datetime) -> Refusal | None:
    """Return why ``command`` must be refused, or None."""
    if command.type not in policy.allow:
        return Refusal(command.id, "policy")
    if command.deadline <= now:
        return Refusal(command.id, "expired")
    return None
