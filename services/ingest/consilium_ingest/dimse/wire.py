"""One TCP connection of the DIMSE door: bytes in without copies, bytes out with backpressure, and one deadline.

Reads go into one buffer that all connections of a loop share: it is read and handed on within one callback. What the receiver does not
take at once is kept (never more than one buffer) and reading stops until ``go_on``.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol, cast

_QUICK_ACK = getattr(socket, "TCP_QUICKACK", None)


class Receiver(Protocol):
    """What a connection belongs to."""

    def opened(self) -> None:
        """The connection is there."""
        ...

    def received(self, data: memoryview) -> int:
        """Take bytes; return how many were taken. What is left waits for ``go_on``."""
        ...

    def expired(self) -> None:
        """The deadline has passed."""
        ...

    def lost(self) -> None:
        """The connection is gone."""
        ...


class Wire(asyncio.BufferedProtocol):
    """The connection; ``address`` is the peer's, without port."""

    def __init__(self, buffer: memoryview, receiver: Receiver) -> None:
        self.address = ""
        self._loop = asyncio.get_running_loop()
        self._buffer = buffer
        self._receiver = receiver
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._rest = b""
        self._held = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the socket's options and say so: no Nagle, the kernel's keep-alive."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class, not a subclass
        self.address = str((transport.get_extra_info("peername") or ("",))[0])
        self._socket = transport.get_extra_info("socket").dup()  # uvloop's own makes a socket object for every call
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._receiver.opened()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the shared buffer."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Hand the bytes on; acknowledge them at once, for a sender whose Nagle waits for that (dcmtk's default: 40 ms an object)."""
        if _QUICK_ACK is not None and self._socket is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)
        self._hand_on(self._buffer[:nbytes])

    def _hand_on(self, data: memoryview) -> None:
        taken = self._receiver.received(data)
        if taken < len(data):
            self._rest = bytes(data[taken:])
            self.hold()

    def hold(self) -> None:
        """Read nothing until ``go_on``."""
        if not self._held and self._transport is not None:
            self._held = True
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Hand on what was kept, then read again unless the receiver holds."""
        if not self._held or self._transport is None:
            return
        self._held = False
        if self._rest:
            rest, self._rest = self._rest, b""
            taken = self._receiver.received(memoryview(rest))
            self._rest = rest[taken:]
        if self._rest or self._held:
            self._held = True
        elif not self._transport.is_closing():
            self._transport.resume_reading()

    def write(self, data: bytes) -> None:
        """Send; what the kernel does not take waits in memory, see ``drained``."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    async def drained(self, limit_s: float) -> None:
        """Wait until the peer reads what it was sent; raise TimeoutError."""
        if not self._writable.is_set():
            async with asyncio.timeout(limit_s):
                await self._writable.wait()

    def pause_writing(self) -> None:
        """The peer does not read."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It reads again."""
        self._writable.set()

    def expect(self, limit_s: float | None) -> None:
        """Set the deadline from now; None: there is none. The timer is only armed anew when it fires."""
        if limit_s is None:
            self._deadline = None
            return
        self._deadline = self._loop.time() + limit_s
        if self._timer is None or self._timer.when() > self._deadline:
            self._arm(self._deadline)

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._loop.time() < self._deadline:
            self._arm(self._deadline)
            return
        self._deadline = None
        self._receiver.expired()

    def kill(self) -> None:
        """Drop the connection and what was not sent."""
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._socket.close()
        self._deadline = self._timer = None
        self._transport = self._socket = None
        self._rest = b""
        self._writable.set()
        self._receiver.lost()
