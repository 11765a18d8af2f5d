"""What the rooms' flows need of the world; adapters fulfil these, tests have their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from consilium_core.site_protocol import CommandArgs, CommandState
from consilium_live.domain.capture import Capture
from consilium_live.domain.room import Room

RoomFacts = Callable[[Room], dict[str, Any]]  # the data of room.changed


class RoomStore(Protocol):
    """Rooms and captures; each change and its event are one transaction (docs/architecture.md section 4)."""

    async def create(self, room: Room, facts: RoomFacts) -> Room:
        """Insert; when the id or the tenant's consultation has its room already, return that one unchanged."""
        ...

    async def room(self, room_id: str, tenant: str | None = None) -> Room:
        """Return a room (of that tenant), or raise RoomNotFound."""
        ...

    async def rooms(self, tenant: str, *, before: str | None, limit: int) -> list[Room]:
        """Return the tenant's rooms below the cursor ``before`` (a room id): ended ones last, each newest first."""
        ...

    async def change(self, room_id: str, change: Callable[[Room], Room], facts: RoomFacts) -> Room:
        """Apply ``change`` to the newest row; write and announce only what differs."""
        ...

    async def announce(self, room_id: str, facts: RoomFacts) -> None:
        """Announce room.changed without a change of the row (people came or went, packets flow or stall)."""
        ...

    async def add_capture(self, capture: Capture) -> None:
        """Insert a capture and announce it."""
        ...

    async def change_capture(self, capture_id: str, change: Callable[[Capture], Capture]) -> Capture | None:
        """Apply ``change``; announce when the state differs; None when there is no such capture."""
        ...

    async def captures(self, room_id: str) -> list[Capture]:
        """Return a room's captures, oldest first."""
        ...

    async def capture(self, capture_id: str) -> Capture | None:
        """Return a capture, or None."""
        ...

    async def ordered_captures(self) -> list[Capture]:
        """Return captures whose command has not ended, oldest first, at most 1000."""
        ...

    async def overdue_captures(self, before: datetime) -> list[Capture]:
        """Return captures that the site made but that have not arrived, asked for before ``before``, at most 500."""
        ...

    async def oldest_request(self) -> datetime | None:
        """Return when the oldest capture was asked for that is neither stored nor failed."""
        ...

    async def awaited_instance(self, tenant: str, sop_instance_uid: str) -> str:
        """Return the id of the capture that waits for this instance, or an empty string."""
        ...

    async def endings_since(self, after_seq: int, since: datetime) -> list[Stored | GivenUp]:
        """Return how captures ended from the outbox, ``seq`` above ``after_seq``, at most 500."""
        ...

    async def room_of_consultation(self, tenant: str, consultation_id: str) -> Room | None:
        """Return the consultation's room unless it has ended."""
        ...

    async def consultations_over(self, after_seq: int) -> list[Over]:
        """Return consultations that are over from the outbox, ``seq`` above ``after_seq``, at most 500."""
        ...

    async def newest_event(self) -> int:
        """Return the newest number in the outbox."""
        ...


@dataclass(frozen=True, slots=True)
class Stored:
    """The archive announced an instance that was captured; ``capture_id`` is empty when the announcement has none.

    ``site_id`` is of the agent whose token uploaded it, ``capture_id`` is only what that agent said.
    """

    seq: int
    tenant: str
    capture_id: str
    study_uid: str
    sop_instance_uid: str
    site_id: str


@dataclass(frozen=True, slots=True)
class Over:
    """A consultation was completed, cancelled or rejected."""

    seq: int
    tenant: str
    consultation_id: str


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A site announced that a capture will not come; ``code`` says why."""

    seq: int
    tenant: str
    capture_id: str
    site_id: str
    code: str


@dataclass(frozen=True, slots=True)
class CommandStatus:
    """How a command to a site stands; ``data`` is the agent's result."""

    id: str
    state: CommandState
    reason: str
    data: dict[str, Any]


class SiteCommands(Protocol):
    """Orders to a hospital's agent by way of the gateway."""

    async def send(self, tenant: str, site_id: str, args: CommandArgs, *, deadline_s: float, actor: str) -> str:
        """Queue a command; return its id."""
        ...

    async def site_name(self, tenant: str, site_id: str) -> str:
        """Return what the site is called; raise NotFound when there is none."""
        ...

    async def status(self, tenant: str, command_id: str) -> CommandStatus:
        """Return how it stands."""
        ...
