"""Session descriptions as the forwarder sees them: offers read into frozen types, answers written line by line (RFC 9429).

Reading is aiortc's parser behind one guard; writing is ours, because an answerer that bundles everything and never
gathers needs few lines and they must be exact. Only BUNDLE with rtcp-mux is spoken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aiortc.sdp import SessionDescription, parameters_to_sdp

from consilium_core.errors import Invalid
from consilium_live.media.dtls import Fingerprint

MAX_SDP_CHARS = 200_000
MID_EXTENSION = "urn:ietf:params:rtp-hdrext:sdes:mid"


@dataclass(frozen=True, slots=True)
class OfferedCodec:
    """One payload type of an m-line; `rtx` is the payload type that repairs it (RFC 4588), if offered."""

    payload_type: int
    name: str  # as SDP spells it: H264, VP8, opus, ...
    clock_rate: int
    channels: int
    fmtp: str
    parameters: dict[str, Any]
    feedback: frozenset[str]  # "nack", "nack pli", "ccm fir", "goog-remb", ...
    rtx: int | None = None


@dataclass(frozen=True, slots=True)
class OfferedMedia:
    """One m-line of an offer."""

    mid: str
    kind: str
    protocol: str
    formats: tuple[str, ...]
    sends: bool
    receives: bool
    rejected: bool
    codecs: tuple[OfferedCodec, ...]
    extensions: dict[str, int]
    ssrcs: tuple[int, ...]
    stream_id: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """What an offer asks for, and how its peer proves itself."""

    ufrag: str
    password: str
    fingerprints: tuple[Fingerprint, ...]
    media: tuple[OfferedMedia, ...]


def parse_offer(text: str) -> Offer:
    """Read an offer; raises Invalid for anything that is not a BUNDLE, rtcp-mux, DTLS-SRTP offer we can answer."""
    if len(text) > MAX_SDP_CHARS:
        raise Invalid("The session description is too long.")
    try:
        parsed = SessionDescription.parse(text)
    except Exception as error:  # the parser asserts, indexes and unpacks as it goes
        raise Invalid("The session description cannot be read.") from error
    bundled = {str(mid) for g in parsed.group if g.semantic == "BUNDLE" for mid in g.items}
    if not parsed.media:
        raise Invalid("The offer has no media.")
    if not bundled and len(parsed.media) > 1:
        raise Invalid("The offer must bundle its media on one transport (a=group:BUNDLE).")
    media = tuple(_media(m, bundled) for m in parsed.media)
    mids = [m.mid for m in media]
    if len(set(mids)) != len(mids):
        raise Invalid("Every m-line needs a=mid of its own.")
    alive = next((m for m, ours in zip(parsed.media, media, strict=True) if not ours.rejected), None)
    if alive is None:
        return Offer("", "", (), media)
    if alive.dtls is None or not alive.dtls.fingerprints or alive.ice is None or not alive.ice.usernameFragment:
        raise Invalid("The offer lacks a=fingerprint, a=setup or a=ice-ufrag: only DTLS-SRTP over ICE is spoken.")
    if alive.dtls.role == "server":
        raise Invalid("The offer must allow us to be the DTLS server (a=setup:actpass or active).")
    prints = tuple(dict.fromkeys(Fingerprint(f.algorithm, f.value) for f in alive.dtls.fingerprints))
    return Offer(alive.ice.usernameFragment, alive.ice.password or "", prints, media)


def _media(parsed: Any, bundled: set[str]) -> OfferedMedia:
    rtx = {
        int(c.parameters["apt"]): c.payloadType
        for c in parsed.rtp.codecs
        if c.name.lower() == "rtx" and str(c.parameters.get("apt", "")).isdigit()
    }
    codecs = tuple(
        OfferedCodec(
            payload_type=c.payloadType,
            name=c.name,
            clock_rate=c.clockRate,
            channels=c.channels or 1,
            fmtp=parameters_to_sdp(c.parameters),
            parameters=dict(c.parameters),
            feedback=frozenset(f"{f.type} {f.parameter}" if f.parameter else f.type for f in c.rtcpFeedback),
            rtx=rtx.get(c.payloadType),
        )
        for c in parsed.rtp.codecs
    )
    mid = parsed.rtp.muxId or ("0" if not bundled else "")
    direction = parsed.direction or "sendrecv"
    return OfferedMedia(
        mid=mid,
        kind=parsed.kind,
        protocol=parsed.profile,
        formats=tuple(str(f) for f in parsed.fmt),
        sends=direction in ("sendonly", "sendrecv"),
        receives=direction in ("recvonly", "sendrecv"),
        # port 0 in the bundle is bundle-only (RFC 9143 6), not a rejection
        rejected=(parsed.port == 0 and mid not in bundled) or parsed.kind not in ("audio", "video") or not codecs,
        codecs=codecs,
        extensions={e.uri: e.id for e in parsed.rtp.headerExtensions},
        ssrcs=tuple(s.ssrc for s in parsed.ssrc),
        stream_id=(parsed.msid or "").split(" ")[0],
    )


@dataclass(frozen=True, slots=True)
class Transport:
    """What every bundled m-line of an answer says of the one transport."""

    ufrag: str
    password: str
    fingerprint: Fingerprint
    addresses: tuple[str, ...]
    port: int


@dataclass(slots=True)
class AnsweredMedia:
    """One m-line of an answer; `codecs` are those of the offer that stay, `ssrc` 0 when nothing is sent."""

    offered: OfferedMedia
    sends: bool = False
    receives: bool = False
    codecs: list[OfferedCodec] = field(default_factory=list)
    with_rtx: bool = False
    extensions: dict[str, int] = field(default_factory=dict)
    ssrc: int = 0
    rtx_ssrc: int = 0
    cname: str = ""
    stream_id: str = ""
    track_id: str = ""

    @property
    def direction(self) -> str:
        """Return the SDP direction attribute of what is sent and received."""
        if self.sends:
            return "sendrecv" if self.receives else "sendonly"
        return "recvonly" if self.receives else "inactive"


_FEEDBACK = ("nack", "nack pli", "ccm fir", "goog-remb")


def write_answer(version: int, media: Sequence[AnsweredMedia], transport: Transport) -> str:
    """Return the answer; `version` grows with every answer of a session (RFC 9429 5.3.2)."""
    mids = " ".join(m.offered.mid for m in media if not m.offered.rejected)
    lines = [
        "v=0",
        f"o=consilium {0x5EED} {version} IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        f"a=group:BUNDLE {mids}".rstrip(),
        "a=msid-semantic:WMS *",
        "a=ice-lite",
    ]
    for m in media:
        lines += _rejected_lines(m.offered) if m.offered.rejected else _media_lines(m, transport)
    return "\r\n".join(lines) + "\r\n"


def _rejected_lines(offered: OfferedMedia) -> list[str]:
    lines = [f"m={offered.kind} 0 {offered.protocol} {' '.join(offered.formats)}", "c=IN IP4 0.0.0.0"]
    if offered.mid:
        lines.append(f"a=mid:{offered.mid}")
    return [*lines, "a=inactive"]


def _media_lines(m: AnsweredMedia, transport: Transport) -> list[str]:
    formats = [str(p) for c in m.codecs for p in (c.payload_type, c.rtx if m.with_rtx else None) if p is not None]
    lines = [
        f"m={m.offered.kind} 9 UDP/TLS/RTP/SAVPF {' '.join(formats)}",
        "c=IN IP4 0.0.0.0",
        "a=rtcp:9 IN IP4 0.0.0.0",
        f"a=mid:{m.offered.mid}",
        f"a={m.direction}",
        "a=rtcp-mux",
        f"a=ice-ufrag:{transport.ufrag}",
        f"a=ice-pwd:{transport.password}",
        f"a=fingerprint:{transport.fingerprint.algorithm} {transport.fingerprint.value}",
        "a=setup:passive",
        *(
            f"a=candidate:{n} 1 udp {2130706431 - n} {address} {transport.port} typ host"
            for n, address in enumerate(transport.addresses, 1)
        ),
        "a=end-of-candidates",
        *(f"a=extmap:{number} {uri}" for uri, number in m.extensions.items()),
    ]
    for codec in m.codecs:
        lines += _codec_lines(codec, with_rtx=m.with_rtx)
    if m.sends:
        lines.append(f"a=msid:{m.stream_id} {m.track_id}")
        if m.with_rtx:
            lines.append(f"a=ssrc-group:FID {m.ssrc} {m.rtx_ssrc}")
        lines += [f"a=ssrc:{s} cname:{m.cname}" for s in ((m.ssrc, m.rtx_ssrc) if m.with_rtx else (m.ssrc,))]
    return lines


def _codec_lines(codec: OfferedCodec, *, with_rtx: bool) -> list[str]:
    rate = f"{codec.clock_rate}/{codec.channels}" if codec.channels > 1 else str(codec.clock_rate)
    lines = [f"a=rtpmap:{codec.payload_type} {codec.name}/{rate}"]
    lines += [f"a=rtcp-fb:{codec.payload_type} {f}" for f in _FEEDBACK if f in codec.feedback]
    if codec.fmtp:
        lines.append(f"a=fmtp:{codec.payload_type} {codec.fmtp}")
    if with_rtx and codec.rtx is not None:
        lines.append(f"a=rtpmap:{codec.rtx} rtx/{codec.clock_rate}")
        lines.append(f"a=fmtp:{codec.rtx} apt={codec.payload_type}")
    return lines
