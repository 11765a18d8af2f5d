"""The media plane's front: sessions, tracks and the socket that carries them all.

Flow: datagram -> (STUN | DTLS | SRTP by first byte, RFC 7983) -> session by source address -> track -> fan-out.
The plane opens and closes the socket, the timer and every session; it runs on one event loop and starts no task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import structlog

from consilium_core.clock import Clock, SystemClock
from consilium_core.errors import Conflict, Exhausted, Invalid, NotFound, Unavailable
from consilium_live.media import stun
from consilium_live.media.answering import Answering
from consilium_live.media.dtls import DtlsIdentity
from consilium_live.media.registry import TrackRegistry, tell
from consilium_live.media.sdp import Offer, Transport, parse_offer, write_answer
from consilium_live.media.session import Session
from consilium_live.media.udp import Address, UdpEndpoint
from consilium_live.media.wires import Wires
from consilium_live.ports import (
    MediaListener,
    MediaSettings,
    Negotiated,
    PlaneStats,
    Published,
    Subscribed,
    TrackFacts,
)

log = structlog.get_logger("consilium.live.media")

_TICK_S = 0.1
_STARVED_S = 0.5


class MediaPlane:
    """Implements `consilium_live.ports.MediaPlanePort` on one UDP socket."""

    def __init__(
        self, settings: MediaSettings, endpoint: UdpEndpoint, listener: MediaListener | None, clock: Clock
    ) -> None:
        self._settings = settings
        self._endpoint = endpoint
        self._listener = listener
        self._now = clock.monotonic
        self._identity = DtlsIdentity()
        self._stats = PlaneStats()
        self._sessions: dict[str, Session] = {}
        self._by_ufrag: dict[str, tuple[Session, bytes]] = {}
        self._by_address: dict[Address, Session] = {}
        self._wires = Wires(endpoint, settings, self._stats, self._now)
        self._tracks = TrackRegistry(self._wires, listener)
        self._timer: asyncio.TimerHandle | None = None
        self._ticked_at = self._now()
        self._closed = False

    @classmethod
    async def open(
        cls,
        settings: MediaSettings | None = None,
        *,
        listener: MediaListener | None = None,
        clock: Clock | None = None,
        endpoint: UdpEndpoint | None = None,
        ticking: bool = True,
    ) -> MediaPlane:
        """Bind the socket and start the timer; `listener` hears of sessions that name none of their own.

        `endpoint` (owned by the plane from then on), `clock` and `ticking` are seams for tests. Raises Unavailable when
        the address cannot be bound.
        """
        chosen = settings or MediaSettings()
        if endpoint is None:
            try:
                endpoint = UdpEndpoint.bind(
                    chosen.host, chosen.port, buffer_bytes=chosen.socket_buffer_bytes, gso=chosen.gso
                )
            except OSError as error:
                raise Unavailable(
                    f"The UDP port {chosen.host}:{chosen.port} for media cannot be bound: {error.strerror}."
                ) from error
        plane = cls(chosen, endpoint, listener, clock or SystemClock())
        endpoint.start(plane._datagram)
        if ticking:
            plane._tick_again()
        log.info("media_plane_opened", host=endpoint.host, port=endpoint.port, gso=endpoint.gso)
        return plane

    @property
    def address(self) -> tuple[str, int]:
        """Return the bound host and UDP port."""
        return self._endpoint.host, self._endpoint.port

    # --- offers and answers ---

    async def negotiate(
        self,
        session_id: str,
        offer_sdp: str,
        *,
        room_id: str,
        publish: bool = False,
        track_ids: Mapping[str, str] | Sequence[str] = (),
        wanted: Mapping[str, str] | Sequence[str] | None = None,
        listener: MediaListener | None = None,
        reserved: bool = False,
    ) -> Negotiated:
        """Answer an offer that may send and receive; the first one opens the session, later ones renegotiate it."""
        if self._closed:
            raise Unavailable("The media plane is closed.")
        offer = parse_offer(offer_sdp)
        if len(offer.media) > self._settings.max_tracks_per_session:
            raise Exhausted("The offer has too many m-lines.", limit=self._settings.max_tracks_per_session)
        if session_id not in self._sessions:
            self._check_space(reserved=reserved)
        session = self._session(session_id, room_id, offer, listener)
        round_ = Answering(session, offer, self._tracks, self._wires)
        names = track_ids if isinstance(track_ids, Mapping) else list(track_ids)
        published = round_.publish(names, allowed=publish)
        carried = round_.view(wanted)
        for track in round_.ended:
            self._tracks.end(track)
        session.version += 1
        transport = Transport(
            session.ufrag,
            session.password,
            self._identity.fingerprint,
            self._settings.advertised or (self._endpoint.reachable,),
            self._endpoint.port,
        )
        answer = write_answer(session.version, round_.media(), transport)
        return Negotiated(answer, tuple(t.facts() for t in published), carried, tuple(round_.unanswerable))

    def _session(self, session_id: str, room_id: str, offer: Offer, listener: MediaListener | None) -> Session:
        session = self._sessions.get(session_id)
        if session is None:
            return self._open_session(session_id, room_id, offer, listener)
        if session.room_id != room_id:
            raise Conflict("The session belongs to another room.", session_id=session_id)
        if offer.fingerprints and offer.fingerprints != session.offer.fingerprints:
            raise Conflict("A session keeps its certificate; open a new one.", session_id=session_id)
        if offer.ufrag and offer.ufrag != session.offer.ufrag:
            if session.previous_ufrag is not None:
                self._by_ufrag.pop(session.previous_ufrag, None)
            session.restart_ice(offer)
            self._by_ufrag[session.ufrag] = (session, session.password.encode())
        return session

    def _check_space(self, *, reserved: bool) -> None:
        most = self._settings.max_sessions
        if not reserved:
            most -= min(self._settings.reserved_sessions, most // 8)
        if len(self._sessions) >= most:
            raise Exhausted("The media plane carries as many peers as it may.", retry_after_s=5.0)

    def _open_session(self, session_id: str, room_id: str, offer: Offer, listener: MediaListener | None) -> Session:
        if not offer.fingerprints:
            raise Invalid("The offer has no m-line that could be answered.")
        session = Session(session_id, room_id, offer, self._wires, self._identity, self, listener or self._listener)
        self._sessions[session_id] = session
        self._by_ufrag[session.ufrag] = (session, session.password.encode())
        return session

    async def publish(
        self,
        session_id: str,
        offer_sdp: str,
        *,
        room_id: str,
        track_ids: Mapping[str, str] | Sequence[str] = (),
        listener: MediaListener | None = None,
        reserved: bool = False,
    ) -> Published:
        """Accept what the offer sends; `track_ids` names tracks by mid, or in order of the sending m-lines."""
        done = await self.negotiate(
            session_id, offer_sdp, room_id=room_id, publish=True, track_ids=track_ids, listener=listener,
            reserved=reserved,
        )  # fmt: skip
        return Published(done.answer_sdp, done.tracks)

    async def subscribe(
        self,
        session_id: str,
        offer_sdp: str,
        wanted: Mapping[str, str] | Sequence[str],
        *,
        room_id: str,
        listener: MediaListener | None = None,
    ) -> Subscribed:
        """Send `wanted` (mid -> track id, or track ids that go to the first receiving m-line of their kind)."""
        done = await self.negotiate(session_id, offer_sdp, room_id=room_id, wanted=wanted, listener=listener)
        return Subscribed(done.answer_sdp, done.carried, done.unanswerable)

    async def add_ice_candidates(self, session_id: str, sdp_fragment: str) -> None:
        """Accept a trickle fragment (RFC 8840); raises NotFound, or Conflict for other credentials than the offer's.

        Candidates need no work: an ICE-lite agent learns a peer's addresses from its checks. ICE restarts come as offers.
        """
        session = self._sessions.get(session_id)
        if session is None:
            raise NotFound("No such media session.", session_id=session_id)
        for line in sdp_fragment.splitlines():
            if line.startswith("a=ice-ufrag:") and line[12:].strip() != session.offer.ufrag:
                raise Conflict("The fragment is of another ICE generation; send an offer.", session_id=session_id)

    def request_keyframe(self, track_id: str) -> bool:
        """Ask the publisher for a keyframe, rate-limited; say whether the track is there to be asked."""
        track = self._tracks.by_id.get(track_id)
        if track is None or track.publisher is None or track.kind != "video":
            return False
        track.want_keyframe(self._now())
        return True

    # --- datagrams ---

    def _datagram(self, datagram: bytes, source: Address) -> None:
        """Take one datagram; whatever it breaks, the next one is taken."""
        try:
            self._route(datagram, source)
        except Exception:
            self._stats.refused_datagrams += 1
            session = self._by_address.get(source)
            if session is None or not session.troubled:  # one line per peer, not one per packet
                log.exception("media_datagram_failed", session_id=session.session_id if session else None)
            if session is not None:
                session.troubled = True

    def _route(self, datagram: bytes, source: Address) -> None:
        if not datagram:
            return
        first = datagram[0]
        if first < 4:
            self._check(datagram, source)
            return
        session = self._by_address.get(source)
        if session is None:
            self._stats.refused_datagrams += 1
        elif 128 <= first < 192:
            session.media_in(datagram, self._now())
        elif 20 <= first < 64:
            session.dtls_in(datagram, source)

    def _check(self, datagram: bytes, source: Address) -> None:
        request = stun.parse_binding_request(datagram)
        if request is None:
            self._stats.refused_datagrams += 1
            return
        session, password = self._by_ufrag.get(request.local_ufrag, (None, b""))
        if session is None or not stun.integrity_holds(request, password):
            self._stats.refused_datagrams += 1
            self._endpoint.send(stun.binding_error(request, 401, "Unauthorized"), source)
            return
        forgotten = session.checked(source, nominated=request.use_candidate, now=self._now())
        if forgotten is not None:
            self._by_address.pop(forgotten, None)
        self._by_address[source] = session
        self._endpoint.send(stun.binding_success(request, password, source[0], source[1]), source)

    # --- time ---

    def _tick_again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._timed)

    def _timed(self) -> None:
        now = self._now()
        starved = now - self._ticked_at - _TICK_S
        if starved > _STARVED_S:  # the loop was held up: what peers sent meanwhile still waits in the socket
            for session in self._sessions.values():
                session.heard_at += starved
            log.warning("media_plane_starved", seconds=round(starved, 2))
        self._ticked_at = now
        self.tick()
        if not self._closed:
            self._tick_again()

    def tick(self) -> None:
        """Do what time asks for: reports, repeats, stalled tracks, dead peers. One session's error stays its own."""
        now = self._now()
        for session in list(self._sessions.values()):
            try:
                reason = session.dead(now)
                if reason is None:
                    session.tick(now)
            except Exception as error:
                log.exception("media_session_failed", session_id=session.session_id)
                reason = f"failed: {type(error).__name__}"
            if reason is not None:
                self.session_left(session, reason)
        self._tracks.tick(now)

    # --- what sessions and tracks tell ---

    def session_connected(self, session: Session) -> None:
        """Start what the peer views, now that it has keys."""
        now = self._now()
        for sink in session.sinks.values():
            session.start_sink(sink, now)
        tell(session.listener, "session_connected", session.session_id)

    def session_left(self, session: Session, reason: str) -> None:
        """Forget a session that ended by itself."""
        if self._forget(session):
            log.info("media_session_left", session_id=session.session_id, reason=reason)
            tell(session.listener, "session_disconnected", session.session_id, reason)

    def forget_room(self, room_id: str) -> None:
        """Drop the ended tracks of a room that will not come back."""
        self._tracks.forget_room(room_id)

    def forget_tracks(self, track_ids: Sequence[str]) -> None:
        """Drop ended tracks that will not come back."""
        self._tracks.forget(track_ids)

    # --- endings ---

    def _forget(self, session: Session) -> bool:
        if self._sessions.get(session.session_id) is not session:
            return False
        del self._sessions[session.session_id]
        self._by_ufrag = {u: entry for u, entry in self._by_ufrag.items() if entry[0] is not session}
        for address in session.addresses:
            if self._by_address.get(address) is session:
                del self._by_address[address]
        for sink in session.sinks.values():
            sink.track.detach(sink)
        for track in session.tracks.values():
            if track.publisher is session:
                self._tracks.end(track)
        try:
            session.close()
        except Exception as problem:  # it is forgotten already; its socket work must not stop the ending of others
            log.warning("session_close_failed", error=type(problem).__name__)
        return True

    async def close_session(self, session_id: str) -> None:
        """Forget the session and end what it published; idempotent."""
        session = self._sessions.get(session_id)
        if session is not None:
            self._forget(session)

    def tracks(self, room_id: str | None = None) -> tuple[TrackFacts, ...]:
        """Return the tracks of a room, or all."""
        return tuple(t.facts() for t in self._tracks.by_id.values() if room_id is None or t.room_id == room_id)

    def stats(self) -> PlaneStats:
        """Return a copy of the counters."""
        return replace(self._stats, sessions=len(self._sessions), tracks=self._tracks.alive(), gso=self._endpoint.gso)

    async def close(self) -> None:
        """Close every session, the timer and the socket; idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for session in list(self._sessions.values()):
            self._forget(session)
        self._tracks.close()
        self._endpoint.close()
