"""One track on its way to one viewer: payload types, packet indices, replay, NACK answers and the counters of its reports.

A sink is `waiting` (for a keyframe), `replaying` (catching up from the track's history, a few packets per step) or `live`.
It holds no queue: what the socket does not take is dropped and counted, a viewer that stalls costs no memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import structlog

from consilium_live.media.egress import Block, Packet
from consilium_live.media.rtp import HEADER, HEADER_BYTES
from consilium_live.media.srtp import SrtpSession
from consilium_live.media.udp import Address, UdpEndpoint
from consilium_live.ports import PlaneStats

if TYPE_CHECKING:
    from consilium_live.media.track import Track

log = structlog.get_logger("consilium.live.media")

_RTX_BURST = 512  # packets answered at once at most
_RTX_PER_S = 1500.0
_MAX_AWAY = (
    1 << 14
)  # packets, half of what the guess allows: more may pass until the keyframe at which the viewer enters


class SinkState(StrEnum):
    """Where a viewer stands in a track."""

    IDLE = "idle"  # not connected yet
    WAITING = "waiting"
    REPLAYING = "replaying"
    LIVE = "live"


@dataclass(slots=True)
class SendState:
    """What one session has sent of one track under one SSRC: outlives sinks, because keys, indices and the peer's books do.

    A viewer that drops a track and takes it again must neither see a roll-over count start anew nor a packet index twice.
    When half a roll-over has gone by meanwhile it would guess the count wrong (RFC 3711 3.3.1): then it gets another SSRC.
    """

    ssrc: int
    rtx_ssrc: int
    base: int | None = None  # track's packet number at this viewer's roll-over count 0
    top: int = -1  # highest packet number sent
    rtx_sequence: int = 0

    def outrun(self, number: int) -> bool:
        """Say whether the track has gone on so far that the viewer could not tell its roll-over count any more."""
        return self.base is not None and number - self.top >= _MAX_AWAY


class Sink:
    """Encrypts and sends one track to one viewer; made by the negotiation, started when the viewer's DTLS is done."""

    def __init__(
        self,
        track: Track,
        session_id: str,
        mid: str,
        payload_type: int,
        rtx_type: int | None,
        stats: PlaneStats,
        sent: SendState,
    ) -> None:
        self.track = track
        self.ssrc, self.rtx_ssrc = sent.ssrc, sent.rtx_ssrc
        self.session_id = session_id
        self.mid = mid
        self.payload_type = payload_type
        self.rtx_type = rtx_type
        self.state = SinkState.IDLE
        self.cursor = 0  # next index to replay
        self.waiting_since = 0.0
        self.packets = 0
        self.octets = 0
        self.failures = 0
        self._stats = stats
        self._srtp: SrtpSession | None = None
        self._address: Address | None = None
        self._sent = sent
        self._nonce = 0
        self.floor = -1  # packet numbers up to here were sent by an earlier sink of the session
        self._tokens = float(_RTX_BURST)
        self._tokens_at = 0.0

    def connect(self, srtp: SrtpSession, address: Address) -> None:
        """Give the sink its keys and where to send; called before `Track.attach`."""
        self._srtp = srtp
        self.floor = self._sent.top
        self._address = address
        if srtp.gcm is not None:
            self._nonce = srtp.gcm.nonce_base(self.ssrc)

    def move(self, address: Address) -> None:
        """Follow the viewer to another address (a new nomination)."""
        self._address = address

    def send_block(self, endpoint: UdpEndpoint, block: Block) -> None:
        """Encrypt a run of packets in place and send it."""
        srtp, address = self._srtp, self._address
        if srtp is None or address is None:
            return
        sent = self._sent
        if sent.base is None:
            sent.base = block.parts[0][0] & ~0xFFFF
        sent.top = max(sent.top, block.parts[-1][0])
        if srtp.gcm is None:
            self._send_by_library(endpoint, srtp, address, block)
            return
        encrypt, nonce, base = srtp.gcm.encrypt_into, self._nonce, sent.base
        for index, payload, header, out in block.parts:
            # packets from before the first roll-over count 0 (late ones only) wrap harmlessly: the viewer drops them
            encrypt((nonce ^ ((index - base) & 0xFFFFFFFFFFFF)).to_bytes(12, "big"), payload, header, out)
        self._count(len(block.parts), endpoint.send_segments(block.view, block.stride, address), len(block.buffer))

    def _send_by_library(self, endpoint: UdpEndpoint, srtp: SrtpSession, address: Address, block: Block) -> None:
        sealed = [srtp.protect(header + payload) for _, payload, header, _ in block.parts]
        data = memoryview(b"".join(sealed))
        self._count(len(sealed), endpoint.send_segments(data, len(sealed[0]), address), len(data))

    def _count(self, wanted: int, sent: int, octets: int) -> None:
        self.packets += wanted
        self.octets += octets - wanted * (HEADER_BYTES + 16)
        self._stats.forwarded_packets += sent
        self._stats.forwarded_bytes += octets
        if sent < wanted:
            self._stats.dropped_packets += wanted - sent

    def repair(self, endpoint: UdpEndpoint, packet: Packet, now: float) -> bool:
        """Send one packet again, as RTX (RFC 4588 4) where negotiated; False when the budget is spent."""
        srtp, address, base = self._srtp, self._address, self._sent.base
        if srtp is None or address is None or base is None or not self._afford(now):
            return False
        if packet.number < base or packet.number <= self.floor:
            return True  # not this sink's to repeat
        if self.rtx_type is None:
            ssrc, index = self.ssrc, packet.number - base
            header, body = packet.header(self.payload_type, ssrc), packet.payload
        else:
            ssrc, index = self.rtx_ssrc, self._sent.rtx_sequence
            self._sent.rtx_sequence += 1
            header = HEADER.pack(packet.first, packet.marker | self.rtx_type, index & 0xFFFF, packet.timestamp, ssrc)
            body = (packet.number & 0xFFFF).to_bytes(2, "big") + packet.payload
        gcm = srtp.gcm
        datagram = gcm.protect(header, body, ssrc, index) if gcm else srtp.protect(header + body)
        if not endpoint.send(datagram, address):
            self._stats.dropped_packets += 1
        self._stats.rtx += 1
        return True

    def _afford(self, now: float) -> bool:
        self._tokens = min(float(_RTX_BURST), self._tokens + (now - self._tokens_at) * _RTX_PER_S)
        self._tokens_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def failed(self, error: Exception) -> None:
        """Count an exception of this viewer alone; the first is logged with its cause."""
        self.failures += 1
        self._stats.sink_failures += 1
        if self.failures == 1:
            log.warning(
                "media_sink_failed", session_id=self.session_id, track_id=self.track.track_id, error=repr(error)
            )
