"""The one UDP socket of the process: non-blocking, drained by the event loop, frames leave by segmentation offload."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import Callable
from typing import Self

Address = tuple[str, int] | tuple[str, int, int, int]
Receiver = Callable[[bytes, Address], None]

_SOL_UDP = 17
_UDP_SEGMENT = 103  # linux/udp.h
_MAX_DATAGRAM = 2048
_DRAIN_LIMIT = 256  # datagrams per wake-up, so that timers and other sockets get their turn
_NO_GSO = frozenset({errno.EIO, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOPROTOOPT})

_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104
GSO_MAX_SEGMENTS = 64  # kernels before 6.9 take 64, later ones 128
GSO_MAX_BYTES = 64000


class UdpEndpoint:
    """Owns the socket. `send*` never block and never raise: they say whether the kernel took the datagrams."""

    def __init__(self, sock: socket.socket, *, gso: bool) -> None:
        self._sock = sock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._receiver: Receiver | None = None
        self.gso = gso and _probe_gso(sock)
        name = sock.getsockname()
        self.host, self.port = str(name[0]), int(name[1])
        self.reachable = _primary_address(sock) if self.host in _WILDCARDS else self.host
        self.receive_errors = 0

    @classmethod
    def bind(cls, host: str, port: int, *, buffer_bytes: int, gso: bool) -> Self:
        """Open and bind the socket; raises OSError when the address is taken or not ours."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                sock.setsockopt(socket.SOL_SOCKET, option, buffer_bytes)
            with contextlib.suppress(PermissionError):  # beyond net.core.*mem_max, where we are allowed
                for name in (33, 32):  # SO_RCVBUFFORCE, SO_SNDBUFFORCE
                    sock.setsockopt(socket.SOL_SOCKET, name, buffer_bytes)
            sock.bind((host, port))
        except OSError:
            sock.close()
            raise
        return cls(sock, gso=gso)

    def start(self, receiver: Receiver) -> None:
        """Give every datagram to `receiver` on the running loop until `close`."""
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._sock.fileno(), self._drain)

    def _drain(self) -> None:
        receive, receiver = self._sock.recvfrom, self._receiver
        if receiver is None:
            return
        for _ in range(_DRAIN_LIMIT):
            try:
                datagram, source = receive(_MAX_DATAGRAM)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # an ICMP error of some peer reported on the shared socket
                self.receive_errors += 1
                return
            receiver(datagram, source)

    def send(self, datagram: bytes | memoryview, address: Address) -> bool:
        """Send one datagram."""
        try:
            self._sock.sendto(datagram, address)
        except OSError:
            return False
        return True

    def send_segments(self, block: memoryview, segment_bytes: int, address: Address) -> int:
        """Send a block of equal datagrams (the last may be shorter) and return how many the kernel took."""
        count = -(-len(block) // segment_bytes)
        if count == 1:
            return 1 if self.send(block, address) else 0
        if self.gso:
            control = [(_SOL_UDP, _UDP_SEGMENT, struct.pack("=H", segment_bytes))]
            try:
                self._sock.sendmsg((block,), control, 0, address)
            except OSError as error:
                if error.errno not in _NO_GSO:
                    return 0
                self.gso = False  # the route's device cannot: one by one from now on
            else:
                return count
        return sum(self.send(block[i : i + segment_bytes], address) for i in range(0, len(block), segment_bytes))

    def close(self) -> None:
        """Stop listening and close the socket; idempotent."""
        if self._loop is not None and self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
        self._loop = None
        self._receiver = None
        self._sock.close()


def _probe_gso(sock: socket.socket) -> bool:
    try:
        sock.getsockopt(_SOL_UDP, _UDP_SEGMENT)
    except OSError:
        return False
    return True


def _primary_address(bound: socket.socket) -> str:
    """Return the address from which this machine talks to others: what a wildcard socket can honestly advertise."""
    target = "2001:db8::1" if bound.family == socket.AF_INET6 else "192.0.2.1"  # documentation ranges, nothing is sent
    with socket.socket(bound.family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((target, 9))
        except OSError:
            return "::1" if bound.family == socket.AF_INET6 else "127.0.0.1"
        return str(probe.getsockname()[0])
