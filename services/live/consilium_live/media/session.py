"""One peer: its ICE-lite credentials and addresses, its DTLS handshake, its SRTP, and the routing of what it sends.

Nothing here is a task. Datagrams come in by `dtls_in` and `media_in`, time comes in by `tick`; what must be told goes
out through `SessionHost`. Who closes whom: the plane closes sessions, a session closes its DTLS; tracks and sinks are
the plane's.
"""

from __future__ import annotations

import secrets
from typing import Protocol

from consilium_live.media import rtcp, rtp
from consilium_live.media.dtls import DtlsFailed, DtlsIdentity, DtlsPeer
from consilium_live.media.rtcp import Block
from consilium_live.media.sdp import Offer
from consilium_live.media.sink import SendState, Sink
from consilium_live.media.srtp import SrtpSession
from consilium_live.media.track import Track
from consilium_live.media.udp import Address
from consilium_live.media.wires import Wires
from consilium_live.ports import MediaListener

_REPORT_S = 1.0
_MAX_ADDRESSES = 8
_MAX_SSRCS = 64


class SessionHost(Protocol):
    """What a session tells its owner."""

    def session_connected(self, session: Session) -> None:
        """The handshake is done."""
        ...

    def session_left(self, session: Session, reason: str) -> None:
        """The peer said goodbye, or its handshake failed."""
        ...


