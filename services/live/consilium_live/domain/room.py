"""A room's life: planned -> lobby -> live <-> paused -> ended, as one table; an illegal step raises Conflict.

``wanted`` says whether the host wants the stream; it is apart from the state because the site may obey later or be gone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from consilium_core.errors import Conflict
from consilium_core.site_protocol import CaptureContext, PatientContext
from consilium_live.errors import RoomEnded


class RoomState(StrEnum):
    """Where a room stands."""

    PLANNED = "planned"  # nobody has come yet
    LOBBY = "lobby"  # somebody waits, or the stream was asked for
    LIVE = "live"  # the site's picture has been seen
    PAUSED = "paused"  # the host stopped the stream
    ENDED = "ended"


TRANSITIONS: dict[RoomState, frozenset[RoomState]] = {
    RoomState.PLANNED: frozenset({RoomState.LOBBY, RoomState.LIVE, RoomState.ENDED}),
    RoomState.LOBBY: frozenset({RoomState.LIVE, RoomState.PAUSED, RoomState.ENDED}),
    RoomState.LIVE: frozenset({RoomState.PAUSED, RoomState.ENDED}),
    RoomState.PAUSED: frozenset({RoomState.LIVE, RoomState.ENDED}),
    RoomState.ENDED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Room:
    """One room as the database knows it; what flows and who is in it is the process's own knowledge."""

    id: str
    tenant: str
    title: str
    site_id: str
    site_name: str
    modality: str
    study_uid: str
    accession_number: str
    patient: PatientContext
    state: RoomState
    wanted: bool
    created_at: datetime
    created_by: str
    study_description: str = ""
    referring_physician: str = ""
    consultation_id: str | None = None
    waiting_since: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None

    def _to(self, state: RoomState) -> Room:
        if state not in TRANSITIONS[self.state]:
            raise Conflict(f"A room that is {self.state.value} can't become {state.value}.", state=self.state.value)
        return replace(self, state=state)

    def entered(self, at: datetime) -> Room:
        """Somebody came in: a planned room becomes a lobby."""
        if self.state is not RoomState.PLANNED:
            return self
        return replace(self._to(RoomState.LOBBY), waiting_since=at)

    def started(self, at: datetime) -> Room:
        """The host wants the stream; the state follows when packets come."""
        self.require_open()
        return replace(self.entered(at), wanted=True)

    def stopped(self) -> Room:
        """The host wants no stream: live and lobby pause, others stay."""
        self.require_open()
        quiet = replace(self, wanted=False)
        return quiet._to(RoomState.PAUSED) if self.state in (RoomState.LIVE, RoomState.LOBBY) else quiet

    def seen_live(self, at: datetime) -> Room:
        """Packets of the site arrive; a stream that nobody wants any more does not reopen a paused room."""
        if self.state in (RoomState.LIVE, RoomState.ENDED) or (self.state is RoomState.PAUSED and not self.wanted):
            return self
        return replace(self._to(RoomState.LIVE), started_at=self.started_at or at, waiting_since=None)

    def ended(self, at: datetime) -> Room:
        """Close for good; ending twice is the same."""
        if self.state is RoomState.ENDED:
            return self
        return replace(self._to(RoomState.ENDED), ended_at=at, wanted=False, waiting_since=None)

    def require_open(self) -> None:
        """Raise RoomEnded when it is over."""
        if self.state is RoomState.ENDED:
            raise RoomEnded("This room has ended.", room_id=self.id)

    def capture_context(self, operator_name: str) -> CaptureContext:
        """Return what a captured object must say of itself."""
        return CaptureContext(
            patient=self.patient, study_uid=self.study_uid, accession_number=self.accession_number,
            modality=self.modality, study_description=self.study_description,
            referring_physician=self.referring_physician, operator_name=operator_name,
        )  # fmt: skip
