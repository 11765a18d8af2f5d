"""The room's WebSocket, `consilium.room.v1`: hello, then a reader and a writer until one of them ends."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

import structlog
from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from consilium_core.errors import ConsiliumError, Denied, Exhausted, Unauthenticated
from consilium_live.api.dependencies import context_of
from consilium_live.domain.limits import ErrorBudget
from consilium_live.errors import Malformed
from consilium_live.flow import join, media_talk, talk
from consilium_live.flow.context import LiveContext
from consilium_live.flow.hall import Hall, Seat
from consilium_live.wire import client
from consilium_live.wire.server import Error, frame
from consilium_platform.tokens import TokenVerifier

log = structlog.get_logger()
router = APIRouter()
PROTOCOL = "consilium.room.v1"
FRAME_BOUND = 256 * 1024
SEND_TIMEOUT_S = 10.0
_OWN_RATE = (client.Laser, client.DrawStroke, client.Ping, client.Candidate)


class _Closed(Exception):
    """The connection is to be closed with this code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class _Connection:
    """One participant's socket after the welcome."""

    context: LiveContext
    verifier: TokenVerifier
    socket: WebSocket
    hall: Hall
    seat: Seat
    errors: ErrorBudget = field(default_factory=ErrorBudget)


@router.websocket("/api/v1/rooms/{room_id}/ws")
async def room_socket(socket: WebSocket, room_id: str) -> None:
    """Serve one participant (docs/protocols/room-signalling.md)."""
    context = context_of(socket)
    verifier: TokenVerifier = socket.app.state.verifier
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(subprotocol=PROTOCOL if PROTOCOL in offered else None)
    code = 4400
    try:
        if PROTOCOL in offered:
            code = await _serve(context, verifier, socket, room_id)
    except _Closed as closed:
        code = closed.code
    except WebSocketDisconnect:
        return
    with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await socket.close(code)


async def _serve(context: LiveContext, verifier: TokenVerifier, socket: WebSocket, room_id: str) -> int:
    hello = await _hello(context, socket)
    try:
        principal = await join.verify(context, verifier, hello.token, room_id, _address(socket))
        hall, seat = await join.join(context, principal, room_id, hello)
    except tuple(join.CLOSE_CODES) as refusal:
        return next(code for branch, code in join.CLOSE_CODES.items() if isinstance(refusal, branch))
    except ConsiliumError as problem:
        log.warning("room_join_failed", room=room_id, code=problem.code)
        return 1013
    connection = _Connection(context, verifier, socket, hall, seat)
    tasks = [
        asyncio.create_task(_read(connection), name=f"room-read:{seat.participant.id}"),
        asyncio.create_task(_write(connection), name=f"room-write:{seat.participant.id}"),
        asyncio.create_task(_wait_closing(seat), name=f"room-close:{seat.participant.id}"),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return _code_of(done, seat)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await context.errands.finish(join.leave(context, hall, seat), f"room-leave:{seat.participant.id}")


def _address(socket: WebSocket) -> str:
    return socket.client.host if socket.client else "unknown"


async def _wait_closing(seat: Seat) -> None:
    await seat.closing.wait()


def _code_of(done: set[asyncio.Task[None]], seat: Seat) -> int:
    """Return the close code of what ended first; the server's own wish goes before."""
    if seat.close_code is not None:
        return seat.close_code
    for task in done:
        problem = task.exception()
        if isinstance(problem, _Closed):
            return problem.code
        if problem is not None and not isinstance(problem, WebSocketDisconnect | RuntimeError):
            log.error("room_socket_crashed", error=type(problem).__name__, exc_info=problem)
            return 1011
    return 1000


async def _receive(socket: WebSocket) -> str:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    text = message.get("text")
    size = len(text.encode()) if text is not None else len(message.get("bytes") or b"")
    if size > FRAME_BOUND:
        raise _Closed(1009)
    if text is None:
        raise Malformed("Only text frames are spoken here.")
    return str(text)


async def _hello(context: LiveContext, socket: WebSocket) -> client.Hello:
    """Return the hello, or close: 4408 too late, 4400 something else (RS-01)."""
    try:
        async with asyncio.timeout(context.settings.hello_timeout_s):
            message = client.read(await _receive(socket))
    except TimeoutError:
        raise _Closed(4408) from None
    except Malformed:
        raise _Closed(4400) from None
    if not isinstance(message, client.Hello):
        raise _Closed(4400)
    return message


async def _write(connection: _Connection) -> None:
    while True:
        message = await connection.seat.mailbox.take()
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await connection.socket.send_text(message.text)
        except TimeoutError:
            raise _Closed(4413) from None


async def _read(connection: _Connection) -> None:
    """Take frames until the client leaves or errs too often (RS-32)."""
    context, seat = connection.context, connection.seat
    while True:
        asked: str | None = None
        try:
            text = await _receive(connection.socket)
            seat.heard_at = context.clock.monotonic()
            message = client.read(text)
            if isinstance(message, client.Leave):
                return
            asked = getattr(message, "id", None)
            await _obey(connection, message)
        except Unauthenticated:
            raise _Closed(4401) from None
        except ConsiliumError as problem:
            if isinstance(problem, Denied):
                await join.note_denied(context, connection.hall, seat, problem)
            seat.send(frame(Error(id=asked, code=problem.code, detail=problem.detail)))
            if connection.errors.spend(context.clock.monotonic()):
                raise _Closed(4400) from None


async def _obey(connection: _Connection, message: client.Hello | client.Spoken) -> None:
    context, hall, seat = connection.context, connection.hall, connection.seat
    if not isinstance(message, _OWN_RATE) and not seat.others.take(context.clock.monotonic()):
        raise Exhausted("Too many messages: at most 20 a second.")
    match message:
        case client.Ping():
            talk.pong(context, seat, message)
        case client.Laser():
            talk.point(context, hall, seat, message)
        case client.DrawStroke():
            talk.draw(context, hall, seat, message.stroke)
        case client.StrokeUndo():
            talk.undo(hall, seat)
        case client.StrokeClear():
            talk.clear(hall, seat, mine=message.mine)
        case client.ChatLine():
            talk.say(context, hall, seat, message)
        case client.Mute():
            talk.mute(hall, seat, message)
        case client.Candidate():
            await media_talk.candidate(context, seat, message)
        case client.Subscribe():
            await media_talk.subscribe(context, hall, seat, message)
        case client.Publish():
            await media_talk.publish(context, hall, seat, message)
        case client.Unpublish():
            await media_talk.unpublish(context, hall, seat)
        case client.Token():
            await join.refresh_token(context, connection.verifier, hall, seat, message.token)
        case _:
            raise Malformed("Hello is said once.")
