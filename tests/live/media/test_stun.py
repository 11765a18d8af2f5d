"""STUN by hand: RFC 5769's vector, and checks that must be refused."""

from __future__ import annotations

import ipaddress
import struct

from consilium_live.media import stun

RFC5769_2_1 = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae"
    "802200105354554e207465737420636c69656e74"
    "002400046e0001ff80290008932ff9b151263b36"
    "0006000965766a3a6836765920202000".replace("65766a3a6836765920202000", "6576746a3a68367659202020")
    + "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a28028 0004e57a3bcf".replace(" ", "")
)


def test_rfc5769_request_is_read_and_its_integrity_holds() -> None:
    request = stun.parse_binding_request(RFC5769_2_1)
    assert request is not None
    assert (request.local_ufrag, request.remote_ufrag) == ("evtj", "h6vY")
    assert stun.integrity_holds(request, b"VOkJxbRl1RmTxUk/WvJxBt")
    assert not stun.integrity_holds(request, b"another password")


def test_a_changed_byte_fails_fingerprint_or_integrity() -> None:
    for at in (9, 45, 70, len(RFC5769_2_1) - 1):
        changed = bytearray(RFC5769_2_1)
        changed[at] ^= 1
        request = stun.parse_binding_request(bytes(changed))
        assert request is None or not stun.integrity_holds(request, b"VOkJxbRl1RmTxUk/WvJxBt")


def test_malformed_datagrams_are_no_requests() -> None:
    for cut in range(len(RFC5769_2_1)):
        assert stun.parse_binding_request(RFC5769_2_1[:cut]) is None
    no_integrity = stun._seal(stun.BINDING_REQUEST, bytes(12), struct.pack("!HH", 6, 4) + b"ab:c", None)
    assert stun.parse_binding_request(no_integrity) is None


def test_the_answer_reports_the_source_address() -> None:
    ours = stun.binding_request(bytes(range(12)), "local:remote", b"pw")
    request = stun.parse_binding_request(ours)
    assert request is not None
    assert request.use_candidate
    for host in ("192.0.2.1", "2001:db8::9"):
        answer = stun.binding_success(request, b"pw", host, 32853)
        kind, length, cookie = struct.unpack_from("!HHI", answer)
        assert (kind, cookie, length + 20) == (stun.BINDING_SUCCESS, stun.MAGIC_COOKIE, len(answer))
        size = struct.unpack_from("!H", answer, 22)[0]
        family, port = struct.unpack_from("!xBH", answer, 24)
        mask = struct.pack("!I", stun.MAGIC_COOKIE) + bytes(range(12))
        address = bytes(a ^ b for a, b in zip(answer[28 : 24 + size], mask, strict=False))
        assert (family, port ^ 0x2112) == (1 if "." in host else 2, 32853)
        assert str(ipaddress.ip_address(address)) == host
