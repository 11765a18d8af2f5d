"""Publishing by WHIP (RFC 9725) with aiortc: our encoded pictures are packetised by it, never encoded again.

aiortc and aioice are hooked in four places that have no public name; ``check_library`` refuses to start when one is gone:
``RTCRtpSender._send_keyframe`` (called on PLI and FIR, RFC 4585 6.3.1, RFC 5104 4.3.1) becomes our keyframe request,
``RTCRtpSender.__rtp_timestamp`` (the last timestamp sent) tells the sender's random origin (RFC 3550 5.1), and aioice's consent
timing (RFC 7675) is shortened so that a dead server is noticed in about 5 s instead of 30, and for a server on this very machine
aioice's host addresses also hold 127.0.0.1, so that the demo runs without any network.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import aioice.ice
import av
import structlog
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcrtpparameters import RTCRtpCodecCapability

from consilium_core.errors import ConsiliumError
from consilium_site.domain.frames import RTP_CLOCK_HZ
from consilium_site.domain.publication import DesiredStream
from consilium_site.errors import MediaLibraryChanged, ServerUnavailable
from consilium_site.ports import EncodedPicture

log = structlog.get_logger(__name__)
_QUEUE_PICTURES = 30
_CONNECT_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 3.0
_TIME_BASE = Fraction(1, RTP_CLOCK_HZ)
_LAST_RTP_TIMESTAMP = "_RTCRtpSender__rtp_timestamp"
_CONSENT_INTERVAL_S = 1
_CONSENT_FAILURES = 4
_HOST_ADDRESSES: Callable[[bool, bool], list[str]] = aioice.ice.get_host_addresses


@dataclass(frozen=True, slots=True)
class WhipAnswer:
    """What WHIP answered: SDP, the session's URL, ICE servers as (urls, username, credential)."""

    sdp: str
    location: str
    ice_servers: tuple[tuple[str, str, str], ...]


class WhipTransport(Protocol):
    """The HTTP side of WHIP."""

    async def post_offer(self, whip_url: str, sdp: str) -> WhipAnswer:
        """POST the offer (RFC 9725 4.2)."""
        ...

    async def renew(self, location: str) -> float:
        """PATCH the session without a body (see ``ports.MediaSession``)."""
        ...

    async def delete(self, location: str) -> None:
        """DELETE the session (RFC 9725 4.2)."""
        ...


