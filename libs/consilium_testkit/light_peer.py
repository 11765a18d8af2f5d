"""A WebRTC peer that costs almost nothing: checks, DTLS client and SRTP over one UDP socket, no codecs.

Load generators run hundreds of them. It verifies nothing but the handshake, and counts.
"""

from __future__ import annotations

import asyncio
import secrets
import socket

from consilium_live.media import rtcp, rtp, stun
from consilium_live.media.dtls import DtlsIdentity, DtlsPeer, Fingerprint
from consilium_live.media.srtp import SrtpSession

_PASSWORD = "p" * 24
_HURRY_S = 0.3  # checks until the handshake is done
_REPORT_S = 1.0  # checks and reports afterwards


def offer(
    identity: DtlsIdentity, direction: str, *, ufrag: str, ssrc: int = 0, at: tuple[str, int] | None = None
) -> str:
    """Return an offer of one H.264 m-line with RTX, and of one host candidate if `at` is given."""
    lines = [
        "v=0",
        "o=- 1 1 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "m=video 9 UDP/TLS/RTP/SAVPF 102 103",
        "c=IN IP4 0.0.0.0",
        "a=mid:0",
        f"a={direction}",
        "a=rtcp-mux",
        f"a=ice-ufrag:{ufrag}",
        f"a=ice-pwd:{_PASSWORD}",
        f"a=fingerprint:{identity.fingerprint.algorithm} {identity.fingerprint.value}",
        "a=setup:actpass",
        "a=rtpmap:102 H264/90000",
        "a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        "a=rtcp-fb:102 nack",
        "a=rtcp-fb:102 nack pli",
        "a=rtpmap:103 rtx/90000",
        "a=fmtp:103 apt=102",
    ]
    if at is not None:
        lines += [f"a=candidate:1 1 udp 2130706431 {at[0]} {at[1]} typ host", "a=end-of-candidates"]
    if ssrc:
        lines.append(f"a=ssrc:{ssrc} cname:light")
    return "\r\n".join(lines) + "\r\n"


def _attribute(answer: str, name: str) -> str:
    return next(line[len(name) + 3 :] for line in answer.splitlines() if line.startswith(f"a={name}:"))


class LightPeer:
    """One peer; `packets` and `octets` count SRTP received, `missing` sequence gaps as they were seen."""

    def __init__(
        self,
        identity: DtlsIdentity,
        direction: str,
        *,
        nack_every: int = 0,
        decrypt: bool = False,
        host: str = "127.0.0.1",
    ) -> None:
        self.ssrc = secrets.randbits(31) | 1
        self.ufrag = secrets.token_hex(4)
        self.packets = self.octets = self.repairs = self.refused = 0
        self.plain: list[bytes] = []  # RTP in clear, with `decrypt`
        self.connected = asyncio.Event()
        self.srtp: SrtpSession | None = None
        self._identity = identity
        self._decrypt = decrypt
        self._nack_every = nack_every  # as if every n-th packet had been lost: it is asked for again
        self._sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._sock.bind((host, 0))
        self.offer = offer(
            identity,
            direction,
            ufrag=self.ufrag,
            ssrc=self.ssrc if "send" in direction else 0,
            at=self._sock.getsockname()[:2],
        )
        self._dtls: DtlsPeer | None = None
        self._username = ""
        self._password = b""
        self._media_ssrc = 0
        self._highest = 0
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def start(self, answer: str) -> None:
        """Connect to where the answer says."""
        algorithm, value = _attribute(answer, "fingerprint").split()
        self._username = f"{_attribute(answer, 'ice-ufrag')}:{self.ufrag}"
        self._password = _attribute(answer, "ice-pwd").encode()
        candidate = _attribute(answer, "candidate").split()
        self._sock.connect((candidate[4], int(candidate[5])))
        if "a=ssrc:" in answer:
            self._media_ssrc = int(_attribute(answer, "ssrc").split()[0])
        self._dtls = DtlsPeer(self._identity, (Fingerprint(algorithm, value),), server=False)
        self._loop.add_reader(self._sock.fileno(), self._readable)
        self._check()

    def _check(self) -> None:
        self._send(stun.binding_request(secrets.token_bytes(12), self._username, self._password))
        if self.srtp is not None:
            reports = [rtcp.ReportBlock(self._media_ssrc, 0, self._highest, 0)] if self._media_ssrc else []
            self._send(self.srtp.protect_rtcp(rtcp.write_rr(self.ssrc, reports)))
        elif self._dtls is not None:
            for datagram in self._dtls.retransmit():
                self._send(datagram)
        self._timer = self._loop.call_later(_HURRY_S if self.srtp is None else _REPORT_S, self._check)

    def _send(self, datagram: bytes) -> None:
        try:
            self._sock.send(datagram)
        except OSError:
            self.octets += 0  # a full buffer or a closed server: the counters show it

    def _readable(self) -> None:
        while True:
            try:
                datagram = self._sock.recv(2048)
            except (BlockingIOError, InterruptedError, ConnectionRefusedError):
                return
            first = datagram[0]
            if 128 <= first < 192:
                if not rtp.is_rtcp(datagram):
                    self._media(datagram)
            elif datagram[:2] == b"\0\1":
                self._answer_check(datagram)
            elif self._dtls is not None and (20 <= first < 64 or (first < 4 and self.srtp is None)):
                self._handshake(datagram if first >= 20 else None)

    def _answer_check(self, datagram: bytes) -> None:
        """Answer the check of a server that is no ICE-lite agent."""
        request = stun.parse_binding_request(datagram)
        if request is not None:
            peer = self._sock.getpeername()
            self._send(stun.binding_success(request, _PASSWORD.encode(), peer[0], peer[1]))

    def _handshake(self, datagram: bytes | None) -> None:
        if self._dtls is None:
            return
        for reply in self._dtls.start() if datagram is None else self._dtls.feed(datagram):
            self._send(reply)
        if self.srtp is None and self._dtls.keys is not None:
            self.srtp = SrtpSession(self._dtls.keys)
            self.connected.set()

    def _media(self, datagram: bytes) -> None:
        self.packets += 1
        self.octets += len(datagram)
        if self._decrypt and self.srtp is not None:
            packet = self.srtp.unprotect(datagram)
            if packet is None:
                self.refused += 1
            else:
                self.plain.append(packet)
        if datagram[1] & 127 == 103:
            self.repairs += 1
            return
        sequence = int.from_bytes(datagram[2:4], "big")
        self._highest = max(self._highest, sequence)
        if self._nack_every and self.packets % self._nack_every == 0 and self.srtp is not None:
            self._send(self.srtp.protect_rtcp(rtcp.write_nack(self.ssrc, self._media_ssrc, [sequence])))

    def send_rtp(self, packet: bytes) -> None:
        """Encrypt and send one RTP packet (publishers)."""
        if self.srtp is not None:
            self._send(self.srtp.protect(packet))

    async def close(self) -> None:
        """Close the socket."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