class Session:
    """One peer connection. `selected` is where its packets are sent once a check has nominated it."""

    def __init__(
        self,
        session_id: str,
        room_id: str,
        offer: Offer,
        wires: Wires,
        identity: DtlsIdentity,
        host: SessionHost,
        listener: MediaListener | None,
    ) -> None:
        self.session_id = session_id
        self.room_id = room_id
        self.listener = listener
        self.offer = offer
        self.version = 0
        self.ufrag, self.password = secrets.token_hex(4), secrets.token_hex(12)
        self.previous_ufrag: str | None = None
        self.addresses: list[Address] = []
        self.selected: Address | None = None
        self.srtp: SrtpSession | None = None
        self.tracks: dict[str, Track] = {}  # mid -> what this peer publishes
        self.sinks: dict[str, Sink] = {}  # mid -> what this peer views
        self.mid_extension = 0
        self.opened_at = self.heard_at = wires.now()
        self.media_heard = False
        self.troubled = False  # an exception of this peer has been logged
        self._host = host
        self._endpoint = wires.endpoint
        self._settings = wires.settings
        self._stats = wires.stats
        self._dtls = DtlsPeer(identity, offer.fingerprints)
        self._by_ssrc: dict[int, Track] = {}
        self._sink_by_ssrc: dict[int, Sink] = {}
        self._sent: dict[int, SendState] = {}  # by the track's own SSRC, for the session's life
        self._ssrc = secrets.randbits(31) | 1
        self.cname = secrets.token_hex(8)
        self._fir = 0
        self._report_at = self.opened_at + _REPORT_S

    # --- ICE and DTLS ---

    def restart_ice(self, offer: Offer) -> None:
        """Take the peer's new credentials and make new ones of our own (RFC 8445 9); DTLS and addresses stay."""
        self.offer = offer
        self.previous_ufrag = self.ufrag
        self.ufrag, self.password = secrets.token_hex(4), secrets.token_hex(12)

    def checked(self, address: Address, *, nominated: bool, now: float) -> Address | None:
        """Note a verified connectivity check; return an address that is forgotten for it, if any."""
        self.heard_at = now
        forgotten: Address | None = None
        if address not in self.addresses:
            self.addresses.append(address)
            if len(self.addresses) > _MAX_ADDRESSES:
                forgotten = next(a for a in self.addresses if a != self.selected)
                self.addresses.remove(forgotten)
        if (nominated or self.selected is None) and address != self.selected:
            self.selected = address
            for sink in self.sinks.values():
                sink.move(address)
        return forgotten

    def dtls_in(self, datagram: bytes, address: Address) -> None:
        """Take a DTLS datagram from an address that passed a check."""
        try:
            replies = self._dtls.feed(datagram)
        except DtlsFailed:
            self._host.session_left(self, "dtls")
            return
        for reply in replies:
            self._endpoint.send(reply, address)
        if self.srtp is None and self._dtls.keys is not None:
            self.srtp = SrtpSession(self._dtls.keys)
            self._host.session_connected(self)
        if self._dtls.closed:
            self._host.session_left(self, "left")

    def send_state(self, track: Track) -> SendState:
        """Return under which SSRC this peer gets a track, and what it has had of it."""
        sent = self._sent.get(track.ssrc)
        if sent is None:
            sent = SendState(track.ssrc, track.rtx_ssrc)
        elif sent.outrun(track.top):
            sent = SendState(secrets.randbits(31) | 1, secrets.randbits(31) | 1)
        self._sent[track.ssrc] = sent
        return sent

    def start_sink(self, sink: Sink, now: float) -> None:
        """Connect a sink and let its track feed it, if the session is up; else it starts when the session is."""
        if self.srtp is not None and self.selected is not None:
            sink.connect(self.srtp, self.selected)
            sink.track.attach(sink, now)

    def reroute(self) -> None:
        """Rebuild the tables after a negotiation."""
        self._by_ssrc = {
            t.ingress.ssrc: t
            for t in self.tracks.values()
            if t.ingress is not None and t.ingress.ssrc and t.publisher is self
        }
        self._sink_by_ssrc = {sink.ssrc: sink for sink in self.sinks.values()}

    # --- what the peer sends ---

    def media_in(self, datagram: bytes, now: float) -> None:
        """Take an SRTP or SRTCP datagram."""
        srtp = self.srtp
        if srtp is None or len(datagram) < 12:
            self._stats.refused_datagrams += 1
        elif rtp.is_rtcp(datagram):
            self._rtcp_in(srtp.unprotect_rtcp(datagram), now)
        else:
            self._rtp_in(srtp, datagram, now)

    def _rtp_in(self, srtp: SrtpSession, datagram: bytes, now: float) -> None:
        ssrc = int.from_bytes(datagram[8:12], "big")
        track = self._by_ssrc.get(ssrc) or self._claim(datagram, ssrc)
        if track is None:
            self._stats.refused_datagrams += 1
            return
        packet = srtp.unprotect(datagram)
        header = rtp.parse_header(packet) if packet is not None else None
        if packet is None or header is None:
            self._stats.refused_datagrams += 1
            return
        self.heard_at, self.media_heard = now, True
        ingress = track.ingress
        if ingress is None or track.publisher is not self or header.payload_type != ingress.payload_type:
            self._stats.refused_datagrams += 1
            return
        if ingress.ssrc == 0:
            ingress.ssrc = ssrc
        if ssrc not in self._by_ssrc and len(self._by_ssrc) < _MAX_SSRCS:
            self._by_ssrc[ssrc] = track
        self._stats.received_packets += 1
        self._stats.received_bytes += len(datagram)
        track.receive(packet, header, now)
        missing = ingress.take_nacks()
        if missing:
            self._nack(ingress.ssrc, missing)

    def _claim(self, datagram: bytes, ssrc: int) -> Track | None:
        """Find the track of an SSRC that the offer did not name: by MID (RFC 8843 9.2), else by payload type."""
        unclaimed = [t for t in self.tracks.values() if t.ingress is not None and t.ingress.ssrc in (0, ssrc)]
        mid = rtp.one_byte_extension(datagram, self.mid_extension) if self.mid_extension else None
        if mid is not None:
            return next((t for t in unclaimed if t.mid.encode() == mid), None)
        payload_type = datagram[1] & 127
        fitting = [t for t in unclaimed if t.ingress is not None and t.ingress.payload_type == payload_type]
        return fitting[0] if len(fitting) == 1 else None

    def _rtcp_in(self, compound: bytes | None, now: float) -> None:
        if compound is None:
            self._stats.refused_datagrams += 1
            return
        self.heard_at, self.media_heard = now, True
        for block in rtcp.blocks(compound):
            if block.kind == rtcp.SR:
                self._heard_sr(block, now)
            elif block.kind == rtcp.RTPFB and block.fmt == rtcp.NACK_FMT:
                sink = self._sink_by_ssrc.get(rtcp.media_ssrc(block.body))
                if sink is not None:
                    sink.track.repair(sink, rtcp.nacked(block.body), now)
            elif block.kind == rtcp.PSFB and block.fmt in (rtcp.PLI_FMT, rtcp.FIR_FMT):
                self._heard_pli(block, now)

    def _heard_sr(self, block: Block, now: float) -> None:
        track = self._by_ssrc.get(block.ssrc)
        clocks = rtcp.sender_info(block.body)
        if track is not None and clocks is not None and track.ingress is not None:
            track.ingress.heard(clocks, now)

    def _heard_pli(self, block: Block, now: float) -> None:
        asked = [rtcp.media_ssrc(block.body)]
        if block.fmt == rtcp.FIR_FMT:
            asked = list(rtcp.fir_ssrcs(block.body))
        for ssrc in asked:
            sink = self._sink_by_ssrc.get(ssrc)
            if sink is not None:
                self._stats.plis += 1
                sink.track.want_keyframe(now)

    # --- what the peer is told ---

    def _send_rtcp(self, compound: bytes) -> bool:
        if self.srtp is None or self.selected is None:
            return False
        return self._endpoint.send(self.srtp.protect_rtcp(compound), self.selected)

    def _nack(self, ssrc: int, missing: list[int]) -> None:
        self._stats.nacks_sent += len(missing)
        self._send_rtcp(rtcp.write_rr(self._ssrc, ()) + rtcp.write_nack(self._ssrc, ssrc, missing))

    def ask_keyframe(self, track: Track) -> bool:
        """Send PLI, or FIR where only that was offered; False while it cannot be sent."""
        ingress = track.ingress
        if ingress is None or ingress.ssrc == 0:
            return False
        if "nack pli" in ingress.feedback or "ccm fir" not in ingress.feedback:
            ask = rtcp.write_pli(self._ssrc, ingress.ssrc)
        else:
            self._fir += 1
            ask = rtcp.write_fir(self._ssrc, ingress.ssrc, self._fir)
        return self._send_rtcp(rtcp.write_rr(self._ssrc, ()) + ask)

    def tick(self, now: float) -> None:
        """Repeat lost handshake flights and NACKs; once a second send the reports."""
        if self.srtp is None:
            self._repeat_flight()
            return
        for track in self.tracks.values():
            if track.ingress is not None and track.publisher is self:
                due = track.ingress.due_nacks(now)
                if due:
                    self._nack(track.ingress.ssrc, due)
        if now >= self._report_at:
            self._report_at = max(self._report_at + _REPORT_S, now)
            self._send_rtcp(self._reports(now))

    def _repeat_flight(self) -> None:
        if self.selected is None:
            return
        try:
            flight = self._dtls.retransmit()
        except DtlsFailed:
            self._host.session_left(self, "dtls")
            return
        for datagram in flight:
            self._endpoint.send(datagram, self.selected)

    def _reports(self, now: float) -> bytes:
        parts: list[bytes] = []
        for sink in self.sinks.values():
            clocks = sink.track.sender_info(now)
            if sink.packets and clocks is not None:
                parts.append(rtcp.write_sr(sink.ssrc, clocks, sink.packets, sink.octets))
                parts.append(rtcp.write_sdes(sink.ssrc, sink.track.cname))
        mine = [t.ingress for t in self.tracks.values() if t.ingress is not None and t.publisher is self]
        reports = [r for r in (i.report(now) for i in mine) if r is not None]
        if reports or not parts:
            parts.append(rtcp.write_rr(self._ssrc, reports))
            parts.append(rtcp.write_sdes(self._ssrc, self.cname))
        paced = [i.ssrc for i in mine if i.ssrc and "goog-remb" in i.feedback]
        if paced:
            parts.append(rtcp.write_remb(self._ssrc, self._settings.max_publish_bps, paced))
        return b"".join(parts)

    def dead(self, now: float) -> str | None:
        """Return why the session must go: `never-connected`, `timeout`; None while it is alive."""
        if self.srtp is None:
            return "never-connected" if now - self.opened_at > self._settings.connect_timeout_s else None
        patience = self._settings.peer_timeout_s if self.media_heard else self._settings.idle_peer_timeout_s
        return "timeout" if now - self.heard_at > patience else None

    def close(self) -> None:
        """Tell the peer (BYE, close_notify), as far as it can be told."""
        if self.selected is None:
            return
        if self.sinks and self.srtp is not None:
            farewell = rtcp.write_rr(self._ssrc, ())
            self._send_rtcp(farewell + b"".join(rtcp.write_bye(s.ssrc) for s in self.sinks.values()))
        for datagram in self._dtls.shutdown():
            self._endpoint.send(datagram, self.selected)