def _with_loopback(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    return [*_HOST_ADDRESSES(use_ipv4, use_ipv6), *(["127.0.0.1"] if use_ipv4 else [])]


def check_library(*, server_is_local: bool) -> None:
    """Raise MediaLibraryChanged unless aiortc and aioice have the parts that we hook; shorten the consent timing."""
    code = RTCRtpSender.__init__.__code__
    missing = [
        name
        for name, present in (
            ("RTCRtpSender._send_keyframe", hasattr(RTCRtpSender, "_send_keyframe")),
            ("RTCRtpSender.__rtp_timestamp", _LAST_RTP_TIMESTAMP in code.co_names),
            ("aioice.ice.CONSENT_INTERVAL", hasattr(aioice.ice, "CONSENT_INTERVAL")),
            ("aioice.ice.CONSENT_FAILURES", hasattr(aioice.ice, "CONSENT_FAILURES")),
        )
        if not present
    ]
    if missing:
        raise MediaLibraryChanged("This version of aiortc or aioice is not supported.", missing=missing)
    aioice.ice.CONSENT_INTERVAL = _CONSENT_INTERVAL_S
    aioice.ice.CONSENT_FAILURES = _CONSENT_FAILURES
    addresses = _with_loopback if server_is_local else _HOST_ADDRESSES
    setattr(aioice.ice, "get_host_addresses", addresses)  # noqa: B010 - a hook, see above


class PictureTrack(MediaStreamTrack):
    """A video track of encoded pictures; bounded, and on overflow it drops everything up to the next keyframe."""

    kind = "video"

    def __init__(self, on_keyframe: Callable[[], None]) -> None:
        super().__init__()
        self._pictures: deque[EncodedPicture] = deque()
        self._ready = asyncio.Event()
        self._key_needed = True
        self._on_keyframe = on_keyframe
        self._sent_pts: int | None = None
        self._sender: RTCRtpSender | None = None
        self.rtp_origin: int | None = None
        self.dropped = 0

    def watch(self, sender: RTCRtpSender) -> None:
        """Learn the RTP origin from ``sender``, which sends this track."""
        self._sender = sender

    def offer(self, picture: EncodedPicture) -> None:
        """Queue one picture (event loop only)."""
        if len(self._pictures) >= _QUEUE_PICTURES:
            self.dropped += len(self._pictures)
            self._pictures.clear()
            self._key_needed = True
            self._on_keyframe()
        if self._key_needed and not picture.keyframe:
            self.dropped += 1
            return
        self._key_needed = False
        self._pictures.append(picture)
        self._ready.set()

    async def recv(self) -> av.Packet[Any]:
        """Return the next picture; called by the sender when the one before has left."""
        if self.rtp_origin is None and self._sent_pts is not None and self._sender is not None:
            last = int(getattr(self._sender, _LAST_RTP_TIMESTAMP))
            self.rtp_origin = (last - self._sent_pts) % (1 << 32)
        while not self._pictures:
            if self.readyState != "live":
                raise MediaStreamError
            self._ready.clear()
            await self._ready.wait()
        picture = self._pictures.popleft()
        packet = av.Packet(picture.data)
        packet.pts, packet.time_base = picture.pts, _TIME_BASE
        self._sent_pts = picture.pts
        return packet

    def stop(self) -> None:
        """End the track and wake the sender."""
        super().stop()
        self._ready.set()


def codec_preferences(codec: str) -> list[RTCRtpCodecCapability]:
    """Return aiortc's capabilities for the wanted codec and RTX, constrained baseline first (SP-41)."""
    wanted = "video/H264" if codec == "h264" else "video/VP8"
    capabilities = RTCRtpSender.getCapabilities("video").codecs
    main = [c for c in capabilities if c.mimeType == wanted and c.parameters.get("packetization-mode", "1") == "1"]
    main.sort(key=lambda c: c.parameters.get("profile-level-id") != "42e01f")
    return [*main, *(c for c in capabilities if c.mimeType == "video/rtx")]


class WhipSession:
    """One connected peer and its WHIP resource."""

    def __init__(self, peer: RTCPeerConnection, track: PictureTrack, http: WhipTransport) -> None:
        self._peer = peer
        self._track = track
        self._http = http
        self.location = ""
        self._changed = asyncio.Event()
        self._closed = False
        peer.on("connectionstatechange", self._changed.set)

    @property
    def rtp_origin(self) -> int | None:
        """Return the sender's RTP origin (see ``ports.MediaSession``)."""
        return self._track.rtp_origin

    def offer(self, picture: EncodedPicture) -> None:
        """Queue one picture."""
        if not self._closed:
            self._track.offer(picture)

    async def wait_connected(self) -> None:
        """Return when DTLS is up; raises ServerUnavailable when it fails or takes longer than 10 s."""
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                while self._peer.connectionState in ("new", "connecting"):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise ServerUnavailable("The media path did not open within 10 s.") from None
        if self._peer.connectionState != "connected":
            raise ServerUnavailable("The media path could not be opened: UDP may be blocked.")

    async def renew(self) -> float:
        """Show the server our present token (see ``ports.MediaSession``)."""
        return await self._http.renew(self.location)

    async def wait_lost(self) -> str:
        """Return when the peer is no longer connected."""
        while self._peer.connectionState == "connected":
            self._changed.clear()
            await self._changed.wait()
        return str(self._peer.connectionState)

    async def close(self) -> None:
        """Hang up; the DELETE is best effort within 3 s."""
        if self._closed:
            return
        self._closed = True
        self._track.stop()
        if self.location:
            try:
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await self._http.delete(self.location)
            except (ConsiliumError, TimeoutError) as error:
                log.info("whip_delete_failed", reason=type(error).__name__)
        await self._peer.close()


class WhipPublisher:
    """Opens WHIP sessions; ICE servers that the server named are used once the direct path has failed."""

    def __init__(self, http: WhipTransport, *, server_is_local: bool) -> None:
        check_library(server_is_local=server_is_local)
        self._http = http
        self._ice: tuple[tuple[str, str, str], ...] = ()
        self._direct_failed = False

    async def connect(self, stream: DesiredStream, on_keyframe: Callable[[], None]) -> WhipSession:
        """Return a connected session (see ``ports.Publisher``)."""
        named = self._ice if self._direct_failed else ()
        servers = [RTCIceServer(urls=u, username=n or None, credential=c or None) for u, n, c in named]
        peer = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        track = PictureTrack(on_keyframe)
        session = WhipSession(peer, track, self._http)
        try:
            transceiver = peer.addTransceiver(track, direction="sendonly")
            transceiver.setCodecPreferences(codec_preferences(stream.codec))
            setattr(transceiver.sender, "_send_keyframe", on_keyframe)  # noqa: B010 - a hook, see above
            track.watch(transceiver.sender)
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await peer.setLocalDescription(await peer.createOffer())
            answer = await self._http.post_offer(stream.whip_path, peer.localDescription.sdp)
            session.location, self._ice = answer.location, answer.ice_servers
            await peer.setRemoteDescription(RTCSessionDescription(sdp=without_mdns(answer.sdp), type="answer"))
            try:
                await session.wait_connected()
            except ServerUnavailable:
                self._direct_failed = not self._direct_failed
                raise
        except TimeoutError:
            await session.close()
            raise ServerUnavailable("No candidates could be gathered within 10 s.") from None
        except (ConsiliumError, asyncio.CancelledError):
            await session.close()
            raise
        except Exception as error:
            log.warning("media_session_failed", error=type(error).__name__)
            await session.close()
            raise ServerUnavailable("The media session could not be opened with the server's answer.") from error
        return session


def without_mdns(sdp: str) -> str:
    """Return the answer without candidates named ``.local``: resolving them would open a multicast socket that others can reach."""
    kept = [line for line in sdp.splitlines() if not (line.startswith("a=candidate:") and ".local " in line)]
    return "\r\n".join(kept) + "\r\n"


def parse_ice_links(links: Sequence[str]) -> tuple[tuple[str, str, str], ...]:
    """Return (urls, username, credential) of each ``Link`` header with ``rel="ice-server"`` (RFC 9725 4.6)."""
    found = []
    for header in links:
        for link in header.split(", <"):
            address, _, rest = link.lstrip("<").partition(">")
            parts = dict(p.strip().partition("=")[::2] for p in rest.split(";") if "=" in p)
            values = {key.strip().lower(): value.strip().strip('"') for key, value in parts.items()}
            if values.get("rel") == "ice-server" and address.startswith(("stun:", "turn:", "turns:")):
                found.append((address, values.get("username", ""), values.get("credential", "")))
    return tuple(found)
