"""WHIP and WHEP sessions as HTTP resources (RFC 9725 4.2): who owns them, and the ETag of their ICE session.

A session ends with its owner's token: each authenticated PATCH, an empty one too, prolongs it to the end of the token it came with.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from consilium_live.errors import SessionNotFound, TooManySessions

ResourceKind = Literal["whip", "whep"]


def new_etag() -> str:
    """Return a strong entity tag (RFC 9110 8.8.3)."""
    return f'"{secrets.token_hex(8)}"'


@dataclass(slots=True)
class MediaResource:
    """One publisher or viewer over HTTP."""

    id: str
    kind: ResourceKind
    room_id: str
    tenant: str
    owner: str
    expires_at: float  # seconds since 1970: the end of the newest token that its owner has shown
    ufrag: str = ""
    etag: str = field(default_factory=new_etag)


class Resources:
    """The sessions of this process by id."""

    def __init__(self) -> None:
        self._all: dict[str, MediaResource] = {}

    def add(self, resource: MediaResource) -> None:
        """Remember a session."""
        self._all[resource.id] = resource

    def check_owner(self, tenant: str, owner: str, most: int) -> None:
        """Raise TooManySessions when this person has as many sessions as one person may."""
        if sum((r.tenant, r.owner) == (tenant, owner) for r in self._all.values()) >= most:
            raise TooManySessions(
                f"You have {most} media sessions already. End one of them first.", retry_after_s=10.0, limit=most
            )

    def find(self, kind: ResourceKind, room_id: str, session_id: str, *, owner: str, tenant: str) -> MediaResource:
        """Return the owner's session, or raise SessionNotFound: other people's sessions are not found."""
        resource = self._all.get(session_id)
        if resource is None or (resource.kind, resource.room_id, resource.owner, resource.tenant) != (
            kind,
            room_id,
            owner,
            tenant,
        ):
            raise SessionNotFound("There is no such media session.")
        return resource

    def overdue(self, now: float, revoked: Callable[[str], bool]) -> list[MediaResource]:
        """Return the sessions whose token has ended, and those of owners whom ``revoked`` names."""
        return [r for r in self._all.values() if now >= r.expires_at or revoked(r.owner)]

    def drop(self, session_id: str) -> MediaResource | None:
        """Forget a session."""
        return self._all.pop(session_id, None)

    def count(self, kind: ResourceKind) -> int:
        """Return how many sessions of a kind there are."""
        return sum(resource.kind == kind for resource in self._all.values())

    def of_room(self, room_id: str, kind: ResourceKind | None = None) -> list[MediaResource]:
        """Return a room's sessions."""
        return [r for r in self._all.values() if r.room_id == room_id and kind in (None, r.kind)]
