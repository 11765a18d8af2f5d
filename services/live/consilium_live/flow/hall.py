"""What this process knows of the rooms that somebody is in: seats, tracks, drawings, talk. Nothing here is the truth of a
room's life (that is SQL's); when the process dies, people and the site come back and this fills again.

Everything runs on the event loop and never waits; readers have bounded mailboxes (RS-31).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from consilium_core.clock import Clock
from consilium_core.roles import Permission, Principal
from consilium_live.domain.limits import Rate
from consilium_live.domain.mailbox import Mailbox, Message
from consilium_live.domain.participant import Participant
from consilium_live.domain.stroke import Board
from consilium_live.domain.track import RoomTrack, SecondEncode
from consilium_live.ports import TrackState
from consilium_live.wire.server import AnyServerMessage, ChatWire, FrameMapWire, frame

CHAT_BOUND = 200
CHAT_BYTES = 128 * 1024  # as JSON; with a full board a welcome stays below the 1 MiB that a gateway passes on


@dataclass(frozen=True, slots=True)
class Audience:
    """What a reader may see beside the picture; one rendering per audience, not per person."""

    patient: bool
    studies: bool

    @classmethod
    def of(cls, principal: Principal) -> Audience:
        """Return what the role may see (a trainee: neither)."""
        return cls(principal.may(Permission.PATIENT_READ), principal.may(Permission.STUDY_READ))


@dataclass(slots=True)
class MediaLink:
    """One media session of a seat; ``connection`` tells peer connections of one client apart."""

    session_id: str
    connection: str


@dataclass(eq=False)
class Seat:
    """One connected participant."""

    participant: Participant
    principal: Principal
    codecs: frozenset[str]
    heard_at: float
    mailbox: Mailbox = field(default_factory=Mailbox)
    viewing: MediaLink | None = None
    speaking: MediaLink | None = None
    muted_audio: bool = False
    muted_video: bool = False
    pings: bool = False
    close_code: int | None = None
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    strokes: Rate = field(default_factory=lambda: Rate(25, 50))
    points: Rate = field(default_factory=lambda: Rate(2000, 4000))
    lasers: Rate = field(default_factory=lambda: Rate(25, 25))
    others: Rate = field(default_factory=lambda: Rate(20, 100))

    def send(self, message: Message) -> None:
        """Queue a frame; a reader that is too slow is let go (4413)."""
        if not self.mailbox.put(message):
            self.close(4413)

    def close(self, code: int) -> None:
        """Ask the connection to close; the first code stays."""
        if self.close_code is None:
            self.close_code = code
            self.closing.set()


def _size(line: ChatWire) -> int:
    return len(line.model_dump_json().encode())


class Hall:
    """One room in this process."""

    def __init__(self, room_id: str, tenant: str) -> None:
        self.room_id = room_id
        self.tenant = tenant
        self.seats: dict[str, Seat] = {}
        self.tracks: dict[str, RoomTrack] = {}
        self.board = Board()
        self.chat: deque[ChatWire] = deque()
        self.frame_maps: dict[str, FrameMapWire] = {}
        self.second = SecondEncode()
        self.publishing = asyncio.Lock()
        self.arriving = 0  # publishers whose offer is being answered: their tracks will be this hall's
        self.over = False  # the room has ended: forget it when the last one is out
        self.announced: tuple[str, bool, int] | None = None
        self._changed = asyncio.Event()

    def note_change(self) -> None:
        """Wake whoever waits for the tracks to change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self) -> None:
        """Wait until the tracks change; the caller sets the time limit."""
        await self._changed.wait()

    @property
    def live(self) -> bool:
        """Say whether a modality track delivers packets."""
        return any(t.source == "modality" and t.state is TrackState.LIVE for t in self.tracks.values())

    def delivers(self, site_id: str) -> bool:
        """Say whether this site's own picture delivers packets."""
        tracks = (t for t in self.tracks.values() if t.kind == "video" and t.site_id is not None)
        return any(t.site_id == site_id and t.state is TrackState.LIVE for t in tracks)

    @property
    def participants(self) -> int:
        """Return how many people are connected."""
        return len(self.seats)

    @property
    def empty(self) -> bool:
        """Say whether nothing would be lost with it."""
        return (
            not self.seats
            and not self.arriving
            and (self.over or not (self.tracks or self.chat or self.board.alive_count))
        )

    def sorted_tracks(self) -> list[RoomTrack]:
        """Return the tracks in the order in which clients choose."""
        return sorted(self.tracks.values(), key=lambda track: track.rank)

    def broadcast(self, message: AnyServerMessage) -> None:
        """Send one message to everybody."""
        once = frame(message)
        for seat in list(self.seats.values()):
            seat.send(once)

    def broadcast_by_audience(self, render: Callable[[Audience], AnyServerMessage]) -> None:
        """Send everybody what their role may see."""
        rendered: dict[Audience, Message] = {}
        for seat in list(self.seats.values()):
            audience = Audience.of(seat.principal)
            if audience not in rendered:
                rendered[audience] = frame(render(audience))
            seat.send(rendered[audience])

    def keep_chat(self, line: ChatWire) -> None:
        """Keep a line for those who come later: the last 200, and no more than 128 KiB of frames (RS-23)."""
        self.chat.append(line)
        while len(self.chat) > CHAT_BOUND or sum(_size(kept) for kept in self.chat) > CHAT_BYTES:
            self.chat.popleft()

    def forget_track(self, track_id: str) -> RoomTrack | None:
        """Take a track off the list."""
        self.frame_maps.pop(track_id, None)
        return self.tracks.pop(track_id, None)

    def tracks_of(self, session_id: str) -> list[RoomTrack]:
        """Return what a media session publishes."""
        return [track for track in self.tracks.values() if track.session_id == session_id]


class Halls:
    """All rooms of this process, and which of them must be looked at again."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._halls: dict[str, Hall] = {}
        self._dirty: dict[str, None] = {}
        self._woken = asyncio.Event()
        self._stopped = False

    def open(self, room_id: str, tenant: str) -> Hall:
        """Return the room's hall, a new one when nobody was there."""
        hall = self._halls.get(room_id)
        if hall is None:
            hall = self._halls[room_id] = Hall(room_id, tenant)
        return hall

    def get(self, room_id: str) -> Hall | None:
        """Return the room's hall if there is one."""
        return self._halls.get(room_id)

    def seats_of(self, tenant: str, user_id: str) -> int:
        """Return how often a person is connected, in all rooms."""
        halls = (hall for hall in self._halls.values() if hall.tenant == tenant)
        return sum(seat.participant.user_id == user_id for hall in halls for seat in hall.seats.values())

    def forget(self, room_id: str) -> None:
        """Drop an empty hall."""
        self._halls.pop(room_id, None)

    def __iter__(self) -> Iterator[Hall]:
        return iter(list(self._halls.values()))

    def touch(self, room_id: str) -> None:
        """Say that people or packets of a room changed; many touches are one look."""
        self._dirty[room_id] = None
        self._woken.set()

    def is_dirty(self, room_id: str) -> bool:
        """Say whether the room still waits for its look."""
        return room_id in self._dirty

    def stop(self) -> None:
        """Tell whoever waits for rooms that no more will be looked at."""
        self._stopped = True
        self._woken.set()

    async def next_dirty(self) -> str | None:
        """Wait for a room that must be looked at; None after ``stop``."""
        while not self._dirty and not self._stopped:
            self._woken.clear()
            await self._woken.wait()
        if self._stopped:
            return None
        room_id = next(iter(self._dirty))
        del self._dirty[room_id]
        return room_id
