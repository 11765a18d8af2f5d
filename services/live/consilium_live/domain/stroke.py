"""What is drawn over a picture (RS-20, RS-22): bounded, fading, each stroke its drawer's own. Times are wall clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from consilium_core.errors import Conflict, Exhausted, Invalid
from consilium_core.frame_ref import FrameRef
from consilium_live.domain.participant import Participant

Tool = Literal["pen", "arrow", "ellipse", "text"]
Point = tuple[float, float]
LIFE = timedelta(seconds=8)
MAX_POINTS = 2000
MAX_STROKES = 300  # per room: a board nobody clears must not grow for ever, and every welcome carries it whole (a gateway passes on 1 MiB)
MAX_STROKES_OF_ONE = 100  # per person, so that nobody takes the board from the others
MAX_POINTS_ON_BOARD = 20_000
MAX_POINTS_OF_ONE = 10_000


@dataclass(frozen=True, slots=True)
class StrokeDraft:
    """What a person sends: ``points`` are pixels of a picture of the size ``picture`` (None: not known)."""

    id: str
    tool: Tool
    track_id: str
    points: tuple[Point, ...]
    frame: FrameRef
    pinned: bool = False
    text: str = ""
    picture: tuple[int, int] | None = None


@dataclass(slots=True)
class Stroke:
    """A stroke on the board."""

    draft: StrokeDraft
    participant_id: str
    user_id: str
    color: str
    at: datetime
    expires_at: datetime | None
    points: list[Point] = field(default_factory=list)


class Board:
    """The strokes of one room, oldest first."""

    def __init__(self, life: timedelta = LIFE) -> None:
        self._life = life
        self._strokes: dict[str, Stroke] = {}

    def add(
        self, draft: StrokeDraft, person: Participant, at: datetime, shown: tuple[int, int] | None = None
    ) -> Stroke:
        """Put a new stroke on the board or extend one's own; raises Conflict, Invalid, Exhausted.

        ``shown`` is the size of the track's picture, taken where a new draft names none.
        """
        self.expire(at)
        ends = None if draft.pinned else at + self._life
        known = self._strokes.get(draft.id)
        if known is not None:
            if known.participant_id != person.id:
                raise Conflict("This stroke is another person's.")
            if draft.picture not in (None, known.draft.picture):
                raise Conflict("This stroke was begun on a picture of another size. Draw a new one.")
            if len(known.points) + len(draft.points) > MAX_POINTS:
                raise Invalid(f"A stroke has at most {MAX_POINTS} points.")
            self._check_space(person, len(draft.points), fresh=False)
            known.points.extend(draft.points)
            known.draft, known.expires_at = replace(draft, picture=known.draft.picture), ends
            return known
        self._check_space(person, len(draft.points), fresh=True)
        draft = replace(draft, picture=draft.picture or shown)
        stroke = Stroke(draft, person.id, person.user_id, person.color, at, ends, list(draft.points))
        self._strokes[draft.id] = stroke
        return stroke

    def _check_space(self, person: Participant, points: int, *, fresh: bool) -> None:
        own = [s for s in self._strokes.values() if s.user_id == person.user_id]
        if sum(len(s.points) for s in own) + points > MAX_POINTS_OF_ONE or (fresh and len(own) >= MAX_STROKES_OF_ONE):
            raise Exhausted("You have drawn as much as the board takes of one person. Clear your strokes first.")
        if sum(len(s.points) for s in self._strokes.values()) + points > MAX_POINTS_ON_BOARD or (
            fresh and len(self._strokes) >= MAX_STROKES
        ):
            raise Exhausted("The board is full. Clear strokes first.")

    def undo(self, participant_id: str) -> list[str]:
        """Take back the person's last stroke; return its id, or nothing."""
        own = [key for key, stroke in self._strokes.items() if stroke.participant_id == participant_id]
        return self._remove(own[-1:])

    def clear(self, participant_id: str | None) -> list[str]:
        """Take the person's strokes, or everybody's (None), off the board; return their ids."""
        return self._remove([k for k, s in self._strokes.items() if participant_id in (None, s.participant_id)])

    @property
    def alive_count(self) -> int:
        """Return how many strokes have not been dropped yet."""
        return len(self._strokes)

    def expire(self, at: datetime) -> list[str]:
        """Drop what has faded at ``at``; return the ids (clients know ``expires_at`` themselves)."""
        return self._remove([k for k, s in self._strokes.items() if s.expires_at is not None and s.expires_at <= at])

    def alive(self, at: datetime) -> Sequence[Stroke]:
        """Return what is to be seen at ``at``."""
        self.expire(at)
        return list(self._strokes.values())

    def _remove(self, ids: Iterable[str]) -> list[str]:
        gone = list(ids)
        for key in gone:
            del self._strokes[key]
        return gone
