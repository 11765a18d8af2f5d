"""Vectors of RFC 3711 and RFC 7714, and agreement with libsrtp in both directions."""

from __future__ import annotations

import struct

import pytest

from consilium_live.media.srtp import GCM_128, MAX_INBOUND_SSRCS, SHA1_80, GcmSender, Keys, SrtpSession, derive


def test_rfc3711_b3_key_derivation() -> None:
    key = bytes.fromhex("E1F97A0D3E018BE0D64FA32C06DE4139")
    salt = bytes.fromhex("0EC675AD498AFEEBB6960B3AABE6")
    assert derive(key, salt, 0, 16).hex() == "c61e7a93744f39ee10734afe3ff7a087"
    assert derive(key, salt, 2, 14).hex() == "30cbbc08863d8c85d49db34a9ae1"
    assert derive(key, salt, 1, 20).hex() == "cebe321f6ff7716b6fd4ab49af256a156d38baa4"


def test_rfc7714_16_1_1_encryption() -> None:
    sender = GcmSender(bytes(range(16)), bytes.fromhex("517569642070726f2071756f"))
    header = bytes.fromhex("8040f17b8041f8d35501a0b2")
    packet = sender.protect(header, b"Gallia est omnis divisa in partes tres", 0x5501A0B2, 0xF17B)
    assert packet[12:].hex() == (
        "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce"
    )


def test_what_gcm_sends_libsrtp_reads_across_a_roll_over() -> None:
    keys = Keys(GCM_128, bytes(range(28)), bytes(range(100, 128)))
    ours, theirs = SrtpSession(keys), SrtpSession(keys.mirrored())
    assert ours.gcm is not None
    for index in range(0xFFF0, 0x10010):
        header = struct.pack("!BBHII", 0x80, 96, index & 0xFFFF, index * 10, 77)
        assert theirs.unprotect(ours.gcm.protect(header, b"payload", 77, index)) == header + b"payload"


@pytest.mark.parametrize("profile", [GCM_128, SHA1_80])
def test_a_changed_or_replayed_packet_is_refused(profile: object) -> None:
    assert profile in (GCM_128, SHA1_80)
    chosen = GCM_128 if profile is GCM_128 else SHA1_80
    size = chosen.key_bytes + chosen.salt_bytes
    keys = Keys(chosen, bytes(range(size)), bytes(range(50, 50 + size)))
    ours, theirs = SrtpSession(keys), SrtpSession(keys.mirrored())
    packet = ours.protect(struct.pack("!BBHII", 0x80, 96, 5, 10, 77) + b"payload")
    assert theirs.unprotect(packet[:-1] + bytes([packet[-1] ^ 1])) is None
    assert theirs.unprotect(packet) is not None
    assert theirs.unprotect(packet) is None
    rtcp = ours.protect_rtcp(struct.pack("!BBHI", 0x80, 201, 1, 77))
    assert theirs.unprotect_rtcp(rtcp[:-1] + bytes([rtcp[-1] ^ 1])) is None
    assert theirs.unprotect_rtcp(rtcp) == struct.pack("!BBHI", 0x80, 201, 1, 77)
    assert theirs.unprotect(b"\x80" * 3000) is None


def test_one_peer_cannot_make_libsrtp_keep_streams_without_end() -> None:
    keys = Keys(GCM_128, bytes(range(28)), bytes(range(100, 128)))
    ours, theirs = SrtpSession(keys), SrtpSession(keys.mirrored())
    known = [struct.pack("!BBHI", 0x80, 201, 1, ssrc) for ssrc in range(MAX_INBOUND_SSRCS)]
    assert theirs.unprotect_rtcp(b"\x80\xc9\0\1" + bytes(24)) is None, "a forged one takes no place"
    assert all(theirs.unprotect_rtcp(ours.protect_rtcp(report)) == report for report in known)
    assert theirs.unprotect_rtcp(ours.protect_rtcp(struct.pack("!BBHI", 0x80, 201, 1, 70_000))) is None
    assert theirs.unprotect(ours.protect(struct.pack("!BBHII", 0x80, 96, 5, 10, 70_000) + b"x")) is None
    assert theirs.unprotect_rtcp(ours.protect_rtcp(known[7])) == known[7], "who is known goes on"
