"""Whatever bytes come: parsers answer or refuse, and the plane goes on."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consilium_core.errors import Invalid
from consilium_live.media import rtcp, rtp, stun
from consilium_live.media.dtls import DtlsFailed, DtlsIdentity, DtlsPeer
from consilium_live.media.sdp import parse_offer
from consilium_live.media.srtp import GCM_128, Keys, SrtpSession
from consilium_testkit.light_peer import offer
from consilium_testkit.media import EncodedVideo, Publisher, Viewer, until

IDENTITY = DtlsIdentity()
OFFER = offer(IDENTITY, "recvonly", ufrag="abcd")


@given(st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_packet_parsers_never_raise(data: bytes) -> None:
    stun.parse_binding_request(data)
    stun.parse_binding_request(b"\0\1" + len(data).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12) + data)
    for packet in (data, b"\x80" + data, b"\xb3" + data):
        parsed = rtp.parse_header(packet)
        assert parsed is None or 12 <= parsed.begin <= parsed.end <= len(packet)
        rtp.one_byte_extension(packet, 1)
    for payload in (data, b"\x78" + data, b"\x7c" + data, b"\x90" + data):
        rtp.h264_is_key(payload)
        list(rtp.h264_nals(payload))
        rtp.vp8_is_key(payload)
    for block in rtcp.blocks(b"\x81\xcd\0\7" + data):
        list(rtcp.nacked(block.body))
        list(rtcp.fir_ssrcs(block.body))
        list(rtcp.report_blocks(block))
        rtcp.sender_info(block.body)
        rtcp.media_ssrc(block.body)


@given(st.binary(min_size=1, max_size=1400))
@settings(max_examples=100, deadline=None)
def test_srtp_and_dtls_refuse_noise(data: bytes) -> None:
    keys = Keys(GCM_128, bytes(28), bytes(28))
    session = SrtpSession(keys)
    assert session.unprotect(b"\x80" + data) is None
    assert session.unprotect_rtcp(b"\x80\xc9" + data) is None
    peer = DtlsPeer(IDENTITY, (IDENTITY.fingerprint,))
    with contextlib.suppress(DtlsFailed):
        peer.feed(b"\x16\xfe\xfd" + data)
    assert peer.keys is None


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_mangled_offers_are_read_or_refused_as_invalid(data: st.DataObject) -> None:
    lines = OFFER.splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        kind = data.draw(st.sampled_from(["drop", "double", "cut", "text"]))
        if kind == "drop" and len(lines) > 1:
            del lines[at]
        elif kind == "double":
            lines.insert(at, lines[at])
        elif kind == "cut":
            lines[at] = lines[at][: data.draw(st.integers(0, len(lines[at])))]
        else:
            lines[at] = lines[at][:4] + data.draw(st.text(max_size=20))
    with contextlib.suppress(Invalid):
        parse_offer("\r\n".join(lines) + "\r\n")


@given(st.lists(st.binary(max_size=200), max_size=20))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_noise_from_strangers_opens_nothing(room: Any, noise: list[bytes]) -> None:
    for datagram in noise:
        for first in (b"", b"\0\1", b"\x16", b"\x80"):
            room.plane._datagram(first + datagram, ("192.0.2.7", 9))
    assert room.plane.stats().sessions == 0
    assert not room.plane._by_address


async def test_an_error_while_handling_one_peers_packet_stays_with_it(room: Any, monkeypatch: Any) -> None:
    await room.publish(Publisher(EncodedVideo(gop=10)), "cine")
    bad, good = Viewer("video"), Viewer("video")
    await room.view(bad, "bad", "cine")
    await room.view(good, "good", "cine")
    await bad.moving(3)
    session = room.plane._sessions["bad"]
    calls: list[bytes] = []

    def broken(datagram: bytes, now: float) -> None:
        calls.append(datagram)
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(session, "media_in", broken)
    await until(lambda: len(calls) >= 2, "reports of the bad viewer")
    before = len(good.frames.get("video", []))
    await until(lambda: len(good.frames.get("video", [])) > before + 10, "frames of the good viewer")
    assert session.troubled
