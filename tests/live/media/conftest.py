"""A media plane on a free port, and peers that are closed after each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from consilium_live.media import MediaPlane
from consilium_live.ports import Published, Subscribed
from consilium_testkit.media import Listener, Publisher, Viewer


class Room:
    """One plane, one room: publishes and views in one line, closes everything at the end."""

    def __init__(self, plane: MediaPlane, stack: AsyncExitStack) -> None:
        self.plane = plane
        self._stack = stack

    def keep(self, peer: Any) -> Any:
        """Close the peer at the end of the test."""
        self._stack.push_async_callback(peer.close)
        return peer

    async def publish(self, publisher: Publisher, *ids: str, session: str = "pub") -> Published:
        """Connect a publisher whose tracks get these ids."""
        done: list[Published] = []

        async def answer(offer: str) -> str:
            done.append(await self.plane.publish(session, offer, room_id="room", track_ids=ids))
            return done[0].answer_sdp

        await self.keep(publisher).start(answer)
        return done[0]

    async def view(self, viewer: Viewer, session: str, *wanted: str) -> Subscribed:
        """Connect a viewer, or renegotiate with it."""
        done: list[Subscribed] = []

        async def answer(offer: str) -> str:
            done.append(await self.plane.subscribe(session, offer, wanted, room_id="room"))
            return done[0].answer_sdp

        await self.keep(viewer).start(answer)
        return done[0]


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
async def open_room(listener: Listener) -> AsyncIterator[Callable[..., Any]]:
    """Return a function that opens a plane with the given seams and settings."""
    async with AsyncExitStack() as stack:

        async def open_(*args: Any, **seams: Any) -> Room:
            plane = await MediaPlane.open(*args, listener=listener, **seams)
            stack.push_async_callback(plane.close)
            return Room(plane, stack)

        yield open_


@pytest.fixture
async def room(open_room: Callable[..., Any]) -> Room:
    opened: Room = await open_room()
    return opened


@pytest.fixture
def plane(room: Room) -> MediaPlane:
    return room.plane


@pytest.fixture
def closing(room: Room) -> Callable[[Any], Any]:
    return room.keep
